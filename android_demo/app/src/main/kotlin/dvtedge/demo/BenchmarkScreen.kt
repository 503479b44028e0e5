package dvtedge.demo

import android.app.Activity
import android.text.InputType
import android.view.View
import android.widget.EditText
import java.util.Locale

/** What [BenchmarkModel] measures, and since when. The screen stays on meanwhile: a phone that sleeps measures nothing. */
class BenchmarkScreen(
    private val activity: Activity,
    private val session: Session,
) : Screen {
    private val model = session.benchmark
    private val minutes =
        EditText(activity).apply {
            id = View.generateViewId()
            inputType = InputType.TYPE_CLASS_NUMBER or InputType.TYPE_NUMBER_FLAG_DECIMAL
            minimumHeight = activity.dp(48)
            setText("10")
        }
    private val start = activity.button(R.string.start) { if (model.running) model.stop() else begin() }
    private val share = activity.button(R.string.share_log) { activity.ask(LogProvider.share(model.logs)) }
    private val status = activity.text().apply { accessibilityLiveRegion = View.ACCESSIBILITY_LIVE_REGION_POLITE }
    private val results = activity.column()
    private var shown: List<BenchmarkModel.Found>? = null

    override val view: View =
        activity.scrolling(
            activity.column(
                activity.text(words = activity.getString(R.string.benchmark_about)),
                activity.text(words = activity.getString(R.string.minutes)).apply { labelFor = minutes.id },
                minutes,
                start,
                status,
                results,
                share,
            ),
        )

    override fun show() {
        start.setText(if (model.running) R.string.stop else R.string.start)
        start.isEnabled = model.running || !session.isBusy
        minutes.isEnabled = !model.running
        view.keepScreenOn = model.running
        share.showIf(!model.running && model.logs.isNotEmpty())
        status.say(model.status?.of(activity))
        if (model.found !== shown) list(model.found)
    }

    override fun hide(comesBack: Boolean) {
        if (!comesBack) model.stop()
    }

    /** For as long as the field says, and a second at least. */
    private fun begin() = model.begin(((minutes.text.toString().toDoubleOrNull() ?: 0.0) * 60).toInt().coerceAtLeast(1))

    private fun list(found: List<BenchmarkModel.Found>) {
        shown = found
        results.removeAllViews()
        for (one in found) {
            results.addView(activity.text(words = wordsOf(one)))
            val celsius = one.measured?.temperatures.orEmpty()
            if (celsius.size > 1) results.addView(Curve(activity, celsius, activity.getString(R.string.curve, range(celsius))))
        }
        val measured = found.mapNotNull { it.measured }.sortedBy { it.percentile(0.5) }
        if (measured.size > 1) {
            val fastest = measured.first()
            val others = measured.drop(1).joinToString(", ") { "${it.bundle} %.2f ×".format(Locale.ROOT, ratio(it, fastest)) }
            results.addView(activity.text(words = activity.getString(R.string.benchmark_fastest, fastest.bundle, others)))
        }
    }

    private fun ratio(
        one: Measured,
        fastest: Measured,
    ) = one.percentile(0.5) / fastest.percentile(0.5)

    private fun range(celsius: List<Double>) = "${celsius.min()} – ${celsius.max()} °C"

    private fun wordsOf(one: BenchmarkModel.Found): String {
        val found = one.measured ?: return "${one.bundle}\n${activity.getString(R.string.failed, one.problem)}"
        val times =
            activity.getString(
                R.string.benchmark_result,
                found.bundle,
                found.loadMs.joinToString(", ") { "%.1f".format(Locale.ROOT, it) },
                found.percentile(0.50),
                found.percentile(0.95),
                found.percentile(0.99),
                found.totalMs.size,
                100 * found.engineShare,
                exitsInWords(found.exits),
                found.peakBytes shr 20,
                if (found.temperatures.isEmpty()) activity.getString(R.string.unknown) else range(found.temperatures),
            )
        val slowdown = found.slowdown?.let { "\n" + activity.getString(R.string.benchmark_slowdown, it) }.orEmpty()
        val energy =
            found.watts?.let { activity.getString(R.string.benchmark_energy, it) }
                ?: activity.getString(R.string.benchmark_no_energy)
        return "$times$slowdown\n$energy"
    }
}
