package dvtedge.demo

import dvtedge.device.Manifest
import dvtedge.device.Memory
import dvtedge.device.PowerPolicy
import dvtedge.device.Rule
import dvtedge.device.Thermal

/** The app's own policy, for a bundle that brings none: cheap when hot or nearly empty, costly on a charger. */
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
        allowUncertified = true,
    )
}

/** Why a policy's last choice is what it is: the rule that won, the queue, or that neither did. */
fun reasonOf(
    policy: PowerPolicy,
    memory: Memory,
): String {
    val number =
        memory.rule ?: return if (policy.queue != null && memory.queueJ != null) queueWords(memory) else "no rule matches"
    val rule = policy.rules[number]
    val conditions =
        listOfNotNull(
            rule.batteryBelow?.let { "battery below $it" },
            rule.charging?.let { if (it) "charging" else "not charging" },
            rule.lowPower?.let { if (it) "power saving" else "no power saving" },
            rule.thermalAtLeast?.let { "thermal ${it.name.lowercase()} or hotter" },
        )
    return "rule ${number + 1}: ${conditions.ifEmpty { listOf("always") }.joinToString(", ")}"
}

private fun queueWords(memory: Memory) = "energy queue at %.1f J".format(java.util.Locale.ROOT, memory.queueJ)
