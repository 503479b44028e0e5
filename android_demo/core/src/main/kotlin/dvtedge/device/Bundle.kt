package dvtedge.device

import java.io.ByteArrayOutputStream
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import java.nio.file.InvalidPathException
import java.nio.file.attribute.BasicFileAttributes
import java.security.MessageDigest

private const val MAX_MANIFEST = 16 shl 20 // bytes
private const val MAX_LABELS = 1L shl 20 // bytes
private const val MAX_READ = Int.MAX_VALUE - 8L // bytes of a file at once: the largest array
private const val CHUNK = 1 shl 20 // bytes
private const val MAX_LINE = 300 // characters of an error, its path aside
private const val TRIES = 50 // of a bundle that another process replaces meanwhile

/**
 * A verified bundle at [path], a folder or a .zip of it: docs/bundle.md. Get one from [open].
 *
 * Nothing is unpacked, and what is read later is verified again: what runs is what was verified. Safe to use from several
 * threads.
 */
class CascadeBundle private constructor(
    val path: File,
    val manifest: Manifest,
    /** Of the bytes of manifest.json: it names the bundle in a device log. */
    val sha256: String,
    private val files: BundleFiles,
) {
    /** A listed file, verified anew. Throws [ChangedFileError] where it is not what the manifest says any more. */
    fun read(name: String): ByteArray {
        val spec = manifest.files.getValue(name)
        if (spec.size > MAX_READ) throw BundleError("$path: ${shorten(name)} has ${spec.size} bytes; at most $MAX_READ are read")
        val content = ByteArray(spec.size.toInt())
        val found =
            try {
                files.open(name).use { fill(content, it) }
            } catch (error: IOException) {
                throw gone(name, error)
            } catch (error: DvtEdgeError) {
                throw gone(name, error)
            }
        try {
            check(name, found, sha256(content), spec)
        } catch (error: ChangedFileError) {
            throw ChangedFileError(lineOf(path, error), error)
        }
        return content
    }

    private fun gone(
        name: String,
        error: Exception,
    ) = ChangedFileError(lineOf(path, ChangedFileError("'$name' cannot be read any more (${cause(error)})")), error)

    /** Class names, one for each logit. Throws [ManifestError]. */
    val labels: List<String>
        get() {
            val name = manifest.labels
            val found =
                try {
                    parseJson(read(name), name)
                } catch (error: SchemaError) {
                    throw ManifestError("$path: ${error.message}", error)
                }
            val names = (found as? List<*>)?.filterIsInstance<String>()
            if (names == null || names.size != found.size || names.size.toLong() != manifest.model.classes) {
                throw ManifestError("$path: $name: expected a list of ${manifest.model.classes} names")
            }
            return names
        }

    /** The golden pixels of one stage, (size, size, 3) uint8 each. Throws [ManifestError]. */
    fun goldenImages(stage: Int = 0): List<ByteArray> {
        val side = manifest.imageSize(stage).size
        val content = golden(manifest.golden.image, stage, 3L * side * side)
        val each = 3 * side * side
        return List(content.size / each) { content.copyOfRange(it * each, (it + 1) * each) }
    }

    /** The golden logits of one exit, (classes,) float32 for each image. Throws [ManifestError]. */
    fun goldenLogits(exit: Int): List<FloatArray> {
        val content = golden(manifest.golden.logits, exit, 4 * manifest.model.classes)
        val values = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return List(manifest.golden.images.toInt()) { FloatArray(manifest.model.classes.toInt()).also(values::get) }
    }

    private fun golden(
        names: List<String>,
        index: Int,
        each: Long,
    ): ByteArray {
        val images = manifest.golden.images
        if (images == 0L) throw ManifestError("$path: no golden images in it")
        val content = read(names[index])
        if (content.size % each != 0L || content.size / each != images) {
            throw ManifestError("$path: ${names[index]}: ${content.size} bytes; expected $images images of $each")
        }
        return content
    }

    /** A stage's artifact: the content of its files, verified, by their paths in the bundle. */
    fun artifact(stage: Int): Artifact =
        Artifact(manifest.stages[stage].artifact, manifest.artifactFiles(stage).associateWith(::read))

    companion object {
        /**
         * Open and verify a bundle's folder or .zip.
         *
         * Throws a [BundleError] in one printable line that names the path.
         */
        fun open(path: File): CascadeBundle = open(path, saying = path)

        private fun open(
            path: File,
            saying: File, // the path that an error names
        ): CascadeBundle {
            for (attempt in 1..TRIES) {
                val before = identity(path)
                try {
                    return verify(path)
                } catch (error: Exception) {
                    if (identity(path) != before && attempt < TRIES) continue // replaced by another bundle meanwhile
                    throw (error as? BundleError)?.saying(lineOf(saying, error)) ?: BundleError(lineOf(saying, error), error)
                }
            }
            error("every attempt returns or throws")
        }

        /**
         * Copy a .zip that comes as a stream, an Android asset say, to the file [copy], and open it.
         *
         * The copy appears whole or not at all, and only where it is a bundle; one that is there is replaced. It is made in a
         * hidden neighbour, `.NAME.x.partial`, each caller's own.
         */
        fun open(
            stream: InputStream,
            copy: File,
        ): CascadeBundle {
            var partial: File? = null
            try {
                val made = File.createTempFile(".${copy.name}.", ".partial", copy.absoluteFile.parentFile).also { partial = it }
                made.outputStream().use { stream.copyTo(it) }
                open(made, saying = copy)
                if (!made.renameTo(copy)) throw BundleError("$copy: cannot be written")
            } catch (error: IOException) {
                throw BundleError(lineOf(copy, error), error)
            } finally {
                partial?.delete()
            }
            return open(copy)
        }

        /** Which file or folder is at [path], and when it last changed; null where nothing is. Inodes are used again. */
        private fun identity(path: File): List<Any?>? =
            try {
                val found = Files.readAttributes(path.toPath(), BasicFileAttributes::class.java)
                listOf(found.fileKey(), found.isDirectory, found.lastModifiedTime(), found.size())
            } catch (_: IOException) {
                null
            } catch (_: InvalidPathException) {
                null
            }

        private fun verify(path: File): CascadeBundle {
            if (!path.exists()) throw MissingFileError("no such bundle; expected a folder with $MANIFEST, or a .zip of it")
            val files =
                when {
                    path.isDirectory -> FolderFiles(path)
                    Files.isRegularFile(path.toPath()) -> ZipFiles(path)
                    else -> throw ArchiveError("neither a folder nor a .zip")
                }
            return files.reading {
                val content = files.manifest().use { readAtMost(it, MAX_MANIFEST + 1L) }
                CascadeBundle(path, verify(files, content), sha256(content), files)
            }
        }

        /** The manifest of files that are all there, unchanged, with none beside them. */
        private fun verify(
            files: BundleFiles,
            content: ByteArray,
        ): Manifest {
            val manifest = parseManifest(content)
            val listed = PathTree(manifest.files.keys)
            checkNeeded(manifest)
            val (found, unlisted) = files.scan(listed)
            for ((name, spec) in manifest.files) {
                val size = found[name] ?: throw MissingFileError("the file ${shorten(name)} of the manifest is missing")
                if (size != spec.size) check(name, size, "", spec)
                val (read, sha256) = files.open(name).use(::digest)
                check(name, read, sha256, spec)
            }
            if (unlisted != null) throw MissingFileError("the file ${shorten(unlisted)} is not in the manifest")
            return manifest
        }
    }
}

/** What a bundle's folder and its .zip have in common. Names are paths in the bundle. */
internal interface BundleFiles {
    /** Throws [ManifestError] where there is none. */
    fun manifest(): InputStream

    /** Bytes of every listed file that is there, and the first file or link that is not listed. */
    fun scan(listed: PathTree): Pair<Map<String, Long>, String?>

    fun open(name: String): InputStream

    /** Runs [read] while what [open] needs is open, once instead of for each file. */
    fun <T> reading(read: () -> T): T = read()
}

/** Throws [ManifestError] where the manifest names a path that is not among its files; an artifact may be a folder. */
private fun checkNeeded(manifest: Manifest) {
    val missing =
        manifest.neededFiles.find { it !in manifest.files }
            ?: manifest.stages.indices.find { manifest.artifactFiles(it).isEmpty() }?.let { manifest.stages[it].artifact }
    if (missing != null) throw ManifestError("the manifest needs ${shorten(missing)}, which is not among its files")
    val size = manifest.files.getValue(manifest.labels).size
    if (size > MAX_LABELS) throw ManifestError("${shorten(manifest.labels)} has $size bytes; at most $MAX_LABELS are read")
}

private fun check(
    name: String,
    size: Long,
    sha256: String,
    spec: FileSpec,
) {
    if (size != spec.size) throw ChangedFileError("${shorten(name)} has $size bytes; the manifest says ${spec.size}")
    if (sha256 != spec.sha256) {
        throw ChangedFileError(
            "${shorten(name)} has SHA-256 ${sha256.take(16)}...; the manifest says ${spec.sha256.take(16)}...",
        )
    }
}

/** Bytes and SHA-256 of a stream, in constant memory. */
private fun digest(stream: InputStream): Pair<Long, String> {
    val sha256 = MessageDigest.getInstance("SHA-256")
    val chunk = ByteArray(CHUNK)
    var total = 0L
    while (true) {
        val count = stream.read(chunk)
        if (count < 0) return total to hex(sha256.digest())
        total += count
        sha256.update(chunk, 0, count)
    }
}

/** Fills [content] from a stream; how many bytes that had, one more than there is room for where it goes on. */
private fun fill(
    content: ByteArray,
    stream: InputStream,
): Long {
    var at = 0
    while (at < content.size) {
        val count = stream.read(content, at, content.size - at)
        if (count < 0) return at.toLong()
        at += count
    }
    return at + if (stream.read() < 0) 0L else 1L
}

/** At most [limit] bytes of a stream: what it has, to its end, or the first of them. */
internal fun readAtMost(
    stream: InputStream,
    limit: Long,
): ByteArray {
    val found = ByteArrayOutputStream()
    val chunk = ByteArray(1 shl 16)
    while (found.size() < limit) {
        val count = stream.read(chunk, 0, minOf(chunk.size.toLong(), limit - found.size()).toInt())
        if (count < 0) break
        found.write(chunk, 0, count)
    }
    return found.toByteArray()
}

/** An error of a bundle's as one printable line that names the bundle, whatever its manifest quotes. */
private fun lineOf(
    path: File,
    error: Exception,
): String {
    val text = if (error is BundleError) error.message.orEmpty() else "cannot be read as a bundle (${cause(error)})"
    return "$path: ${printable(text.take(MAX_LINE))}${if (text.length > MAX_LINE) "..." else ""}"
}

private val UNPRINTABLE =
    setOf(
        CharCategory.CONTROL,
        CharCategory.FORMAT,
        CharCategory.LINE_SEPARATOR,
        CharCategory.PARAGRAPH_SEPARATOR,
        CharCategory.SURROGATE,
        CharCategory.UNASSIGNED,
        CharCategory.PRIVATE_USE,
    )

internal fun printable(text: String): String =
    text.map { if (it.category in UNPRINTABLE) "\\u%04x".format(it.code) else it.toString() }.joinToString("")

/** The same kind of error with another message. */
private fun BundleError.saying(message: String): BundleError =
    when (this) {
        is ManifestError -> ManifestError(message, this)
        is NewerFormatError -> NewerFormatError(message)
        is OldFormatError -> OldFormatError(message)
        is MissingFileError -> MissingFileError(message)
        is ChangedFileError -> ChangedFileError(message, this)
        is UnsafePathError -> UnsafePathError(message)
        is ArchiveError -> ArchiveError(message, this)
        else -> BundleError(message, this)
    }
