package dvtedge.device

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** As iOS's ProcessInfo.ThermalState; docs/power-policy.md says which of Android's status is which. By rising heat. */
@Serializable
enum class Thermal {
    @SerialName("nominal")
    NOMINAL,

    @SerialName("fair")
    FAIR,

    @SerialName("serious")
    SERIOUS,

    @SerialName("critical")
    CRITICAL,
}

/**
 * What the device allows now. [maxStage] caps the stages that run: null is no cap, 0 the first only.
 *
 * The rest is for the power policy (docs/power-policy.md): [batteryLevel] is a fraction, and null, NaN or anything outside
 * 0..1 means unknown; [lifetimeS] is how many seconds the battery still has to last, null or anything but a finite number
 * above 0 without a target; [timeS] is a monotonic clock in seconds, null for the runtime's own; [energyLeftJ] is the
 * joules left in the battery by a counter of its own, null where there is none.
 */
data class DeviceState(
    val maxStage: Int? = null,
    val batteryLevel: Double? = null,
    val charging: Boolean = false,
    val lowPower: Boolean = false,
    val thermal: Thermal = Thermal.NOMINAL,
    val lifetimeS: Double? = null,
    val timeS: Double? = null,
    val energyLeftJ: Double? = null,
) {
    /** The battery level where it is known. */
    val knownLevel: Double? get() = batteryLevel?.takeIf { it >= 0 && it <= 1 }

    /** The joules left by the battery's counter, where it has one: finite and above 0. */
    val knownEnergy: Double? get() = above0(energyLeftJ)

    /** The seconds that the battery has to last, where there is a target: finite and above 0. */
    val knownLifetime: Double? get() = above0(lifetimeS)

    /** What the clock shows, where that is a time: finite. */
    val knownTime: Double? get() = timeS?.takeIf(Double::isFinite)
}

private fun above0(value: Double?): Double? = value?.takeIf { it.isFinite() && it > 0 }
