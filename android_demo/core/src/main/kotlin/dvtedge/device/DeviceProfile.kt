package dvtedge.device

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

private const val PROFILE_FORMAT = 1L
private const val LEAST = 1e-9 // of any number here, in its unit
private const val MOST = 1e9

private fun positive(
    name: String,
    value: Double,
) = require(value in LEAST..MOST) { "$name $value; expected above 0: $LEAST to $MOST" }

private fun notNegative(
    name: String,
    value: Double,
) = require(value in 0.0..MOST) { "$name $value; expected 0 or more, at most $MOST" }

/** Where a figure comes from. */
@Serializable
enum class Basis {
    @SerialName("measured")
    MEASURED,

    @SerialName("estimated")
    ESTIMATED,
}

@Serializable
data class Battery(
    val capacityMah: Double,
    val voltageV: Double, // nominal
    val basis: Basis,
    val source: String,
) {
    init {
        positive("capacity_mah", capacityMah)
        positive("voltage_v", voltageV)
    }

    /** In a full one. */
    val joules: Double get() = capacityMah * 3.6 * voltageV
}

/** What the device draws beside inference, in watts: awake and waiting, and the screen on top of it. */
@Serializable
data class BasePower(
    val idleW: Double,
    val screenW: Double,
    val basis: Basis,
    val source: String,
) {
    init {
        notNegative("idle_w", idleW)
        notNegative("screen_w", screenW)
    }
}

/** For simulations: docs/energy-model.md. A phone has its own thermal state. */
@Serializable
data class ThermalModel(
    val ambientC: Double,
    val resistanceKPerW: Double,
    val tauS: Double,
    val limitC: Double,
    val slowdownPerK: Double,
    val maxSlowdown: Double,
    val fairC: Double,
    val seriousC: Double,
    val criticalC: Double,
    val basis: Basis,
    val source: String,
) {
    init {
        for (celsius in listOf(ambientC, limitC, fairC, seriousC, criticalC)) {
            require(celsius in -MOST..MOST) { "$celsius C; expected a temperature" }
        }
        positive("resistance_k_per_w", resistanceKPerW)
        positive("tau_s", tauS)
        notNegative("slowdown_per_k", slowdownPerK)
        require(maxSlowdown in 1.0..MOST) { "max_slowdown $maxSlowdown; expected 1 or more" }
        require(fairC <= seriousC && seriousC <= criticalC) { "fair_c, serious_c, critical_c; expected rising" }
    }
}

/** Stage costs from MACs, for any cascade of the target: MACs / rate + call, at [busyW] above the base power. */
@Serializable
data class ComputeEstimate(
    val target: String, // a recipe's name, such as onnx-int8
    val gmacsPerS: Double,
    val busyW: Double,
    val callMs: Double, // of each stage's call
    val imageMs: Double, // of each image: preprocessing, copying, the decision
    val source: String,
) {
    init {
        positive("$target: gmacs_per_s", gmacsPerS)
        positive("$target: busy_w", busyW)
        notNegative("$target: call_ms", callMs)
        notNegative("$target: image_ms", imageMs)
    }
}

/** Stage costs of one artifact, medians and means of a device's log: `dvt-edge profile`. */
@Serializable
data class MeasuredStages(
    val target: String,
    val artifactSha256: String,
    val stageMs: List<Double>,
    val stageMj: List<Double>,
    val imageMs: Double,
    val imageMj: Double,
    val images: Long,
    val source: String,
) {
    init {
        require(stageMs.size == stageMj.size && stageMs.isNotEmpty()) {
            "stage_ms and stage_mj; expected one value a stage in each"
        }
        stageMs.forEachIndexed { k, ms -> positive("stage_ms[$k]", ms) }
        stageMj.forEachIndexed { k, mj -> notNegative("stage_mj[$k]", mj) }
        notNegative("image_ms", imageMs)
        notNegative("image_mj", imageMj)
        require(images > 0) { "images $images; expected above 0" }
    }
}

/** Seconds and joules of each stage and of each image beside the stages, for one artifact on one device. */
class StageCosts(
    val stageS: List<Double>,
    val stageJ: List<Double>,
    val imageS: Double,
    val imageJ: Double,
    val basis: Basis,
    val source: String,
) {
    /** Seconds of an image that leaves at each exit. */
    val exitS: List<Double> get() = stageS.runningReduce(Double::plus).map { imageS + it }

    /** Joules of an image that leaves at each exit. */
    val exitJ: List<Double> get() = stageJ.runningReduce(Double::plus).map { imageJ + it }
}

/** What a device draws and how fast it is: docs/energy-model.md. Each section says whether it was measured. */
@Serializable
data class DeviceProfile(
    val format: Long,
    val name: String,
    val battery: Battery,
    val power: BasePower,
    val thermal: ThermalModel,
    val estimated: List<ComputeEstimate> = emptyList(),
    val measured: List<MeasuredStages> = emptyList(),
    val lowPowerBelow: Double? = null,
) {
    init {
        require(format == PROFILE_FORMAT) { "format $format; this reads $PROFILE_FORMAT" }
        require(estimated.isNotEmpty() || measured.isNotEmpty()) {
            "no stage costs; expected `estimated` or `measured` ones"
        }
        require(lowPowerBelow == null || lowPowerBelow in 0.0..1.0) { "low_power_below $lowPowerBelow; expected 0 to 1 or null" }
    }

    /**
     * Of an artifact: measured ones if the profile has them for exactly these files, else an estimate.
     *
     * [stageMacs] has each stage's own MACs. Throws [SchemaError] where the profile has neither.
     */
    fun costs(
        stageMacs: List<Long>,
        artifactSha256: String,
        target: String,
    ): StageCosts {
        measured.find { it.artifactSha256 == artifactSha256 && it.stageMs.size == stageMacs.size }?.let { m ->
            val (seconds, joules) = listOf(m.stageMs, m.stageMj).map { values -> values.map { it / 1e3 } }
            return StageCosts(seconds, joules, m.imageMs / 1e3, m.imageMj / 1e3, Basis.MEASURED, m.source)
        }
        estimated.find { it.target == target }?.let { e ->
            val seconds = stageMacs.map { it / (e.gmacsPerS * 1e9) + e.callMs / 1e3 }
            val imageS = e.imageMs / 1e3
            return StageCosts(seconds, seconds.map { it * e.busyW }, imageS, imageS * e.busyW, Basis.ESTIMATED, e.source)
        }
        throw SchemaError(
            "the profile ${shorten(name)} has no costs measured for the artifacts ${artifactSha256.take(12)}... " +
                "and none estimated for ${shorten(target)}; estimated: ${estimated.map { it.target }}",
        )
    }

    /** Watts beside inference with the screen on for a share [screen] of the time. */
    fun baseW(screen: Double): Double = power.idleW + screen * power.screenW

    /** What the power policy knows of this device and a bundle's points; [capacityJ] of a full battery. */
    fun powerTable(
        points: List<OperatingPoint>,
        costs: StageCosts,
        screen: Double = 0.0,
        capacityJ: Double = battery.joules,
    ): PowerTable = powerTable(points, costs.exitJ, capacityJ, baseW(screen))
}

/** A profile from its JSON; [where] names it in errors. Throws [SchemaError]. */
fun parseProfile(
    content: ByteArray,
    where: String,
): DeviceProfile = fromJson(DeviceProfile.serializer(), parseJson(content, where), where)
