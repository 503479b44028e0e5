package dvtedge.device

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

/** What an exit's confidence is: docs/exit-rule.md. */
@Serializable
enum class Measure {
    @SerialName("max_softmax")
    MAX_SOFTMAX,

    @SerialName("margin")
    MARGIN,

    @SerialName("entropy")
    ENTROPY,
}

/** What a certificate bounds, against always running the last exit. */
@Serializable
enum class Risk {
    @SerialName("accuracy_loss")
    ACCURACY_LOSS,

    @SerialName("disagreement")
    DISAGREEMENT,
}

/** How a certificate was proved: docs/calibration.md. */
@Serializable
enum class Method {
    @SerialName("hoeffding-bentkus")
    HOEFFDING_BENTKUS,

    @SerialName("wsr")
    WSR,

    @SerialName("binomial")
    BINOMIAL,

    @SerialName("crc")
    CRC,

    @SerialName("always-last")
    ALWAYS_LAST,
}

/**
 * What was proved of a point on [n] images that its thresholds were not searched on: docs/calibration.md.
 *
 * It is bound to what it was proved of ([Manifest.uncertified]): artifacts, thresholds, measure, temperatures. The risk is
 * at most [epsilon] with probability 1 - [delta] over the draw of the images; in expectation over it where [delta] is null.
 */
@Serializable
data class Certificate(
    val risk: Risk,
    val method: Method,
    val epsilon: Double,
    val delta: Double?,
    val n: Long,
    val artifactSha256: String,
    val dataSha256: String,
    val thresholds: List<Double>,
    val measure: Measure,
    val temperature: List<Double>,
    val attempts: Long,
) {
    init {
        require(epsilon >= 0 && epsilon < 1) { "epsilon $epsilon; expected 0 <= epsilon < 1" }
        require(delta == null || (delta >= 0 && delta < 1)) { "delta $delta; expected 0 <= delta < 1 or null" }
        require((delta == null) == (method == Method.CRC)) { "delta $delta with the method $method" }
        require(n >= 0 && attempts >= 1) { "n $n, attempts $attempts; expected at least 0 and 1" }
    }
}

/** Thresholds per exit and what they gave on [images] images of [data], run through the shipped artifacts. */
@Serializable
data class OperatingPoint(
    val name: String,
    val thresholds: List<Double>, // one per exit; above 1 never exits there, the last one is not used
    val exitShares: List<Double>,
    val meanMacs: Double,
    val agreement: Double, // share of images whose label is the last exit's
    val top1: Double?, // null where the data has no labels
    val images: Long,
    val data: String,
    val top1Interval: List<Double>? = null, // of top1, 95 %: low, high
    val expectedTop1: Double? = null, // the same, steadied, for policies
    val meanCost: Double? = null,
    val certificate: Certificate? = null, // holds only where Manifest.uncertified finds nothing
) {
    init {
        require(thresholds.all(Double::isFinite)) { "$name: thresholds $thresholds" }
        require(top1Interval == null || top1Interval.size == 2) { "$name: top1_interval $top1Interval; expected two numbers" }
    }
}
