package dvtedge.demo

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.Image
import android.net.Uri
import dvtedge.device.DataError
import dvtedge.device.Plane
import dvtedge.device.Range
import dvtedge.device.RgbImage
import dvtedge.device.RgbSource
import dvtedge.device.checkPixels
import dvtedge.device.exifOrientation
import dvtedge.device.frameToRgb
import dvtedge.device.isReadFormat
import dvtedge.device.upright
import java.io.FileNotFoundException
import java.io.IOException
import java.nio.ByteBuffer

/** A decoded bitmap, opaque or transparent over black, as the core takes it: its values as they are in the file. */
class BitmapSource(
    private val bitmap: Bitmap,
) : RgbSource {
    override val width get() = bitmap.width
    override val height get() = bitmap.height

    /** Of a picture with another profile than sRGB, which `getPixels` would turn into that: RGBA, times alpha. */
    private val stored: ByteBuffer? =
        if (bitmap.config != Bitmap.Config.ARGB_8888 || bitmap.colorSpace?.isSrgb == true) {
            null
        } else {
            ByteBuffer.allocate(bitmap.byteCount).also(bitmap::copyPixelsToBuffer)
        }

    override fun readRow(
        y: Int,
        from: Int,
        until: Int,
        into: IntArray,
    ) {
        if (stored != null) {
            for (x in from until until) into[x] = stored.getInt(bitmap.rowBytes * y + 4 * x) ushr 8
            return
        }
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

/**
 * The picture at [uri], upright by its EXIF. Colour profiles are ignored, as docs/preprocess.md asks. Throws IOException where
 * it cannot be had, DataError where it cannot be decoded.
 */
fun readPicture(
    resolver: ContentResolver,
    uri: Uri,
): RgbSource {
    val stream = asking { resolver.openInputStream(uri) } ?: throw FileNotFoundException("$uri")
    return decode(stream.use { it.readBytes() })
}

/** Asks another app's provider: whatever that throws is an IOException here. */
internal fun <T> asking(call: () -> T): T =
    try {
        call()
    } catch (error: RuntimeException) {
        throw IOException(error.message ?: error.javaClass.simpleName, error)
    }

/** A picture [file]'s pixels, upright. Throws DataError for what is no picture that is read, and for one of too many pixels. */
fun decode(file: ByteArray): RgbSource {
    if (!isReadFormat(file)) throw DataError("not a picture in BMP, GIF, JPEG, PNG, PPM, TIFF or WebP")
    val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    BitmapFactory.decodeByteArray(file, 0, file.size, bounds)
    if (bounds.outWidth > 0 && bounds.outHeight > 0) checkPixels("the picture", bounds.outWidth, bounds.outHeight)
    val options = BitmapFactory.Options().apply { inScaled = false }
    val bitmap =
        BitmapFactory.decodeByteArray(file, 0, file.size, options) ?: throw DataError("not a picture that Android decodes")
    return upright(BitmapSource(bitmap), exifOrientation(file))
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
