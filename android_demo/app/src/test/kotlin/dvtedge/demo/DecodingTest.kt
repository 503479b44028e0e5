package dvtedge.demo

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import dvtedge.device.DataError
import dvtedge.device.RgbSource
import dvtedge.device.parseJson
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File
import java.nio.ByteBuffer
import java.util.Base64
import java.util.zip.CRC32

/** Picture files through Android's own decoder (Skia, as Robolectric brings it): the golden pixels, with two known exceptions. */
class DecodingTest : AppTest() {
    private val golden = File(System.getProperty("golden")!!)

    @Test
    fun goldenPictures() {
        val cases = (parseJson(File(golden, "preprocess/cases.json").readBytes(), "cases") as Map<*, *>)["cases"] as List<*>
        val differ = HashMap<String, Int>()
        for (case in cases.map { it as Map<*, *> }) {
            val name = case["name"] as String
            val file = File(golden, "preprocess/${case["file"] ?: "$name.png"}")
            val expected = File(golden, "preprocess/$name.rgb").readBytes()
            try {
                val found = pixelsOf(decode(file.readBytes()))
                val furthest =
                    expected.indices.maxOf {
                        kotlin.math.abs((expected[it].toInt() and 255) - (found[it].toInt() and 255))
                    }
                if (furthest > 0) differ[name] = furthest
            } catch (_: DataError) {
                differ[name] = -1
            }
        }
        assertEquals(KNOWN, differ.toSortedMap().toMap())
    }

    /** Every orientation of every format that Android decodes; by EXIF, not by XMP. */
    @Test
    fun orientations() {
        val cases = (parseJson(File(golden, "exif.json").readBytes(), "exif") as Map<*, *>)["cases"] as List<*>
        var turned = 0
        for (case in cases.map { it as Map<*, *> }) {
            val file = Base64.getDecoder().decode(case["file"] as String)
            val found =
                try {
                    decode(file)
                } catch (_: DataError) {
                    assertTrue("${case["name"]}", "tiff" in case["name"] as String) // not one of Android's
                    continue
                }
            val quarter = case["orientation"] as Long >= 5
            assertEquals("${case["name"]}", if (quarter) 2 to 3 else 3 to 2, found.width to found.height)
            turned += if (quarter) 1 else 0
        }
        assertTrue(turned > 8)
        assertArrayEquals(bytesOf("decoding/plain.jpg"), bytesOf("decoding/xmp.jpg"))
    }

    /** Values are those of the file, whatever its profile makes of them; transparent ones over black. */
    @Test
    fun profilesAreIgnored() {
        val wide = ColorSpace.get(ColorSpace.Named.DISPLAY_P3)
        val picture = Bitmap.createBitmap(2, 1, Bitmap.Config.ARGB_8888, true, wide)
        val stored = byteArrayOf(200.toByte(), 100, 50, -1, 100, 50, 25, 127) // RGBA, times alpha
        picture.copyPixelsFromBuffer(ByteBuffer.wrap(stored))
        val file = pngOf(picture)
        assertTrue(decodedSpace(file) != ColorSpace.get(ColorSpace.Named.SRGB))
        assertArrayEquals(byteArrayOf(200.toByte(), 100, 50, 100, 50, 25), pixelsOf(decode(file)))
    }

    private fun decodedSpace(file: ByteArray) = BitmapFactory.decodeByteArray(file, 0, file.size).colorSpace

    /** Android decodes other formats too, in its own way: they are refused, whatever they are called. */
    @Test
    fun otherFormatsAreRefused() {
        val wirelessBitmap = byteArrayOf(0, 0, 8, 1, 0x55)
        assertEquals(8, BitmapFactory.decodeByteArray(wirelessBitmap, 0, 5).width)
        val error = assertThrows(DataError::class.java) { decode(wirelessBitmap) }
        assertEquals("not a picture in BMP, GIF, JPEG, PNG, PPM, TIFF or WebP", error.message)
    }

    /** A small file of a picture beyond the limit is refused by its header, before memory is taken for its pixels. */
    @Test
    fun tooManyPixels() {
        val file = pngOf(Bitmap.createBitmap(2, 1, Bitmap.Config.ARGB_8888))
        ByteBuffer.wrap(file).putInt(16, 20_000).putInt(20, 20_000) // of its IHDR
        ByteBuffer.wrap(file).putInt(29, CRC32().apply { update(file, 12, 17) }.value.toInt())
        val error = assertThrows(DataError::class.java) { decode(file) }
        assertEquals("the picture has 20000x20000 pixels; at most 100000000 are taken", error.message)
    }

    private fun bytesOf(name: String) = pixelsOf(decode(File(golden, name).readBytes()))

    private fun pixelsOf(source: RgbSource): ByteArray {
        val row = IntArray(source.width)
        return (0 until source.height)
            .flatMap { y ->
                source.readRow(y, 0, source.width, row)
                row.flatMap { rgb -> listOf((rgb shr 16).toByte(), (rgb shr 8).toByte(), rgb.toByte()) }
            }.toByteArray()
    }

    private companion object {
        /** By how many levels a picture differs at most; -1 of one that Android does not decode. */
        val KNOWN = mapOf("cmyk" to -1, "rgb-16-bit" to 1)
    }
}
