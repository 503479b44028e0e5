package dvtedge.demo

import android.content.Context
import android.view.View

/** One of the app's screens: a view, and what it shows of the session when that changes. */
interface Screen {
    val view: View

    fun show()

    /** It goes out of sight: what it holds of the device is given back. */
    fun hide() = Unit
}

/** "a 12, b 0": how many images left at each exit. */
internal fun exitsInWords(exits: IntArray): String =
    exits.withIndex().joinToString(", ") { (exit, count) -> "${exit + 1}: $count" }

internal fun Context.orUnknown(words: String?): String = words ?: getString(R.string.unknown)
