package dvtedge.device

internal const val MAX_PIXELS = 100_000_000

/**
 * An upright picture of uint8 RGB, whose rows are read one at a time: a decoded file, a camera's frame, or whatever an app
 * has. Docs/preprocess.md says what its values are.
 */
interface RgbSource {
    val width: Int
    val height: Int

    /**
     * The pixels of row [y] from column [from] until [until], each at its column in [into], as 0xRRGGBB; what stands above
     * those 24 bits is not looked at.
     */
    fun readRow(
        y: Int,
        from: Int,
        until: Int,
        into: IntArray,
    )
}

/** (height, width, 3) uint8 RGB, one row after another. */
class RgbImage(
    override val width: Int,
    override val height: Int,
    val bytes: ByteArray,
) : RgbSource {
    init {
        val expected = 3L * width * height
        if (width < 1 || height < 1 || bytes.size.toLong() != expected) {
            throw DataError("an image of ${width}x$height in ${bytes.size} bytes; expected $expected bytes of RGB")
        }
        checkPixels("the image", width, height)
    }

    override fun readRow(
        y: Int,
        from: Int,
        until: Int,
        into: IntArray,
    ) {
        var at = 3 * (width * y + from)
        for (x in from until until) {
            into[x] =
                (bytes[at].toInt() and 0xff shl 16) or (bytes[at + 1].toInt() and 0xff shl 8) or (bytes[at + 2].toInt() and 0xff)
            at += 3
        }
    }
}

/**
 * (size, size, 3) uint8 RGB: resized so that the shorter side is `resize` (bicubic, antialiased), cut from the centre.
 *
 * Byte for byte what `dvt_edge/device/preprocess.py` gives for the same pixels. Throws [DataError].
 */
fun preprocess(
    image: RgbSource,
    spec: ImageSize,
): ByteArray {
    checkPixels("the image", image.width, image.height)
    val (width, height) = resizedShape(image.width, image.height, spec.resize)
    if (width.toLong() * maxOf(height, image.height) > MAX_PIXELS) {
        throw DataError("an image of ${image.width}x${image.height} pixels, too long for its width once resized")
    }
    val columns = weightsOf(image.width, width, (width - spec.size) / 2, spec.size)
    val rows = weightsOf(image.height, height, (height - spec.size) / 2, spec.size)
    return resizeAcross(image, columns, rows.first until rows.end).let { resizeDown(it, columns.count, rows) }
}

/** (width, height) with the shorter side [resize] and the longer one scaled alike, rounded down (integers). */
fun resizedShape(
    width: Int,
    height: Int,
    resize: Int,
): Pair<Int, Int> {
    val short = minOf(width, height).toLong()

    fun scaled(side: Int) = maxOf(resize.toLong(), side * resize.toLong() / short)
    val longest = maxOf(scaled(width), scaled(height))
    if (longest > MAX_PIXELS) throw DataError("an image of ${width}x$height pixels, too long for its width once resized")
    return scaled(width).toInt() to scaled(height).toInt()
}

fun checkPixels(
    what: String,
    width: Int,
    height: Int,
) {
    if (width < 1 || height < 1) throw DataError("$what has ${width}x$height pixels; expected at least one")
    if (width.toLong() * height > MAX_PIXELS) {
        throw DataError("$what has ${width}x$height pixels; at most $MAX_PIXELS are taken")
    }
}

/** One of a frame's planes as cameras give them: the sample (x, y) is byte y * [rowStride] + x * [pixelStride]. */
class Plane(
    private val data: java.nio.ByteBuffer,
    private val rowStride: Int,
    private val pixelStride: Int = 1,
) {
    constructor(
        data: ByteArray,
        rowStride: Int,
        pixelStride: Int = 1,
    ) : this(java.nio.ByteBuffer.wrap(data), rowStride, pixelStride)

    /** The samples of row [y] as 0..255. */
    internal fun readRow(
        y: Int,
        width: Int,
        into: IntArray,
    ) {
        var at = y * rowStride
        for (x in 0 until width) {
            into[x] = data.get(at).toInt() and 0xff
            at += pixelStride
        }
    }

    /** Throws [DataError] where it has not [width] x [height] samples; the last row may end with its last sample. */
    internal fun check(
        width: Int,
        height: Int,
    ) {
        val needed = (height - 1L) * rowStride + (width - 1L) * pixelStride + 1
        if (pixelStride < 1 || rowStride < (width - 1L) * pixelStride + 1 || data.limit() < needed) {
            throw DataError(
                "a plane of ${data.limit()} bytes with strides $rowStride and $pixelStride; " +
                    "${width}x$height samples need $needed",
            )
        }
    }
}

/** What the luma and chroma of a frame mean: BT.601 in fractions of 65536 that 16 bits round. */
enum class Range(
    internal val black: Int,
    internal val luma: Int,
    internal val crToRed: Int,
    internal val cbToGreen: Int,
    internal val crToGreen: Int,
    internal val cbToBlue: Int,
) {
    FULL(0, 65536, 91881, 22554, 46802, 116130),
    VIDEO(16, 76309, 104597, 25675, 53279, 132201),
}

/**
 * A YUV 4:2:0 frame as upright RGB (height, width, 3) uint8, or (width, height, 3) after a quarter turn.
 *
 * [u] is Cb, [v] is Cr, each of half the sides, rounded up; the nearest of them is taken, without smoothing. [rotation] is
 * clockwise in degrees, what the camera asks for. Throws [DataError].
 */
fun frameToRgb(
    y: Plane,
    u: Plane,
    v: Plane,
    width: Int,
    height: Int,
    rotation: Int = 0,
    range: Range = Range.FULL,
): RgbImage {
    if (width < 1 || height < 1 || rotation !in setOf(0, 90, 180, 270)) {
        throw DataError("a frame of ${width}x$height turned by $rotation; expected 0, 90, 180 or 270 degrees")
    }
    checkPixels("the frame", width, height)
    y.check(width, height)
    for (plane in listOf(u, v)) plane.check((width + 1) / 2, (height + 1) / 2)
    val turned = Turned(width, height, TURNS.getValue(rotation))
    val (luma, cb, cr) = List(3) { IntArray(width) }
    for (line in 0 until height) {
        y.readRow(line, width, luma)
        if (line % 2 == 0) {
            u.readRow(line / 2, (width + 1) / 2, cb)
            v.readRow(line / 2, (width + 1) / 2, cr)
        }
        for (x in 0 until width) turned.put(x, line, rgbOf(luma[x], cb[x shr 1] - 128, cr[x shr 1] - 128, range))
    }
    return turned.image()
}

/** 0xRRGGBB of a luma of 0..255 and chroma of -128..127. */
private fun rgbOf(
    luma: Int,
    cb: Int,
    cr: Int,
    range: Range,
): Int {
    val bright = (luma - range.black) * range.luma + 32768
    val red = (bright + range.crToRed * cr) shr 16
    val green = (bright - range.cbToGreen * cb - range.crToGreen * cr) shr 16
    val blue = (bright + range.cbToBlue * cb) shr 16
    return (red.coerceIn(0, 255) shl 16) or (green.coerceIn(0, 255) shl 8) or blue.coerceIn(0, 255)
}

private val TURNS = mapOf(0 to 1, 90 to 6, 180 to 3, 270 to 8) // clockwise degrees -> EXIF's orientation

/** [image] turned upright by its EXIF [orientation], 1 to 8, as a copy; any other value turns nothing. */
fun upright(
    image: RgbSource,
    orientation: Int,
): RgbSource {
    if (orientation !in 2..8) return image
    val turned = Turned(image.width, image.height, orientation)
    val row = IntArray(image.width)
    for (y in 0 until image.height) {
        image.readRow(y, 0, row.size, row)
        for (x in row.indices) turned.put(x, y, row[x])
    }
    return turned.image()
}

/** Takes the pixels of a [width] x [height] picture and turns them by an EXIF [orientation]. */
private class Turned(
    private val width: Int,
    private val height: Int,
    private val orientation: Int,
) {
    private val newWidth = if (orientation >= 5) height else width
    private val bytes = ByteArray(3 * width * height)

    fun put(
        x: Int,
        y: Int,
        rgb: Int,
    ) {
        val right = width - 1 - x
        val bottom = height - 1 - y
        val (column, row) =
            when (orientation) {
                2 -> right to y
                3 -> right to bottom
                4 -> x to bottom
                5 -> y to x
                6 -> bottom to x
                7 -> bottom to right
                8 -> y to right
                else -> x to y
            }
        val at = 3 * (row * newWidth + column)
        bytes[at] = (rgb shr 16).toByte()
        bytes[at + 1] = (rgb shr 8).toByte()
        bytes[at + 2] = rgb.toByte()
    }

    fun image() = RgbImage(newWidth, bytes.size / 3 / newWidth, bytes)
}
