package dvtedge.demo

import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import android.os.SystemClock
import dvtedge.device.DeviceState
import dvtedge.device.PowerSource
import dvtedge.device.StateRecord
import dvtedge.device.Thermal

/** What Android tells of the device now; null is what it does not tell. */
open class Device(
    private val context: Context,
) {
    private val gauge = context.getSystemService(BatteryManager::class.java)
    private val power = context.getSystemService(PowerManager::class.java)
    private val headroom = Paced(1.0, ::timeS, ::askHeadroom) // asked oftener, Android gives NaN

    /** Seconds on a clock that never jumps and goes on in suspend. */
    open fun timeS(): Double = SystemClock.elapsedRealtimeNanos() / 1e9

    /** A sample for the log; docs/device-log.md has the units. */
    open fun sample(idle: Boolean = false): StateRecord {
        val now = battery()

        fun extra(name: String) = now?.extra(name)
        val level = extra(BatteryManager.EXTRA_LEVEL)
        val scale = extra(BatteryManager.EXTRA_SCALE)
        return StateRecord(
            timeS(),
            idle,
            screenOn = power.isInteractive,
            charging = (extra(BatteryManager.EXTRA_PLUGGED) ?: 0) != 0,
            awakeS = SystemClock.uptimeMillis() / 1e3,
            batteryLevel = if (level == null || scale == null || scale == 0) null else level.toDouble() / scale,
            chargeUah = property(BatteryManager.BATTERY_PROPERTY_CHARGE_COUNTER)?.takeIf { it > 0 },
            currentUa = property(BatteryManager.BATTERY_PROPERTY_CURRENT_NOW),
            voltageMv = extra(BatteryManager.EXTRA_VOLTAGE)?.takeIf { it > 0 }?.toLong(),
            temperatureC =
                now
                    ?.getIntExtra(
                        BatteryManager.EXTRA_TEMPERATURE,
                        NOTHING,
                    )?.takeIf { it != NOTHING }
                    ?.let { it / 10.0 },
            thermal = thermal(),
            headroom = headroom.reading(),
            lowPower = power.isPowerSaveMode,
        )
    }

    /** What the device runs from, where it tells. */
    fun powerSource(): PowerSource =
        when (battery()?.extra(BatteryManager.EXTRA_PLUGGED)) {
            null -> PowerSource.UNKNOWN
            0 -> PowerSource.BATTERY
            else -> PowerSource.CHARGER
        }

    private fun battery(): Intent? = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))

    private fun Intent.extra(name: String): Int? = getIntExtra(name, -1).takeIf { it >= 0 }

    /** Int.MIN_VALUE and Long.MIN_VALUE say "not supported"; so does a current of exactly 0. */
    private fun property(id: Int): Long? =
        gauge.getLongProperty(id).takeIf { it != Long.MIN_VALUE && it != Int.MIN_VALUE.toLong() && it != 0L }

    private fun thermal(): Thermal? = if (Build.VERSION.SDK_INT >= 29) thermalOf(thermalStatus()) else null

    private fun askHeadroom(): Double? = if (Build.VERSION.SDK_INT >= 30) thermalHeadroom().takeIf(Double::isFinite) else null

    @NewerApi
    private fun thermalStatus(): Int = power.currentThermalStatus

    @NewerApi
    private fun thermalHeadroom(): Double = power.getThermalHeadroom(10).toDouble()

    private companion object {
        const val NOTHING = Int.MIN_VALUE
    }
}

/** What [read] gives, asked again after [seconds] by [clock] at the earliest; until then what it gave last. From any thread. */
internal class Paced(
    private val seconds: Double,
    private val clock: () -> Double,
    private val read: () -> Double?,
) {
    private var asked = Double.NEGATIVE_INFINITY
    private var last: Double? = null

    @Synchronized
    fun reading(): Double? {
        val now = clock()
        if (now - asked >= seconds) {
            asked = now
            last = read()
        }
        return last
    }
}

/** By the table of docs/power-policy.md. */
internal fun thermalOf(status: Int): Thermal =
    when {
        status <= PowerManager.THERMAL_STATUS_NONE -> Thermal.NOMINAL
        status == PowerManager.THERMAL_STATUS_LIGHT -> Thermal.FAIR
        status <= PowerManager.THERMAL_STATUS_SEVERE -> Thermal.SERIOUS
        else -> Thermal.CRITICAL
    }

/** What the power policy sees of a sample. */
fun StateRecord.state(
    lifetimeS: Double? = null,
    energyLeftJ: Double? = null,
) = DeviceState(
    batteryLevel = batteryLevel,
    charging = charging,
    lowPower = lowPower ?: false,
    thermal = thermal ?: Thermal.NOMINAL,
    lifetimeS = lifetimeS,
    timeS = timeS,
    energyLeftJ = energyLeftJ,
)

private val WATTS = 0.02..20.0 // of a phone that is awake: docs/device-log.md, Units
private val VOLTS = 2.5..10.0 // of its battery

/** The whole device's draw in watts; null where it is charging, does not tell, or tells it in other units. */
val StateRecord.watts: Double?
    get() {
        val (ua, mv) = (currentUa ?: return null) to (voltageMv ?: return null)
        val watts = kotlin.math.abs(ua) * 1e-6 * mv * 1e-3
        return watts.takeIf { !charging && mv * 1e-3 in VOLTS && it in WATTS }
    }
