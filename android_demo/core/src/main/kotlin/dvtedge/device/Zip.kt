package dvtedge.device

import java.io.Closeable
import java.io.File
import java.io.FilterInputStream
import java.io.InputStream
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.charset.CharacterCodingException
import java.util.zip.CRC32
import java.util.zip.Inflater
import java.util.zip.InflaterInputStream

private const val END = 0x06054b50 // of the record that ends a .zip: 22 bytes and a comment
private const val ZIP64 = 0x07064b50 // 20 bytes before it: of sizes that a bundle does not need
private const val ENTRY = 0x02014b50 // of the central directory: one file or folder
private const val LOCAL = 0x04034b50 // before an entry's bytes
private const val END_SIZE = 22
private const val ENTRY_SIZE = 46
private const val LOCAL_SIZE = 30
private const val UTF8_FLAG = 0x800
private const val ODD_FLAGS = 0x61 // encrypted, patched, strongly encrypted
private const val STORED = 0
private const val DEFLATED = 8
private const val MAX_DIRECTORY = 16L shl 20 // bytes
private const val BEYOND = 0xffffffffL // stands for a size that only a zip64 has

/** One file of a .zip, as the central directory says. */
internal class ZipEntry(
    val name: String,
    val size: Long,
    val packedSize: Long,
    val crc: Long,
    val method: Int,
    val mode: Int, // of Unix; 0 where it has none
    val header: Long,
    val rawName: ByteArray,
)

/**
 * A .zip, read as docs/bundle.md wants it: names in all their bytes, links seen, sizes counted, no zip64.
 *
 * java.util.zip does not tell an entry's mode nor hold its two names against each other. Throws [ArchiveError], and
 * [UnsafePathError] for a name that is not UTF-8 or has a NUL in it.
 */
internal class Zip(
    file: File,
) : Closeable {
    private val content = RandomAccessFile(file, "r")
    private val length = content.length()
    private var shift = 0L // bytes that stand before the .zip itself
    val entries: List<ZipEntry>

    init {
        try {
            entries = directory()
        } catch (error: Throwable) {
            close()
            throw error
        }
    }

    override fun close() = content.close()

    private fun directory(): List<ZipEntry> {
        val from = maxOf(0L, length - 0xffff - END_SIZE)
        val tail = read(from, (length - from).toInt())
        val at =
            (tail.limit() - END_SIZE downTo 0).find { tail.getInt(it) == END }
                ?: throw ArchiveError("not a readable .zip of a bundle (no end record)")
        val size = tail.unsigned(at + 12)
        if ((at >= 20 && tail.getInt(at - 20) == ZIP64) || size > MAX_DIRECTORY) {
            throw ArchiveError("a zip64, or a directory of $size bytes; refused")
        }
        val start = from + at - size
        shift = start - tail.unsigned(at + 16)
        if (start < 0 || shift < 0) throw ArchiveError("a directory of $size bytes, which are not there")
        return entriesOf(read(start, size.toInt()))
    }

    private fun entriesOf(directory: ByteBuffer): List<ZipEntry> {
        val found = ArrayList<ZipEntry>()
        while (directory.position() < directory.limit()) {
            if (found.size >= MAX_FILES) throw ArchiveError("over $MAX_FILES entries; refused")
            found += entryAt(directory)
        }
        return found
    }

    private fun entryAt(directory: ByteBuffer): ZipEntry {
        val at = directory.position()
        if (directory.remaining() < ENTRY_SIZE || directory.getInt(at) != ENTRY) throw ArchiveError("a damaged directory")
        val (nameSize, extraSize, commentSize) = List(3) { directory.short(at + 28 + 2 * it) }
        val next = at + ENTRY_SIZE + nameSize + extraSize + commentSize
        if (next > directory.limit()) throw ArchiveError("a damaged directory")
        val raw = ByteArray(nameSize).also { directory.seek(at + ENTRY_SIZE).get(it) }
        val (packed, size) = directory.unsigned(at + 20) to directory.unsigned(at + 24)
        val header = directory.unsigned(at + 42)
        if (BEYOND in listOf(packed, size, header)) throw ArchiveError("a zip64; refused")
        val flags = directory.short(at + 8)
        val name = nameOf(raw, flags)
        val method = directory.short(at + 10)
        if (flags and ODD_FLAGS != 0 || method !in listOf(STORED, DEFLATED)) {
            throw ArchiveError("${shorten(name)} is encrypted or packed by a method other than stored and deflate")
        }
        directory.seek(next)
        val mode = directory.short(at + 40)
        return ZipEntry(name, size, packed, directory.unsigned(at + 16), method, mode, header, raw)
    }

    private fun nameOf(
        raw: ByteArray,
        flags: Int,
    ): String {
        val name =
            try {
                Charsets.UTF_8
                    .newDecoder()
                    .decode(ByteBuffer.wrap(raw))
                    .toString()
            } catch (_: CharacterCodingException) {
                throw UnsafePathError("a name in it is not UTF-8")
            }
        val plain = '\u0000' !in name && (flags and UTF8_FLAG != 0 || raw.all { it >= 0 })
        if (!plain) throw UnsafePathError("the name ${shorten(name)} is not plain UTF-8 without NUL")
        return name
    }

    /** The bytes of [entry], unpacked; at its end its size and CRC are checked. */
    fun open(entry: ZipEntry): InputStream {
        val header = read(shift + entry.header, LOCAL_SIZE)
        if (header.getInt(0) != LOCAL) throw ArchiveError("${shorten(entry.name)}: no local header")
        val nameSize = header.short(26)
        val name = read(shift + entry.header + LOCAL_SIZE, nameSize)
        if (!name.array().contentEquals(entry.rawName)) {
            throw ArchiveError("${shorten(entry.name)} has another name in its local header")
        }
        val start = shift + entry.header + LOCAL_SIZE + nameSize + header.short(28)
        val packed = Slice(start, entry.packedSize)
        val unpacked =
            if (entry.method == STORED) {
                packed
            } else {
                val inflater = Inflater(true)
                object : InflaterInputStream(packed, inflater) {
                    override fun close() = super.close().also { inflater.end() }
                }
            }
        return CheckedStream(unpacked, entry)
    }

    private fun read(
        at: Long,
        size: Int,
    ): ByteBuffer {
        if (at < 0 || at + size > length) throw ArchiveError("cut short")
        val bytes = ByteArray(size)
        synchronized(content) {
            content.seek(at)
            content.readFully(bytes)
        }
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
    }

    /** [size] bytes of the file from [start] on. */
    private inner class Slice(
        private val start: Long,
        private val size: Long,
    ) : InputStream() {
        private var done = 0L

        init {
            if (start + size > length) throw ArchiveError("cut short")
        }

        override fun read(): Int = ByteArray(1).let { if (read(it, 0, 1) < 0) -1 else it[0].toInt() and 0xff }

        override fun read(
            into: ByteArray,
            offset: Int,
            count: Int,
        ): Int {
            val wanted = minOf(count.toLong(), size - done).toInt()
            if (wanted <= 0) return if (count == 0) 0 else -1
            synchronized(content) {
                content.seek(start + done)
                content.readFully(into, offset, wanted)
            }
            done += wanted
            return wanted
        }
    }
}

/** Throws [ArchiveError] at the end of [entry] where its size or CRC is another, or past its size. */
private class CheckedStream(
    stream: InputStream,
    private val entry: ZipEntry,
) : FilterInputStream(stream) {
    private val crc = CRC32()
    private var total = 0L

    override fun read(): Int = ByteArray(1).let { if (read(it, 0, 1) < 0) -1 else it[0].toInt() and 0xff }

    override fun read(
        into: ByteArray,
        offset: Int,
        count: Int,
    ): Int {
        val found = super.read(into, offset, count)
        if (found > 0) {
            crc.update(into, offset, found)
            total += found
        }
        if (total > entry.size || (found < 0 && (total != entry.size || crc.value != entry.crc))) {
            throw ArchiveError("${shorten(entry.name)} has another size or CRC than the directory says")
        }
        return found
    }
}

private fun ByteBuffer.short(at: Int): Int = getShort(at).toInt() and 0xffff

private fun ByteBuffer.unsigned(at: Int): Long = getInt(at).toLong() and 0xffffffffL

/** ByteBuffer.position(int) gives a Buffer on old Androids and a ByteBuffer on new JVMs: neither is asked. */
private fun ByteBuffer.seek(at: Int): ByteBuffer = also { (it as java.nio.Buffer).position(at) }
