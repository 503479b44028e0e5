package dvtedge.demo

import dvtedge.device.DeviceState
import dvtedge.device.EnergyQueue
import dvtedge.device.Manifest
import dvtedge.device.Memory
import dvtedge.device.PowerPolicy
import dvtedge.device.PowerTable
import dvtedge.device.Rule
import dvtedge.device.Thermal
import dvtedge.device.allowedRows
import dvtedge.device.certifiedRow

/**
 * The app's own policy, for a bundle that brings none: cheap when hot or nearly empty, costly on a charger, and between them
 * what a lifetime target leaves.
 */
fun phonePolicy(manifest: Manifest): PowerPolicy {
    val points = manifest.operatingPoints.map { it.name }
    return PowerPolicy(
        manifest.defaultOperatingPoint,
        listOf(
            Rule(points.first(), thermalAtLeast = Thermal.SERIOUS),
            Rule(points.last(), charging = true),
            Rule(points.first(), batteryBelow = 0.15),
            Rule(points[points.size / 2 - if (points.size > 1) 1 else 0], lowPower = true),
        ),
        EnergyQueue(),
        allowUncertified = true,
    )
}

/** Why a policy's last choice is what it is. */
sealed interface Reason {
    /** The rule that won, from 0. */
    class ByRule(
        val number: Int,
        val rule: Rule,
    ) : Reason

    /** The energy queue, in joules; null before the first image. */
    class ByQueue(
        val queueJ: Double?,
    ) : Reason

    data object Otherwise : Reason
}

/** Of the choice for [state] after which a runtime remembers [memory]. */
fun reasonOf(
    policy: PowerPolicy,
    table: PowerTable,
    state: DeviceState,
    memory: Memory,
): Reason {
    memory.rule?.let { return Reason.ByRule(it, policy.rules[it]) }
    return if (queueDecides(policy, table, state)) Reason.ByQueue(memory.queueJ) else Reason.Otherwise
}

/** Why the choice is another than the one that a [Reason] asks for. */
enum class Instead { NO_CERTIFICATE, DWELL }

/** Null where the choice is what [reason] asks for, and of the energy queue, whose wish no memory keeps. */
fun insteadOf(
    policy: PowerPolicy,
    table: PowerTable,
    reason: Reason,
    memory: Memory,
): Instead? {
    val rule = (reason as? Reason.ByRule)?.rule
    val choice = memory.choice
    if (choice == null || reason is Reason.ByQueue) return null
    val wanted = rule?.point ?: policy.otherwise
    if (policy.allowUncertified) {
        val cap = rule?.maxStage?.takeIf { it < table.stages - 1 }
        return if (choice.point == wanted && choice.maxStage == cap) null else Instead.DWELL
    }
    val proved = table.rows[certifiedRow(allowedRows(policy, table), table.index(wanted))].name
    return when {
        choice.point != proved -> Instead.DWELL
        proved != wanted -> Instead.NO_CERTIFICATE
        else -> null
    }
}

/** docs/power-policy.md, "It can decide". */
fun queueDecides(
    policy: PowerPolicy,
    table: PowerTable,
    state: DeviceState,
): Boolean {
    val shown = state.knownEnergy ?: table.capacityJ?.let { state.knownLevel }
    return policy.queue != null && shown != null && state.knownLifetime != null && table.rows.all { it.energyJ != null }
}
