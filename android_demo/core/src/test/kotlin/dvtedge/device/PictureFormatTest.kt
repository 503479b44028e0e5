package dvtedge.device

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import java.io.File
import java.util.Base64

/** What is read and what is refused, by the bytes that a file begins with: docs/preprocess.md. */
class PictureFormatTest {
    /** Formats that docs/preprocess.md names. */
    private val read =
        "424d4e00 474946383761 474946383961 ffd8ffe0 89504e470d0a1a0a 5031 5032 5033 5034 50350a 5036 " +
            "49492a00 4d4d002a 49492b00 4d4d002b 52494646640000005745425056"

    /** HEIC, AVIF, JPEG 2000, JPEG XL, an icon, Photoshop, PDF, a sound in RIFF, PF of floats, and files that are cut short. */
    private val refused =
        "000000246674797068656963 0000001c6674797061766966 0000000c6a5020200d0a870a ff0a 000001000100 384250530001 " +
            "255044462d312e37 524946466400000057415645 5046 42 ffd8 5249464664000000574542"

    @TestFactory
    fun formatsThatAreRead() = formats(read.split(" "), true)

    @TestFactory
    fun formatsThatAreRefused() = formats(refused.split(" ") + "", false)

    private fun formats(
        files: List<String>,
        expected: Boolean,
    ) = tests(files.map(::Json), { "'${it.string}'" }) { case ->
        val bytes = case.string.chunked(2).map { it.toInt(16).toByte() }
        assertEquals(expected, isReadFormat(bytes.toByteArray()))
    }

    /** Every golden picture is of one. */
    @Test
    fun formatsOfTheGoldenPictures() {
        val inText = golden("exif.json")["cases"].list.map { Base64.getDecoder().decode(it["file"].string) }
        val names =
            golden("preprocess/cases.json")["cases"].list.map {
                "preprocess/${if (it.has("file")) it["file"].string else "${it["name"].string}.png"}"
            } + listOf("g16.png", "g16le.tif", "plain.jpg").map { "decoding/$it" }
        assertTrue((inText + names.map { File(GOLDEN, it).readBytes() }).all(::isReadFormat))
    }
}
