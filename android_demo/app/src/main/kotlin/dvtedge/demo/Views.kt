package dvtedge.demo

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Context
import android.content.Intent
import android.graphics.Color
import android.graphics.Typeface
import android.graphics.drawable.GradientDrawable
import android.view.View
import android.view.ViewGroup
import android.widget.AdapterView
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.ScrollView
import android.widget.Spinner
import android.widget.TextView
import android.widget.Toast

/** Views made in code. Sizes of text are in sp, of the rest in dp: font scales and densities hold. */

internal fun Context.dp(value: Int): Int = (value * resources.displayMetrics.density).toInt()

internal fun Context.column(vararg views: View): LinearLayout =
    LinearLayout(this).apply {
        orientation = LinearLayout.VERTICAL
        val gap = dp(6)
        for (view in views) {
            val size =
                if (view is Button || view is Spinner || view.background is GradientDrawable) {
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
        primary.getColorStateList(0)?.let(::setTextColor)
        primary.recycle()
        text = words
    }

/** The colour that the theme gives to what counts. */
internal fun Context.accent(): Int {
    val found = obtainStyledAttributes(intArrayOf(android.R.attr.colorAccent))
    return found.getColor(0, 0).also { found.recycle() }
}

/** A short text on a round ground of the accent's colour. */
internal fun Context.badge(): TextView =
    text(18f).apply {
        setTypeface(typeface, Typeface.BOLD)
        setTextColor(if (Color.luminance(accent()) > 0.4f) Color.BLACK else Color.WHITE)
        setPadding(dp(12), dp(4), dp(12), dp(4))
        background =
            GradientDrawable().apply {
                cornerRadius = dp(16).toFloat()
                setColor(accent())
            }
    }

/** [words], and below them a bar of a [share] of the width, which a screen reader passes over: the words say it. */
internal fun Context.bar(
    words: CharSequence,
    share: Double,
): View =
    LinearLayout(this).apply {
        orientation = LinearLayout.VERTICAL
        addView(text(words = words))
        val bar =
            ProgressBar(context, null, android.R.attr.progressBarStyleHorizontal).apply {
                max = 1000
                progress = (1000 * share).toInt()
                importantForAccessibility = View.IMPORTANT_FOR_ACCESSIBILITY_NO
            }
        addView(bar)
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

/** Starts another app's activity, for a result of [request] where that is given; says so where there is none. */
internal fun Activity.ask(
    intent: Intent,
    request: Int? = null,
) = try {
    if (request == null) startActivity(intent) else startActivityForResult(intent, request)
} catch (_: ActivityNotFoundException) {
    Toast.makeText(this, R.string.no_app, Toast.LENGTH_LONG).show()
}

/** Shows or hides, and says so to a screen reader by not being there. */
internal fun View.showIf(shown: Boolean) {
    visibility = if (shown) View.VISIBLE else View.GONE
}

internal fun TextView.say(words: String?) {
    showIf(words != null)
    if (words != null && text.toString() != words) text = words
}
