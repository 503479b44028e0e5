package dvtedge.device

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import java.io.File
import java.util.Base64
import javax.imageio.ImageIO
import kotlin.random.Random

/** From decoded pixels on, byte for byte what the reference gives. */
class PreprocessTest {
    @TestFactory
    fun resizedAndCropped() =
        tests(golden("preprocess/cases.json")["cases"].list, { it["name"].string }) { case ->
            val name = case["name"].string
            val image = RgbImage(case["width"].int, case["height"].int, File(GOLDEN, "preprocess/$name.rgb").readBytes())
            assertArrayEquals(File(GOLDEN, "preprocess/$name.expected").readBytes(), preprocess(image, sizeOf(case)))
        }

    /** What the golden files have as .rgb is what a decoder gives that knows nothing of orientation, turned. */
    @TestFactory
    fun turnedUpright() =
        tests((1..8).map { Json(it.toLong()) }, { "orientation ${it.int}" }) { case ->
            val decoded = ImageIO.read(File(GOLDEN, "preprocess/exif-${case.int}.png"))
            val bytes =
                (0 until decoded.height).flatMap { y ->
                    (0 until decoded.width).flatMap { x ->
                        decoded.getRGB(x, y).let { listOf((it shr 16).toByte(), (it shr 8).toByte(), it.toByte()) }
                    }
                }
            val orientation = exifOrientation(File(GOLDEN, "preprocess/exif-${case.int}.png").readBytes())
            assertEquals(case.int, orientation)
            val turned = upright(RgbImage(decoded.width, decoded.height, bytes.toByteArray()), orientation)
            assertArrayEquals(File(GOLDEN, "preprocess/exif-${case.int}.rgb").readBytes(), (turned as RgbImage).bytes)
        }

    /** Of every format that has EXIF; XMP's is not read. */
    @TestFactory
    fun orientations() =
        tests(golden("exif.json")["cases"].list, { it["name"].string }) { case ->
            assertEquals(case["orientation"].int, exifOrientation(Base64.getDecoder().decode(case["file"].string)))
        }

    /** A file that was cut or changed anywhere gives an orientation all the same. */
    @Test
    fun brokenExifThrowsNothing() {
        val random = Random(11)
        for (case in golden("exif.json")["cases"].list) {
            val file = Base64.getDecoder().decode(case["file"].string)
            repeat(100) {
                val changed = file.copyOf(random.nextInt(file.size + 1))
                repeat(if (changed.isEmpty()) 0 else random.nextInt(4)) {
                    changed[random.nextInt(changed.size)] =
                        random.nextInt().toByte()
                }
                assertTrue(exifOrientation(changed) in 1..8)
            }
        }
    }

    @TestFactory
    fun cameraFrames() =
        tests(golden("camera/cases.json")["cases"].list, { it["name"].string }) { case ->
            val name = case["name"].string
            val content = File(GOLDEN, "camera/$name.yuv").readBytes()
            val (y, u, v) =
                listOf("y", "u", "v").map { case[it] }.map {
                    val bytes = content.copyOfRange(it["offset"].int, it["offset"].int + it["bytes"].int)
                    Plane(bytes, it["row_stride"].int, it["pixel_stride"].int)
                }
            val range = Range.valueOf(case["range"].string.uppercase())
            val rgb = frameToRgb(y, u, v, case["width"].int, case["height"].int, case["rotation"].int, range)
            assertArrayEquals(File(GOLDEN, "camera/$name.rgb").readBytes(), rgb.bytes)
            assertArrayEquals(File(GOLDEN, "camera/$name.expected").readBytes(), preprocess(rgb, sizeOf(case)))
        }

    private fun sizeOf(case: Json) = ImageSize(case["size"].int, case["resize"].int)

    /** Two rows in one Long are what one row after another gives, for the widest swings that samples can make. */
    @Test
    fun halvesOfALongDoNotDisturbEachOther() {
        val random = Random(3)
        repeat(300) {
            val (width, height) = List(2) { random.nextInt(1, 70) }
            val image = RgbImage(width, height, ByteArray(3 * width * height) { if (random.nextBoolean()) -1 else 0 })
            val resize = random.nextInt(1, 40)
            val size = random.nextInt(1, resize + 1)
            assertArrayEquals(
                plainly(image, size, resize),
                preprocess(image, ImageSize(size, resize)),
                "$width $height $size $resize",
            )
        }
    }

    /** Resize the whole picture, one sum at a time, then crop. */
    private fun plainly(
        image: RgbImage,
        size: Int,
        resize: Int,
    ): ByteArray {
        val (width, height) = resizedShape(image.width, image.height, resize)
        val across = axis(image.bytes, image.height, image.width, 3, width)
        val down = axis(across, 1, image.height, 3 * width, height)
        val (left, top) = (width - size) / 2 to (height - size) / 2
        return ByteArray(3 * size * size) { k ->
            val (y, x, c) = Triple(k / 3 / size, k / 3 % size, k % 3)
            down[3 * ((top + y) * width + left + x) + c]
        }
    }

    /** Of (outer, old, inner) bytes the middle axis becomes `new`. */
    private fun axis(
        bytes: ByteArray,
        outer: Int,
        old: Int,
        inner: Int,
        new: Int,
    ): ByteArray {
        val weights = weightsOf(old, new, 0, new)
        return ByteArray(outer * new * inner) { k ->
            val (o, i, c) = Triple(k / inner / new, k / inner % new, k % inner)
            var sum = 1L shl 21
            for (j in 0 until weights.taps[i]) {
                val at = (o * old + weights.starts[i] + j) * inner + c
                sum += weights.values[i * weights.stride + j] * (bytes[at].toInt() and 0xff)
            }
            (sum shr 22).coerceIn(0, 255).toByte()
        }
    }

    /** Pixels and planes of another form than they say are refused, before memory is taken for them. */
    @Test
    fun oddFormsAreRefused() {
        assertThrows<DataError> { RgbImage(2, 2, ByteArray(11)) }
        assertThrows<DataError> { RgbImage(0, 2, ByteArray(0)) }
        assertThrows<DataError> { RgbImage(-1, -4, ByteArray(12)) }
        assertThrows<DataError> { preprocess(huge(20_000, 6_000), ImageSize(224, 256)) }
        assertThrows<DataError> { preprocess(huge(90_000_000, 1), ImageSize(224, 256)) }
        val plane = Plane(ByteArray(16), 4)
        val chroma = Plane(ByteArray(4), 2)
        assertThrows<DataError> { frameToRgb(plane, chroma, chroma, 4, 5) }
        assertThrows<DataError> { frameToRgb(plane, chroma, chroma, 5, 4) }
        assertThrows<DataError> { frameToRgb(plane, chroma, chroma, 4, 4, rotation = 45) }
        assertThrows<DataError> { frameToRgb(plane, Plane(ByteArray(3), 2), chroma, 4, 4) }
        assertThrows<DataError> { frameToRgb(plane, Plane(ByteArray(9), 2, 0), chroma, 4, 4) }
    }

    private fun huge(
        width: Int,
        height: Int,
    ) = object : RgbSource {
        override val width = width
        override val height = height

        override fun readRow(
            y: Int,
            from: Int,
            until: Int,
            into: IntArray,
        ) = error("no row is read")
    }
}
