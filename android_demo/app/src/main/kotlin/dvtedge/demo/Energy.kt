package dvtedge.demo

import android.content.Context
import dvtedge.device.DeviceProfile
import dvtedge.device.Manifest
import dvtedge.device.PowerTable
import dvtedge.device.SchemaError
import dvtedge.device.StageCosts
import dvtedge.device.StateRecord
import dvtedge.device.parseProfile
import java.io.File
import java.io.FileNotFoundException

const val PROFILE = "profile.json"
private const val JOULES_PER_UAH = 0.0036 // and volt

/**
 * What is believed of the energy of a bundle on this device: a device profile's costs, which say whether they were measured.
 * [capacityJ] of a full battery is by this device's charge counter where [counted], else the profile's.
 */
class Energy(
    val profile: DeviceProfile,
    val costs: StageCosts,
    val capacityJ: Double,
    val counted: Boolean,
) {
    /** For the policy: the screen is on while the app runs. */
    fun table(manifest: Manifest): PowerTable = profile.powerTable(manifest.provedPoints, costs, screen = 1.0, capacityJ)

    /** The joules left by the charge counter, at the volts that [capacityJ] is counted with; null where there is none. */
    fun leftJ(sample: StateRecord): Double? = sample.chargeUah?.let { it * JOULES_PER_UAH * profile.battery.voltageV }
}

/** The profile that `dvt-edge profile` made of this device's own log and was pushed; else the app's, an estimate; else null. */
fun profileOf(context: Context): DeviceProfile? {
    val pushed = File(context.getExternalFilesDir(null), PROFILE)
    if (pushed.isFile) return parseProfile(pushed.readBytes(), "$pushed")
    return try {
        parseProfile(context.assets.open(PROFILE).use { it.readBytes() }, PROFILE)
    } catch (_: FileNotFoundException) {
        null
    }
}

/** Throws [SchemaError] where the profile knows nothing of such a bundle. */
fun energyOf(
    profile: DeviceProfile,
    manifest: Manifest,
    sample: StateRecord,
): Energy {
    val costs = profile.costs(manifest.stages.map { it.macs }, manifest.artifactsSha256, manifest.target)
    val (charge, level) = sample.chargeUah to sample.batteryLevel
    val counted = charge != null && level != null && level >= 0.2 // of a nearly empty one a step of the level is too much
    val full = if (counted) charge / level * JOULES_PER_UAH * profile.battery.voltageV else profile.battery.joules
    return Energy(profile, costs, full, counted)
}
