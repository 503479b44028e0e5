package dvtedge.demo

import android.content.Context
import android.view.View
import android.view.ViewGroup
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.Spinner
import android.widget.TextView

/** Views made in code. Sizes of text are in sp, of the rest in dp: font scales and densities hold. */

internal fun Context.dp(value: Int): Int = (value * resources.displayMetrics.density).toInt()

internal fun Context.column(vararg views: View): LinearLayout =
    LinearLayout(this).apply {
        orientation = LinearLayout.VERTICAL
        val gap = dp(6)
        for (view in views) {
            val size =
                if (view is Button ||
                    view is Spinner
                ) {
                    ViewGroup.LayoutParams.WRAP_CONTENT
                } else {
                    ViewGroup.LayoutParams.MATCH_PARENT
                }
            addView(
                view,
                LinearLayout.LayoutParams(size, ViewGroup.LayoutParams.WRAP_CONTENT).apply { setMargins(0, gap, 0, gap) },
            )
        }
    }

internal fun Context.scrolling(content: View): ScrollView =
    ScrollView(this).apply {
        isFillViewport = true
        content.setPadding(dp(16), dp(8), dp(16), dp(16))
        addView(content)
    }

internal fun Context.text(
    sp: Float = 15f,
    words: CharSequence = "",
): TextView =
    TextView(this).apply {
        textSize = sp
        val primary = context.obtainStyledAttributes(intArrayOf(android.R.attr.textColorPrimary))
        setTextColor(primary.getColorStateList(0))
        primary.recycle()
        text = words
    }

internal fun Context.button(
    words: Int,
    action: () -> Unit,
): Button =
    Button(this).apply {
        setText(words)
        minimumHeight = dp(48)
        setOnClickListener { action() }
    }

/** A list to choose from; [chosen] is called with the place of what the user took, not with what it begins with. */
internal fun Context.choice(
    label: Int,
    items: List<String>,
    selected: Int,
    chosen: (Int) -> Unit,
): Spinner =
    Spinner(this).apply {
        minimumHeight = dp(48)
        contentDescription = getString(label)
        adapter = ArrayAdapter(context, android.R.layout.simple_spinner_dropdown_item, items)
        setSelection(selected.coerceAtLeast(0), false)
        onItemSelectedListener =
            object : AdapterView.OnItemSelectedListener {
                private var at = selectedItemPosition

                override fun onItemSelected(
                    parent: AdapterView<*>?,
                    view: View?,
                    position: Int,
                    id: Long,
                ) {
                    if (position != at) chosen(position)
                    at = position
                }

                override fun onNothingSelected(parent: AdapterView<*>?) = Unit
            }
    }

/** Shows or hides, and says so to a screen reader by not being there. */
internal fun View.showIf(shown: Boolean) {
    visibility = if (shown) View.VISIBLE else View.GONE
}

internal fun TextView.say(words: String?) {
    showIf(words != null)
    if (words != null && text.toString() != words) text = words
}
