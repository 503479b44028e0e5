package dvtedge.demo

import dvtedge.device.DeviceState
import dvtedge.device.EnergyQueue
import dvtedge.device.Manifest
import dvtedge.device.Memory
import dvtedge.device.PowerPolicy
import dvtedge.device.PowerTable
import dvtedge.device.Rule
import dvtedge.device.Thermal

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

/** docs/power-policy.md, "It can decide". */
fun queueDecides(
    policy: PowerPolicy,
    table: PowerTable,
    state: DeviceState,
): Boolean {
    val shown = state.knownEnergy ?: table.capacityJ?.let { state.knownLevel }
    return policy.queue != null && shown != null && state.knownLifetime != null && table.rows.all { it.energyJ != null }
}
