package dvtedge.demo

import android.content.Context
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import dvtedge.device.RgbSource
import java.io.File
import java.util.Locale

/**
 * The bundle's golden images against the logits that it was exported with, and a log of them, or of a folder of images, through
 * every stage. A rotation keeps it. Its properties change on the main thread, with [Session.changed].
 */
class ValidateModel(
    private val context: Context,
    private val session: Session,
) {
    private class Job {
        @Volatile
        var cancelled = false
    }

    private var job: Job? = null
    val running: Boolean get() = job != null
    var lines = emptyList<Words>()
        private set
    var logs = emptyList<File>()
        private set
    var withPixels = false // the user's own choice

    /** The bundle's golden images, and where [tree] is given, the pictures of that folder. */
    fun begin(tree: Uri? = null) {
        if (session.isBusy || session.state !is Ready) return
        val job = Job().also { this.job = it }
        lines = emptyList()
        logs = emptyList()
        val pixels = withPixels
        session.background({ ready -> validate(job, ready, tree, pixels) }) { found ->
            this.job = null
            lines = found.getOrElse { listOf(Words(R.string.failed, it.message.orEmpty())) }
            session.changed()
        }
        session.changed()
    }

    /** After the image that is in work; the log keeps what there is. */
    fun stop() {
        job?.cancelled = true
    }

    private fun validate(
        job: Job,
        ready: Ready,
        tree: Uri?,
        pixels: Boolean,
    ): List<Words> {
        val runtime = ready.runtime
        val golden = runtime.manifest.golden.images > 0
        val checked = if (golden) checkGolden(runtime).map(::wordsOf) else listOf(Words(R.string.no_golden))
        val data = if (tree == null) "golden images of the bundle" else null
        val images = tree?.let(::picturesIn) ?: if (golden) goldenImages(runtime) else emptyList()
        val (file, log) = newLog(context, ready, session.device, "validate", everyStage = true, pixels, data)
        val begun = images.asSequence().takeWhile { !job.cancelled }
        val logged = log.use { logImages(runtime, session.device, it, begun) { now -> ready.state(now, session.lifetimeS) } }
        session.post { logs = listOf(file, File("$file.pixels")).filter(File::exists) }
        val stopped = if (job.cancelled) listOf(Words(R.string.stopped)) else emptyList()
        val counts = Words(R.string.logged, logged.answered, logged.unread)
        return checked + stopped + counts + Words(R.string.log_at, "$file")
    }

    private fun wordsOf(found: ExitError): Words {
        val (error, allowed) = listOf(found.largest.toDouble(), found.tolerance).map { "%.2g".format(Locale.ROOT, it) }
        return Words(if (found.passed) R.string.golden_ok else R.string.golden_bad, found.stage, error, allowed)
    }

    /** By their names. Ids are running numbers: a log names no file. */
    private fun picturesIn(tree: Uri): List<Pair<String, () -> RgbSource>> {
        val children = DocumentsContract.buildChildDocumentsUriUsingTree(tree, DocumentsContract.getTreeDocumentId(tree))
        val columns = arrayOf(Document.COLUMN_DOCUMENT_ID, Document.COLUMN_MIME_TYPE, Document.COLUMN_DISPLAY_NAME)
        val found = ArrayList<Pair<String, Uri>>()
        asking { context.contentResolver.query(children, columns, null, null, null) }?.use { rows ->
            while (rows.moveToNext()) {
                if (!rows.getString(1).orEmpty().startsWith("image/")) continue
                found += rows.getString(2).orEmpty() to DocumentsContract.buildDocumentUriUsingTree(tree, rows.getString(0))
            }
        }
        return found.sortedBy { it.first }.mapIndexed { k, (_, uri) -> "$k" to { readPicture(context.contentResolver, uri) } }
    }
}
