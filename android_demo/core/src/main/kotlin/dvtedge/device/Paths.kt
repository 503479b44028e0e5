package dvtedge.device

import java.text.Normalizer

private const val MAX_PATH = 1024 // bytes of UTF-8
private const val MAX_PARTS = 32
private const val FORBIDDEN = "\\:<>\"|?*\u007f"

/** Names of devices on Windows. */
private val RESERVED =
    Regex("""(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?""", setOf(RegexOption.IGNORE_CASE, RegexOption.DOT_MATCHES_ALL))

/** Throws [UnsafePathError] unless [name] is plain: relative, inside, and a file's name on every system. */
internal fun checkPath(name: String) {
    val parts = name.split('/')
    val plain =
        name.length <= MAX_PATH &&
            name.toByteArray().size <= MAX_PATH &&
            parts.size <= MAX_PARTS &&
            !name.equals(MANIFEST, ignoreCase = true) &&
            name.none { it in FORBIDDEN || it < ' ' } &&
            isWellFormed(name) &&
            parts.none { it.isEmpty() || it.last() in " ." || RESERVED.matches(it) } &&
            Normalizer.isNormalized(name, Normalizer.Form.NFC)
    if (!plain) {
        throw UnsafePathError(
            "the path ${shorten(name)} leaves the bundle or is not plain; expected relative/with/slashes",
        )
    }
}

/**
 * Paths as a tree of their parts.
 *
 * Throws [UnsafePathError] for a path that is not plain, and for two that some file system takes for one.
 */
internal class PathTree(
    val paths: Set<String>,
) {
    sealed interface Node

    data object File : Node

    class Folder : Node {
        val inside = HashMap<String, Node>()
        private val folded = HashMap<String, String>()

        /** Throws where another part of this folder differs by case or normal form only. */
        fun claim(
            part: String,
            path: String,
        ) {
            val other = folded.getOrPut(fold(part)) { part }
            if (other != part) {
                throw UnsafePathError("the path ${shorten(path)} is the same as one with ${shorten(other)} on some file systems")
            }
        }
    }

    private val top = Folder()
    val root: Map<String, Node> get() = top.inside

    init {
        paths.forEach(::add)
    }

    private fun add(path: String) {
        checkPath(path)
        val parts = path.split('/')
        var folder = top
        for (part in parts.dropLast(1)) {
            folder.claim(part, path)
            val node = folder.inside.getOrPut(part, ::Folder)
            folder = node as? Folder ?: throw UnsafePathError("the path ${shorten(path)} lies in a file")
        }
        folder.claim(parts.last(), path)
        val before = folder.inside.put(parts.last(), File)
        if (before != null) throw UnsafePathError("the path ${shorten(path)} is a folder too, or stands twice")
    }
}

/** What file systems that know no case may see, close to Python's `str.casefold`. */
private fun fold(part: String): String =
    Normalizer
        .normalize(part, Normalizer.Form.NFC)
        .uppercase(java.util.Locale.ROOT)
        .lowercase(java.util.Locale.ROOT)
