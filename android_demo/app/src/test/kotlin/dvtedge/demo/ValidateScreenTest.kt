package dvtedge.demo

import android.app.Activity
import android.content.ContentProvider
import android.content.ContentValues
import android.content.Intent
import android.database.Cursor
import android.database.MatrixCursor
import android.graphics.Bitmap
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import android.widget.Button
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import java.io.File
import java.io.FileNotFoundException
import java.util.concurrent.CountDownLatch

private const val AUTHORITY = "pictures"

/** A folder of images through every stage, as a documents app gives it. */
class ValidateScreenTest : AppTest() {
    /** Three pictures, not in the order of their names, and a text. */
    class Documents : ContentProvider() {
        override fun query(
            uri: Uri,
            columns: Array<String>?,
            selection: String?,
            values: Array<String>?,
            order: String?,
        ): Cursor =
            MatrixCursor(columns!!).apply {
                for ((id, name) in listOf("a.png", "c.png", "b.png", "d.txt").withIndex()) {
                    val kind = if (name.endsWith(".png")) "image/png" else "text/plain"
                    val row =
                        mapOf(
                            Document.COLUMN_DOCUMENT_ID to "$id",
                            Document.COLUMN_MIME_TYPE to kind,
                            Document.COLUMN_DISPLAY_NAME to name,
                        )
                    addRow(columns.map(row::getValue))
                }
            }

        override fun onCreate() = true

        override fun getType(uri: Uri): String? = null

        override fun insert(
            uri: Uri,
            values: ContentValues?,
        ): Uri? = null

        override fun delete(
            uri: Uri,
            selection: String?,
            values: Array<String>?,
        ) = 0

        override fun update(
            uri: Uri,
            values: ContentValues?,
            selection: String?,
            arguments: Array<String>?,
        ) = 0
    }

    private val tree = DocumentsContract.buildTreeDocumentUri(AUTHORITY, "root")
    private val png by lazy { pngOf(Bitmap.createBitmap(50, 40, Bitmap.Config.ARGB_8888)) }
    private val log get() = File(logFolder(app), "validate-1.jsonl")

    private fun documents(read: (Int) -> Unit = {}) {
        Robolectric.setupContentProvider(Documents::class.java, AUTHORITY)
        for (k in 0 until 3) {
            shadowOf(app.contentResolver).registerInputStreamSupplier(DocumentsContract.buildDocumentUriUsingTree(tree, "$k")) {
                read(k)
                if (k == 1) "no picture".byteInputStream() else png.inputStream()
            }
        }
    }

    private fun pickFolder(activity: MainActivity) =
        activity.onActivityResult(ValidateScreen.PICK_FOLDER, Activity.RESULT_OK, Intent().setData(tree))

    private fun button(
        activity: MainActivity,
        title: Int,
    ) = views(activity.validate.view).filterIsInstance<Button>().find { it.text == app.getString(title) }

    /** Pictures alone are read, and one that is none is counted; a folder that is picked while a bundle opens waits for it. */
    @Test
    fun aFolderWaitsForTheBundle() {
        documents()
        start().use { controller ->
            controller.get().select(3)
            session.open("onnx-int8.zip")
            pickFolder(controller.get())
            controller.recreate()
            settle()
            settle()
            assertTrue(words(controller.get()), app.getString(R.string.logged, 2, 1) in words(controller.get()))
            assertEquals(1 + 3 + 2, log.readLines().size)
            val message = "not a picture in BMP, GIF, JPEG, PNG, PPM, TIFF or WebP"
            assertEquals(listOf(""""id":"2","kind":"DataError","message":"$message"}"""), errors()) // the last by its name
        }
    }

    /** Of a picture that its provider does not give, the log says the provider's kind of error, and no more. */
    @Test
    fun aProviderThatGivesNoPicture() {
        documents { k ->
            when (k) {
                0 -> throw SecurityException("/storage/a.png")
                2 -> throw FileNotFoundException("/storage/b.png")
            }
        }
        start().use { controller ->
            controller.get().select(3)
            pickFolder(controller.get())
            settle()
            val kinds = listOf("SecurityException", "FileNotFoundException")
            val expected = kinds.mapIndexed { k, kind -> """"id":"$k","kind":"$kind","message":"$kind"}""" }
            assertEquals(expected, errors().take(2))
        }
    }

    private fun errors() =
        log
            .readLines()
            .filter { it.startsWith("""{"event":"error"""") }
            .map { "\"id\"" + it.substringAfter("\"id\"") }

    /** A run is stopped after the image that is in work, and its log is whole. */
    @Test
    fun aRunIsStopped() {
        val (reached, goOn) = CountDownLatch(1) to CountDownLatch(1)
        documents { k ->
            if (k == 0) {
                reached.countDown()
                goOn.await()
            }
        }
        start().use { controller ->
            val activity = controller.get()
            activity.select(3)
            pickFolder(activity)
            reached.await()
            shadowOf(android.os.Looper.getMainLooper()).idle()
            button(activity, R.string.stop)!!.performClick()
            goOn.countDown()
            settle()
            assertTrue(words(activity), app.getString(R.string.stopped) in words(activity))
            assertTrue(words(activity), app.getString(R.string.logged, 1, 0) in words(activity))
            assertEquals(1 + 1 + 2, log.readLines().size)
            assertEquals(null, button(activity, R.string.stop))
        }
    }
}
