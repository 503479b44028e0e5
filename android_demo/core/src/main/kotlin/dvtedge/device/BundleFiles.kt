package dvtedge.device

import java.io.File
import java.io.FilterInputStream
import java.io.IOException
import java.io.InputStream
import java.nio.file.DirectoryIteratorException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.Path

private const val MAX_UNPACKED = 4L shl 30 // bytes that a .zip may unpack to
private const val MAX_RATIO = 200 // of unpacked to packed bytes; weights hardly compress, so a larger one is a bomb
private const val LINK = 0xa000 // of an entry's Unix mode
private const val KIND = 0xf000
private val STALE = Regex("""\.manifest\.json\.\w{8}""") // what a killed writer of dvt-edge 0.1.0 left in a bundle

/** A bundle's folder. */
internal class FolderFiles(
    private val folder: File,
) : BundleFiles {
    override fun manifest(): InputStream {
        val file = folder.toPath().resolve(MANIFEST)
        if (!Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS)) throw ManifestError("no $MANIFEST; not a bundle")
        return Files.newInputStream(file)
    }

    override fun open(name: String): InputStream = File(folder, name).inputStream()

    /** Throws [UnsafePathError] for a link where a listed file or its folder should be. */
    override fun scan(listed: PathTree): Pair<Map<String, Long>, String?> {
        val found = HashMap<String, Long>()
        var unlisted: String? = null
        val waiting = ArrayDeque(listOf("" to listed.root))
        while (waiting.isNotEmpty()) {
            val (below, names) = waiting.removeLast()
            for (entry in entries(File(folder, below).toPath())) {
                val part = entry.fileName.toString()
                val name = below + part
                val node = names[part]
                if (node != null && Files.isSymbolicLink(entry)) {
                    throw UnsafePathError("${shorten(name)} is a link; a bundle holds plain files only")
                }
                when {
                    node is PathTree.Folder && Files.isDirectory(entry) -> waiting += "$name/" to node.inside
                    node == PathTree.File && Files.isRegularFile(entry) -> found[name] = Files.size(entry)
                    Files.isDirectory(entry, LinkOption.NOFOLLOW_LINKS) -> unlisted = unlisted ?: firstBelow(entry, name)
                    below.isEmpty() && (part == MANIFEST || STALE.matches(part)) -> Unit
                    else -> unlisted = unlisted ?: name
                }
            }
        }
        return found to unlisted
    }

    private fun entries(folder: Path): List<Path> =
        try {
            Files.newDirectoryStream(folder).use { it.toList() }
        } catch (error: DirectoryIteratorException) {
            throw error.cause ?: IOException(error)
        }

    /** The path of a file or link somewhere below a folder of no listed file; null where there are only folders. */
    private fun firstBelow(
        folder: Path,
        name: String,
    ): String? {
        val waiting = ArrayDeque(listOf(folder to name))
        while (waiting.isNotEmpty()) {
            val (at, below) = waiting.removeLast()
            for (entry in entries(at)) {
                val path = "$below/${entry.fileName}"
                if (!Files.isDirectory(entry, LinkOption.NOFOLLOW_LINKS)) return path
                waiting += entry to path
            }
        }
        return null
    }
}

/** A bundle's .zip. Bytes are counted as they come. */
internal class ZipFiles(
    private val file: File,
) : BundleFiles {
    private var shared: Pair<Zip, Map<String, ZipEntry>>? = null // while the bundle is opened, by one thread

    /** Throws [ArchiveError] for what cannot be read, a damaged deflate stream too. */
    override fun <T> reading(read: () -> T): T =
        try {
            Zip(file).use { zip ->
                shared = zip to membersOf(zip)
                try {
                    read()
                } finally {
                    shared = null
                }
            }
        } catch (error: IOException) {
            throw ArchiveError("not a readable .zip of a bundle (${cause(error)})", error)
        }

    override fun manifest(): InputStream {
        if (MANIFEST !in members()) throw ManifestError("no $MANIFEST at its root; not a bundle")
        return open(MANIFEST)
    }

    override fun scan(listed: PathTree): Pair<Map<String, Long>, String?> {
        val found = members() - MANIFEST
        return found.mapValues { it.value.size } to found.keys.find { it !in listed.paths }
    }

    override fun open(name: String): InputStream {
        shared?.let { (zip, members) -> return zip.open(members.getValue(name)) }
        val zip = Zip(file)
        try {
            val entry = zip.entries.find { it.name == name } ?: throw ArchiveError("${shorten(name)} is not in it any more")
            return object : FilterInputStream(zip.open(entry)) {
                override fun close() = super.close().also { zip.close() }
            }
        } catch (error: Throwable) {
            zip.close()
            throw error
        }
    }

    private fun members(): Map<String, ZipEntry> = checkNotNull(shared).second

    /** The files of a .zip by name; folders are passed over. Throws [ArchiveError] or [UnsafePathError]. */
    private fun membersOf(zip: Zip): Map<String, ZipEntry> {
        val limit = minOf(MAX_UNPACKED, MAX_RATIO * file.length())
        val total = zip.entries.sumOf { it.size }
        if (total > limit) throw ArchiveError("${zip.entries.size} files that unpack to $total bytes; refused")
        val found = LinkedHashMap<String, ZipEntry>()
        for (entry in zip.entries) {
            val name = entry.name
            if (name.endsWith("/")) {
                checkPath(name.dropLast(1))
                continue
            }
            if (name != MANIFEST) checkPath(name)
            if (entry.mode and KIND == LINK) throw UnsafePathError("${shorten(name)} is a link; a bundle holds plain files only")
            if (found.put(name, entry) != null) throw ArchiveError("${shorten(name)} stands in it twice")
        }
        PathTree(found.keys - MANIFEST)
        return found
    }
}
