package dvtedge.device

/** What files of BMP, GIF, JPEG, PNG, PPM and its kin, and TIFF in either order of bytes, also a large one, begin with. */
private val STARTS =
    listOf("\u00ff\u00d8\u00ff", "\u0089PNG\r\n\u001a\n", "BM", "GIF87a", "GIF89a", "P1", "P2", "P3", "P4", "P5", "P6") +
        listOf("II*\u0000", "MM\u0000*", "II+\u0000", "MM\u0000+")

/**
 * Whether a [file] is of a format that is read, those above or WebP, by its content: docs/preprocess.md. Systems decode others
 * too, each in its own way.
 */
fun isReadFormat(file: ByteArray): Boolean {
    val head = file.copyOf(minOf(file.size, 12)).toString(Charsets.ISO_8859_1)
    if (head.startsWith("RIFF")) return head.drop(8) == "WEBP"
    return STARTS.any(head::startsWith)
}
