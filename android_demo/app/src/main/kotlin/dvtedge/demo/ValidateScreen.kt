package dvtedge.demo

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.provider.DocumentsContract
import android.view.View
import android.widget.Switch
import dvtedge.device.RgbSource
import java.io.File
import java.util.Locale

/** Whether this device computes what the bundle was exported with; and a log of a folder of images, to be validated elsewhere. */
class ValidateScreen(
    private val activity: Activity,
    private val session: Session,
) : Screen {
    @Suppress("UseSwitchCompatOrMaterialCode") // plain android.*
    private val pixels =
        Switch(activity).apply {
            setText(R.string.with_pixels)
            minimumHeight = activity.dp(48)
        }
    private val start = activity.button(R.string.start) { begin() }
    private val folder = activity.button(R.string.choose_folder, ::pick)
    private val share = activity.button(R.string.share_log) { activity.startActivity(LogProvider.share(logs)) }
    val results = activity.text().apply { accessibilityLiveRegion = View.ACCESSIBILITY_LIVE_REGION_POLITE }
    private var logs = emptyList<File>()
    private var running = false

    override val view: View =
        activity.scrolling(
            activity.column(
                activity.text(words = activity.getString(R.string.validate_about)),
                pixels,
                start,
                folder,
                results,
                share,
            ),
        )

    override fun show() {
        listOf(pixels, start, folder).forEach { it.isEnabled = !running }
        share.showIf(logs.isNotEmpty() && !running)
    }

    private fun pick() = activity.startActivityForResult(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), PICK_FOLDER)

    /** The bundle's golden images, and where [tree] is given, the pictures of that folder. */
    fun begin(tree: Uri? = null) {
        running = true
        results.text = ""
        show()
        val withPixels = pixels.isChecked
        session.background({ ready -> validate(ready, tree, withPixels) }) { found ->
            running = false
            results.text = found.getOrElse { activity.getString(R.string.failed, it.message) }
            show()
        }
    }

    private fun validate(
        ready: Session.Ready,
        tree: Uri?,
        withPixels: Boolean,
    ): String {
        val runtime = ready.runtime
        val golden = runtime.manifest.golden.images > 0
        val lines = if (golden) checkGolden(runtime).map(::wordsOf) else listOf(activity.getString(R.string.no_golden))
        val data = if (tree == null) "golden images of the bundle" else null
        val (file, log) = newLog(activity, ready, session.device, "validate", everyStage = true, withPixels, data)
        val images = tree?.let(::picturesIn) ?: if (golden) goldenImages(runtime) else emptySequence()
        log.use { logImages(runtime, session.device, it, images) }
        session.post { logs = listOf(file, File("$file.pixels")).filter(File::exists) }
        return (lines + activity.getString(R.string.log_at, "$file")).joinToString("\n")
    }

    private fun wordsOf(found: ExitError): String {
        val (error, allowed) = listOf(found.largest.toDouble(), found.tolerance).map { "%.2g".format(Locale.ROOT, it) }
        return activity.getString(if (found.passed) R.string.golden_ok else R.string.golden_bad, found.stage, error, allowed)
    }

    /** Ids are running numbers: a log names no file. */
    private fun picturesIn(tree: Uri): Sequence<Pair<String, () -> RgbSource>> {
        val children = DocumentsContract.buildChildDocumentsUriUsingTree(tree, DocumentsContract.getTreeDocumentId(tree))
        val columns = arrayOf(DocumentsContract.Document.COLUMN_DOCUMENT_ID, DocumentsContract.Document.COLUMN_MIME_TYPE)
        val found = ArrayList<Uri>()
        activity.contentResolver.query(children, columns, null, null, null)?.use { rows ->
            while (rows.moveToNext()) {
                if (rows.getString(1).startsWith("image/")) {
                    found +=
                        DocumentsContract.buildDocumentUriUsingTree(tree, rows.getString(0))
                }
            }
        }
        return found.asSequence().mapIndexed { k, uri -> "$k" to { readPicture(activity.contentResolver, uri) } }
    }

    companion object {
        const val PICK_FOLDER = 3
    }
}
