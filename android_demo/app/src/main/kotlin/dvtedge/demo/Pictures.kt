package dvtedge.demo

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.Image
import android.net.Uri
import dvtedge.device.Plane
import dvtedge.device.Range
import dvtedge.device.RgbImage
import dvtedge.device.RgbSource
import dvtedge.device.exifOrientation
import dvtedge.device.frameToRgb
import dvtedge.device.upright
import java.io.FileNotFoundException
import java.io.IOException

/** A decoded bitmap, opaque or transparent over black, as the core takes it. */
class BitmapSource(
    private val bitmap: Bitmap,
) : RgbSource {
    override val width get() = bitmap.width
    override val height get() = bitmap.height

    override fun readRow(
        y: Int,
        from: Int,
        until: Int,
        into: IntArray,
    ) {
        bitmap.getPixels(into, from, width, from, y, until - from, 1)
        for (x in from until until) into[x] = overBlack(into[x])
    }

    private fun overBlack(argb: Int): Int {
        val alpha = argb ushr 24
        if (alpha == 255) return argb

        fun part(shift: Int) = (((argb ushr shift) and 0xff) * alpha + 127) / 255 shl shift
        return part(16) or part(8) or part(0)
    }
}

/** The picture at [uri], upright by its EXIF. Colour profiles are ignored, as docs/preprocess.md asks. Throws IOException. */
fun readPicture(
    resolver: ContentResolver,
    uri: Uri,
): RgbSource {
    val stream = resolver.openInputStream(uri) ?: throw FileNotFoundException("$uri")
    return decode(stream.use { it.readBytes() })
}

/** A picture [file]'s pixels, upright. Throws IOException. */
fun decode(file: ByteArray): RgbSource {
    val options = BitmapFactory.Options().apply { inScaled = false }
    val bitmap =
        BitmapFactory.decodeByteArray(file, 0, file.size, options) ?: throw IOException("not a picture that Android decodes")
    val source = BitmapSource(bitmap)
    val orientation = exifOrientation(file)
    return if (orientation == 1) source else upright(copyOf(source), orientation)
}

private fun copyOf(source: RgbSource): RgbImage {
    val row = IntArray(source.width)
    val bytes = ByteArray(3 * source.width * source.height)
    var at = 0
    for (y in 0 until source.height) {
        source.readRow(y, 0, source.width, row)
        for (rgb in row) {
            bytes[at++] = (rgb shr 16).toByte()
            bytes[at++] = (rgb shr 8).toByte()
            bytes[at++] = rgb.toByte()
        }
    }
    return RgbImage(source.width, source.height, bytes)
}

/** A camera's YUV_420_888 [image], turned clockwise by [rotation] degrees. Android's cameras give full range. */
fun frameOf(
    image: Image,
    rotation: Int,
): RgbImage {
    val (y, u, v) = image.planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }
    return frameToRgb(y, u, v, image.width, image.height, rotation, Range.FULL)
}

/** (size, size, 3) uint8 RGB as a bitmap, to be looked at. */
fun bitmapOf(pixels: ByteArray): Bitmap {
    val side = kotlin.math.sqrt(pixels.size / 3.0).toInt()
    val colors =
        IntArray(side * side) { k ->
            val (r, g, b) = List(3) { pixels[3 * k + it].toInt() and 0xff }
            (0xff shl 24) or (r shl 16) or (g shl 8) or b
        }
    return Bitmap.createBitmap(colors, side, side, Bitmap.Config.ARGB_8888)
}
