package dvtedge.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Intent
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException

/** Gives a log, and nothing else, to the app that the user shares it with. */
class LogProvider : ContentProvider() {
    override fun onCreate() = true

    override fun openFile(
        uri: Uri,
        mode: String,
    ): ParcelFileDescriptor {
        if (mode != "r") throw FileNotFoundException("logs are read only")
        return ParcelFileDescriptor.open(fileOf(uri), ParcelFileDescriptor.MODE_READ_ONLY)
    }

    private fun fileOf(uri: Uri): File =
        logFolder(checkNotNull(context)).listFiles().orEmpty().find { it.name == uri.lastPathSegment }
            ?: throw FileNotFoundException("$uri")

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        arguments: Array<String>?,
        order: String?,
    ): Cursor =
        MatrixCursor(arrayOf(OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE)).apply {
            val file = fileOf(uri)
            addRow(arrayOf<Any>(file.name, file.length()))
        }

    override fun getType(uri: Uri) = "application/octet-stream"

    override fun insert(
        uri: Uri,
        values: ContentValues?,
    ): Uri? = null

    override fun delete(
        uri: Uri,
        selection: String?,
        arguments: Array<String>?,
    ) = 0

    override fun update(
        uri: Uri,
        values: ContentValues?,
        selection: String?,
        arguments: Array<String>?,
    ) = 0

    companion object {
        fun share(logs: List<File>): Intent {
            val uris = logs.map { Uri.parse("content://dvtedge.demo.logs/${it.name}") }
            val intent = Intent(Intent.ACTION_SEND_MULTIPLE).setType("application/octet-stream")
            return intent
                .putParcelableArrayListExtra(
                    Intent.EXTRA_STREAM,
                    ArrayList(uris),
                ).addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
        }
    }
}
