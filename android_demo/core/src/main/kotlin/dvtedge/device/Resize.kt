package dvtedge.device

import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.floor

/*
 * Pillow's antialiased bicubic in fixed point: docs/preprocess.md, "The resize".
 *
 * Only what the crop keeps is computed: an output sample depends on no other. Two rows, or two columns, are worked on at
 * once, as the halves of a Long: a sum of 22-bit weights times 8-bit samples lies within 32 bits, and what the lower half
 * borrows from the upper one is given back when they are taken apart.
 */

private const val BITS = 22
private const val HALF = 1 shl (BITS - 1)
private const val BOTH_HALVES = (HALF.toLong() shl 32) + HALF

/** For each of [count] output samples: its first input sample and its fixed-point weights, [taps] a sample, 0 beyond. */
internal class Weights(
    val starts: IntArray,
    val values: LongArray,
    val taps: IntArray,
    val stride: Int,
) {
    val count = starts.size
    val first get() = starts.first()
    val end get() = starts.last() + taps.last()
}

/** The weights of the output samples [from] until [from] + [count] of [new] that are made of [old] samples. */
internal fun weightsOf(
    old: Int,
    new: Int,
    from: Int,
    count: Int,
): Weights {
    if (old == new) return Weights(IntArray(count) { from + it }, LongArray(count) { 1L shl BITS }, IntArray(count) { 1 }, 1)
    val scale = old.toDouble() / new
    val stretch = maxOf(scale, 1.0)
    val stride = ceil(2 * stretch).toInt() * 2 + 1
    val found = Weights(IntArray(count), LongArray(count * stride), IntArray(count), stride)
    for (k in 0 until count) {
        val centre = (from + k + 0.5) * scale
        val start = maxOf(0, (centre - 2 * stretch + 0.5).toInt())
        val end = minOf(old, (centre + 2 * stretch + 0.5).toInt())
        val exact = DoubleArray(end - start) { cubic((start + it - centre + 0.5) * (1.0 / stretch)) }
        val sum = exact.fold(0.0, Double::plus)
        found.starts[k] = start
        found.taps[k] = exact.size
        for (j in exact.indices) found.values[k * stride + j] = awayFromZero(exact[j] / sum * (1 shl BITS))
    }
    return found
}

/** The nearest integer, halves away from zero. */
private fun awayFromZero(value: Double): Long = if (value < 0) ceil(value - 0.5).toLong() else floor(value + 0.5).toLong()

private fun cubic(offset: Double): Double {
    val x = abs(offset)
    return when {
        x < 1 -> (1.5 * x - 2.5) * x * x + 1
        x < 2 -> ((-0.5 * x + 2.5) * x - 4) * x + 2
        else -> 0.0
    }
}

/**
 * Rows [rows] of [image], each of `columns.count` pixels: three planes of a Long for each pixel of two rows, row 2k below
 * and row 2k + 1 above.
 */
internal fun resizeAcross(
    image: RgbSource,
    columns: Weights,
    rows: IntRange,
): Array<ByteArray> {
    val height = rows.last - rows.first + 1
    val planes = Array(3) { ByteArray(height * columns.count) }
    val (upper, lower) = List(2) { IntArray(image.width) }
    val (red, green, blue) = List(3) { LongArray(image.width) }
    val (first, end) = columns.first to columns.end
    for (k in 0 until height step 2) {
        image.readRow(rows.first + k, first, end, upper)
        if (k + 1 < height) image.readRow(rows.first + k + 1, first, end, lower)
        for (x in first until end) {
            val a = upper[x]
            val b = lower[x]
            red[x] = (b shr 16 and 0xff).toLong() shl 32 or (a shr 16 and 0xff).toLong()
            green[x] = (b shr 8 and 0xff).toLong() shl 32 or (a shr 8 and 0xff).toLong()
            blue[x] = (b and 0xff).toLong() shl 32 or (a and 0xff).toLong()
        }
        resizeTwoRows(columns, red, green, blue, planes, k, pair = k + 1 < height)
    }
    return planes
}

private fun resizeTwoRows(
    columns: Weights,
    red: LongArray,
    green: LongArray,
    blue: LongArray,
    planes: Array<ByteArray>,
    row: Int,
    pair: Boolean,
) {
    val (reds, greens, blues) = planes
    val values = columns.values
    for (i in 0 until columns.count) {
        val start = columns.starts[i]
        val first = i * columns.stride
        var r = BOTH_HALVES
        var g = BOTH_HALVES
        var b = BOTH_HALVES
        for (j in 0 until columns.taps[i]) {
            val weight = values[first + j]
            r += weight * red[start + j]
            g += weight * green[start + j]
            b += weight * blue[start + j]
        }
        val at = row * columns.count + i
        reds[at] = lowerByte(r)
        greens[at] = lowerByte(g)
        blues[at] = lowerByte(b)
        if (pair) {
            reds[at + columns.count] = upperByte(r)
            greens[at + columns.count] = upperByte(g)
            blues[at + columns.count] = upperByte(b)
        }
    }
}

/** (rows.count, width, 3) uint8 of three [planes] whose first row is `rows.first`. */
internal fun resizeDown(
    planes: Array<ByteArray>,
    width: Int,
    rows: Weights,
): ByteArray {
    val (reds, greens, blues) = planes
    val made = ByteArray(3 * rows.count * width)
    val sums = LongArray(3 * width)
    val top = rows.first
    for (i in 0 until rows.count) {
        sums.fill(HALF.toLong())
        for (j in 0 until rows.taps[i]) {
            val weight = rows.values[i * rows.stride + j]
            val from = (rows.starts[i] + j - top) * width
            for (x in 0 until width) {
                sums[x] += weight * (reds[from + x].toInt() and 0xff)
                sums[width + x] += weight * (greens[from + x].toInt() and 0xff)
                sums[2 * width + x] += weight * (blues[from + x].toInt() and 0xff)
            }
        }
        var at = 3 * i * width
        for (x in 0 until width) {
            made[at++] = lowerByte(sums[x])
            made[at++] = lowerByte(sums[width + x])
            made[at++] = lowerByte(sums[2 * width + x])
        }
    }
    return made
}

private fun lowerByte(sum: Long): Byte = (sum.toInt() shr BITS).coerceIn(0, 255).toByte()

private fun upperByte(sum: Long): Byte = ((sum - sum.toInt()) shr (32 + BITS)).toInt().coerceIn(0, 255).toByte()
