package dvtedge.device

import java.util.zip.DataFormatException
import java.util.zip.Inflater

private const val ORIENTATION = 0x0112
private const val EXIF_IN_TEXT = "Raw profile type exif" // the keyword of a PNG's text that holds EXIF in hex
private const val MAX_TEXT = 1 shl 20 // bytes that such a text may unpack to
private val INTEGERS = mapOf(3 to 2, 4 to 4, 6 to 1, 8 to 2, 9 to 4, 13 to 4) // types of a tag: bytes of an integer

/**
 * The orientation that a picture [file]'s EXIF asks for, 1 to 8: what [upright] takes. 1 where it asks for none.
 *
 * EXIF's own, of JPEG, PNG, WebP and TIFF; one in XMP is not read: docs/preprocess.md. Whatever the bytes are, it throws nothing.
 */
fun exifOrientation(file: ByteArray): Int {
    val whole = Bytes(file, 0, file.size)
    val block =
        when {
            whole.starts(0, 0xff, 0xd8) -> exifOfJpeg(whole)
            whole.starts(0, 0x89, 'P'.code, 'N'.code, 'G'.code) -> exifOfPng(whole)
            whole.text(0, 4) == "RIFF" && whole.text(8, 4) == "WEBP" -> exifOfWebp(whole)
            else -> whole // a TIFF is a block of EXIF
        }
    return block?.let(::orientationOf)?.takeIf { it in 1..8 } ?: 1
}

/** A part of a file. What lies outside it is null. */
private class Bytes(
    private val all: ByteArray,
    private val from: Int,
    val size: Int,
) {
    /** The unsigned number of [count] bytes at [at]; null where it is beyond 31 bits. */
    fun number(
        at: Int,
        count: Int,
        little: Boolean = false,
    ): Int? {
        if (at < 0 || at > size - count) return null
        val bytes = (0 until count).map { all[from + at + it].toLong() and 0xff }
        val value = (if (little) bytes.reversed() else bytes).fold(0L) { sum, byte -> (sum shl 8) or byte }
        return value.takeIf { it <= Int.MAX_VALUE }?.toInt()
    }

    fun part(
        at: Int,
        count: Int,
    ): Bytes? = if (at < 0 || count < 0 || at > size - count) null else Bytes(all, from + at, count)

    fun starts(
        at: Int,
        vararg bytes: Int,
    ): Boolean = bytes.indices.all { number(at + it, 1) == bytes[it] }

    fun text(
        at: Int,
        count: Int,
    ): String? = part(at, count)?.content()?.toString(Charsets.ISO_8859_1)

    fun content(): ByteArray = all.copyOfRange(from, from + size)
}

/** The first segment of EXIF before the pixels. */
private fun exifOfJpeg(file: Bytes): Bytes? {
    var at = 2
    while (true) {
        val marker = file.number(at, 2) ?: return null
        when (marker) {
            0xffff -> {
                at += 1 // a byte to fill
            }

            0xff01, in 0xffd0..0xffd7 -> {
                at += 2 // alone
            }

            in 0xff02..0xfffe -> {
                if (marker == 0xffd9 || marker == 0xffda) return null // the end, or pixels
                val length = file.number(at + 2, 2) ?: return null
                if (marker == 0xffe1 && file.text(at + 4, 6) == "Exif\u0000\u0000") return file.part(at + 4, length - 2)
                at += 2 + length
            }

            else -> {
                return null
            }
        }
    }
}

/** The chunk of EXIF, wherever it stands; else the text that holds one. */
private fun exifOfPng(file: Bytes): Bytes? {
    var at = 8
    var inText: Bytes? = null
    while (true) {
        val length = file.number(at, 4) ?: return inText
        val kind = file.text(at + 4, 4) ?: return inText
        val chunk = file.part(at + 8, length) ?: return inText
        if (kind == "eXIf") return chunk
        if (inText == null && kind in setOf("tEXt", "zTXt", "iTXt")) inText = exifOfText(kind, chunk.content())
        at += 12 + length
    }
}

/** A keyword, what says whether and how it is packed, and a text of three lines and then EXIF in hex; null of another one. */
private fun exifOfText(
    kind: String,
    chunk: ByteArray,
): Bytes? {
    val key = EXIF_IN_TEXT.toByteArray() + 0
    if (chunk.size < key.size || !chunk.copyOf(key.size).contentEquals(key)) return null
    var packed = kind == "zTXt"
    var at = key.size + if (packed) 1 else 0 // the method
    if (kind == "iTXt") {
        packed = chunk.getOrNull(at) == 1.toByte()
        at += 2 // whether it is packed, and the method
        repeat(2) { at = (at until chunk.size).find { chunk[it] == 0.toByte() }?.plus(1) ?: return null } // two languages
    }
    if (at > chunk.size) return null
    val content = chunk.copyOfRange(at, chunk.size)
    val text = (if (packed) unpacked(content) else content)?.toString(Charsets.ISO_8859_1) ?: return null
    val hex = text.split('\n').drop(3).joinToString("").filterNot(Char::isWhitespace)
    val bytes = hex.chunked(2).map { it.toIntOrNull(16)?.takeIf { _ -> it.length == 2 }?.toByte() ?: return null }.toByteArray()
    return Bytes(bytes, 0, bytes.size)
}

private fun unpacked(content: ByteArray): ByteArray? {
    val inflater = Inflater().apply { setInput(content) }
    val found = ByteArray(MAX_TEXT)
    return try {
        val size = inflater.inflate(found)
        found.copyOf(size).takeIf { inflater.finished() }
    } catch (_: DataFormatException) {
        null
    } finally {
        inflater.end()
    }
}

private fun exifOfWebp(file: Bytes): Bytes? {
    var at = 12
    while (true) {
        val length = file.number(at + 4, 4, little = true) ?: return null
        if (file.text(at, 4) == "EXIF") return file.part(at + 8, length)
        if (length > file.size) return null
        at += 8 + length + length % 2
    }
}

/** The tag of the first directory of a block of EXIF, with or without `Exif` before it. */
private fun orientationOf(block: Bytes): Int? {
    val tiff = if (block.text(0, 6) == "Exif\u0000\u0000") block.part(6, block.size - 6) else block
    val little =
        when (tiff?.text(0, 4)) {
            "II*\u0000" -> true
            "MM\u0000*" -> false
            else -> return null
        }
    val directory = tiff.number(4, 4, little) ?: return null
    val entries = tiff.number(directory, 2, little) ?: return null
    var found: Int? = null
    for (entry in 0 until entries) {
        val at = directory + 2 + 12 * entry
        val tag = tiff.number(at, 2, little) ?: break
        val bytes = INTEGERS[tiff.number(at + 2, 2, little)]
        if (tag == ORIENTATION && bytes != null && tiff.number(at + 4, 4, little) == 1) {
            found = tiff.number(at + 8, bytes, little)
        }
    }
    return found
}
