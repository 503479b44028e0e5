package dvtedge.demo

import android.app.Activity
import android.content.Intent
import android.view.View
import android.widget.Switch

/** Whether this device computes what the bundle was exported with; and a log of a folder of images, to be validated elsewhere. */
class ValidateScreen(
    private val activity: Activity,
    private val session: Session,
) : Screen {
    private val model = session.validate

    @Suppress("UseSwitchCompatOrMaterialCode") // plain android.*
    private val pixels =
        Switch(activity).apply {
            setText(R.string.with_pixels)
            minimumHeight = activity.dp(48)
            isChecked = model.withPixels
            setOnCheckedChangeListener { _, checked -> model.withPixels = checked }
        }
    private val start = activity.button(R.string.start) { if (model.running) model.stop() else model.begin() }
    private val folder = activity.button(R.string.choose_folder, ::pick)
    private val share = activity.button(R.string.share_log) { activity.ask(LogProvider.share(model.logs)) }
    private val results = activity.text().apply { accessibilityLiveRegion = View.ACCESSIBILITY_LIVE_REGION_POLITE }

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
        listOf(pixels, folder).forEach { it.isEnabled = !session.isBusy }
        start.setText(if (model.running) R.string.stop else R.string.start)
        start.isEnabled = model.running || !session.isBusy
        view.keepScreenOn = model.running
        share.showIf(model.logs.isNotEmpty() && !model.running)
        results.say(
            if (model.running) activity.getString(R.string.validating) else model.lines.joinToString("\n") { it.of(activity) },
        )
    }

    private fun pick() = activity.ask(Intent(Intent.ACTION_OPEN_DOCUMENT_TREE), PICK_FOLDER)

    companion object {
        const val PICK_FOLDER = 3
    }
}
