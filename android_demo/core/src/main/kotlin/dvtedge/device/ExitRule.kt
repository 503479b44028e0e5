package dvtedge.device

import kotlin.math.exp
import kotlin.math.ln

/** Index of the last stage that may run under a cap; below 0 counts as 0, beyond the end as none. */
fun lastStage(
    cap: Int?,
    stages: Int,
): Int = if (cap == null) stages - 1 else minOf(cap, stages - 1).coerceAtLeast(0)

/** [exit] is the stage whose logits count; [degraded] when it is not the last one that ran. */
data class Decision(
    val exit: Int,
    val label: Int,
    val confidence: Float,
    val degraded: Boolean = false,
)

/**
 * How sure (classes,) float32 logits are, in 0..1 and float32; NaN where a scaled logit is not finite.
 *
 * By [measure] of p = softmax(logits / temperature): its largest value, the largest less the second largest, or
 * 1 - H(p) / log(classes). One class is certain by the last two. docs/exit-rule.md
 */
fun confidence(
    logits: FloatArray,
    temperature: Double = 1.0,
    measure: Measure = Measure.MAX_SOFTMAX,
): Float {
    val divisor = temperature.toFloat()
    val scaled = FloatArray(logits.size) { logits[it] / divisor }
    return if (scaled.all(Float::isFinite)) howSure(scaled, measure) else Float.NaN
}

/** The measure of (classes,) finite scaled logits. */
private fun howSure(
    scaled: FloatArray,
    measure: Measure,
): Float {
    val top = scaled.max()
    val below = FloatArray(scaled.size) { scaled[it] - top }
    val powers = FloatArray(scaled.size) { exp(below[it]) }
    val total = sum(powers)
    return when (measure) {
        Measure.MAX_SOFTMAX -> {
            1f / total
        }

        Measure.MARGIN -> {
            (1f - secondLargest(powers)) / total
        }

        Measure.ENTROPY -> {
            if (scaled.size == 1) return 1f
            val weighted = FloatArray(powers.size) { if (powers[it] > 0) powers[it] * below[it] else 0f }
            val entropy = ln(total) - sum(weighted) / total
            (1f - entropy / ln(scaled.size.toFloat())).coerceIn(0f, 1f)
        }
    }
}

/** By halves, as NumPy does it: one value after another would lose the sixth digit over a thousand classes. */
private fun sum(
    values: FloatArray,
    from: Int = 0,
    to: Int = values.size,
): Float {
    if (to - from <= 8) return (from until to).fold(0f) { total, k -> total + values[k] }
    val middle = (from + to) / 2
    return sum(values, from, middle) + sum(values, middle, to)
}

/** Equal to the largest where two are tied; 0 for one class. */
private fun secondLargest(powers: FloatArray): Float {
    var largest = 0f
    var second = 0f
    for (power in powers) {
        second = maxOf(second, minOf(power, largest))
        largest = maxOf(largest, power)
    }
    return second
}

/** The index of the largest logit; of equal ones the lowest. A NaN counts as the largest, as in NumPy. */
fun labelOf(logits: FloatArray): Int {
    var label = 0
    for (k in logits.indices) {
        if (logits[label].isNaN()) break
        if (logits[k] > logits[label] || logits[k].isNaN()) label = k
    }
    return label
}

/** Whether inference stops after [stage], whose confidence is [value]. A NaN is not >= anything. */
fun leaves(
    value: Float,
    stage: Int,
    thresholds: List<Double>,
    last: Int,
): Boolean = stage >= last || value >= thresholds[stage].toFloat()

/**
 * The answer, from the confidence and label of every stage that ran: the latest finite one.
 *
 * Throws [NotFiniteError] when none is finite.
 */
fun decide(
    values: List<Float>,
    labels: List<Int>,
): Decision {
    val stage = values.indexOfLast(Float::isFinite)
    if (stage < 0) throw NotFiniteError("none of the ${values.size} exits that ran gave finite logits")
    return Decision(stage, labels[stage], values[stage], degraded = stage < values.size - 1)
}
