package dvtedge.device

/**
 * Every error that is raised on purpose. Each carries one line for its reader: what was found, what was expected.
 *
 * [name] is its name in the golden files and in a device log.
 */
sealed class DvtEdgeError(
    message: String,
    cause: Throwable? = null,
) : RuntimeException(message, cause) {
    val name: String get() = javaClass.simpleName
}

/** Pixels or frames of another form than is expected. */
class DataError(
    message: String,
) : DvtEdgeError(message)

/** A JSON text that is not of the strict dialect, or a field that is missing, unknown or of the wrong kind. */
class SchemaError(
    message: String,
    cause: Throwable? = null,
) : DvtEdgeError(message, cause)

/** An inference engine that is absent here, or did not run where the bundle says it runs. */
class EngineError(
    message: String,
    cause: Throwable? = null,
) : DvtEdgeError(message, cause)

/** No exit of a cascade gave finite logits. */
class NotFiniteError(
    message: String,
) : DvtEdgeError(message)

/** A bundle that must not be run: one of those below, or one that cannot be read for another reason. */
open class BundleError internal constructor(
    message: String,
    cause: Throwable? = null,
) : DvtEdgeError(message, cause)

/** A manifest that is missing, is not JSON, or breaks the schema. */
class ManifestError(
    message: String,
    cause: Throwable? = null,
) : BundleError(message, cause)

/** A manifest whose format version this release does not know. */
class NewerFormatError(
    message: String,
) : BundleError(message)

/** A manifest of format 1, which phones do not read. */
class OldFormatError(
    message: String,
) : BundleError(message)

/** A file that the manifest lists and the bundle lacks, or one that it does not list. */
class MissingFileError(
    message: String,
) : BundleError(message)

/** A file whose size or SHA-256 is not the manifest's. */
class ChangedFileError(
    message: String,
    cause: Throwable? = null,
) : BundleError(message, cause)

/** A path that leaves the bundle's folder, is absolute, or is a link. */
class UnsafePathError(
    message: String,
) : BundleError(message)

/** A .zip that is damaged, encrypted or would unpack to more than it may. */
class ArchiveError(
    message: String,
    cause: Throwable? = null,
) : BundleError(message, cause)

/** An error's text in one line, short enough to stand inside ours. */
internal fun oneLine(error: Throwable): String =
    error.message
        .orEmpty()
        .split(Regex("\\s+"))
        .joinToString(" ")
        .trim()
        .take(160)
        .ifEmpty { error.javaClass.simpleName }

/** The kind of an error that is not ours, and its text. */
internal fun cause(error: Throwable): String {
    val kind = error.javaClass.simpleName
    return oneLine(error).let { if (it == kind) it else "$kind: $it" }
}
