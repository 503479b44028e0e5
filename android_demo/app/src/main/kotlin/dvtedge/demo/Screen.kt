package dvtedge.demo

import android.content.Context
import android.view.View
import dvtedge.device.Basis

/** One of the app's screens: a view, and what it shows of the session when that changes. */
interface Screen {
    val view: View

    fun show()

    /** It goes out of sight: what it holds of the device is given back. A run goes on where it [comesBack], turned say. */
    fun hide(comesBack: Boolean) = Unit
}

internal fun Context.basis(basis: Basis): String =
    getString(if (basis == Basis.MEASURED) R.string.basis_measured else R.string.basis_estimated)

/** How many images left at each exit, from the first to the last. */
internal fun exitsInWords(exits: IntArray): String = exits.joinToString(" / ")

internal fun Context.orUnknown(words: String?): String = words ?: getString(R.string.unknown)
