package dvtedge.demo

import android.content.Context
import android.net.Uri
import dvtedge.device.CascadeBundle
import java.io.File
import java.io.FileNotFoundException

private const val ASSETS = "bundles"
private const val PARTIAL = ".partial" // ends the name of a copy that is being made

/** The bundles of the app: those in its assets, and those that the user opened or pushed with adb. Each is a .zip. */
class Bundles(
    private val context: Context,
    private val assets: String = ASSETS,
) {
    private val copies = File(context.noBackupFilesDir, ASSETS).also { it.mkdirs() }
    private val pushed = context.getExternalFilesDir(ASSETS)

    init {
        copies.listFiles().orEmpty().filter { it.name.endsWith(PARTIAL) }.forEach(File::delete) // of a process that was killed
    }

    /** Their names, the app's own first. */
    fun names(): List<String> = (inAssets() + filesIn(copies) + filesIn(pushed)).distinct()

    /**
     * Open and verify one. An asset is copied into the app's folder once, and again where the copy is not a bundle any more
     * or the app was updated. Throws a BundleError, IOException of another name than [names] has; not for the main thread.
     */
    fun open(name: String): CascadeBundle {
        if (name !in names()) throw FileNotFoundException("no bundle '$name'; installed are: ${names()}")
        val copy = File(copies, name)
        val outside = File(pushed, name)
        if (outside.isFile) return CascadeBundle.open(outside)
        if (name !in inAssets()) return CascadeBundle.open(copy)
        val updated = context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime
        if (copy.isFile && copy.lastModified() >= updated) {
            runCatching { return CascadeBundle.open(copy) }
        }
        return context.assets.open("$assets/$name").use { CascadeBundle.open(it, copy) }
    }

    /** Take over a .zip that the user picked; its name. Throws a BundleError. */
    fun add(uri: Uri): String {
        val name = "opened-${uri.lastPathSegment.orEmpty().substringAfterLast(
            '/',
        ).filter { it.isLetterOrDigit() || it in "-_." }}"
        val stream = asking { context.contentResolver.openInputStream(uri) } ?: throw FileNotFoundException(name)
        stream.use { CascadeBundle.open(it, File(copies, name)) }
        return name
    }

    private fun inAssets(): List<String> =
        context.assets
            .list(assets)
            .orEmpty()
            .filter { it.endsWith(".zip") }
            .sorted()

    private fun filesIn(folder: File?): List<String> =
        folder
            ?.listFiles()
            .orEmpty()
            .filter { it.isFile && !it.name.endsWith(PARTIAL) }
            .map { it.name }
            .sorted()
}
