package dvtedge.demo

import android.app.Activity
import android.text.InputType
import android.view.View
import android.widget.EditText
import java.io.File
import java.util.Locale
import java.util.concurrent.CancellationException

/** Every installed bundle, sustained: int8 is not always the faster one on a phone. */
class BenchmarkScreen(
    private val activity: Activity,
    private val session: Session,
) : Screen {
    private val minutes =
        EditText(activity).apply {
            id = View.generateViewId()
            inputType = InputType.TYPE_CLASS_NUMBER or InputType.TYPE_NUMBER_FLAG_DECIMAL
            minimumHeight = activity.dp(48)
            setText("10")
        }
    private val start = activity.button(R.string.start) { if (job == null) begin() else job?.cancelled = true }
    private val share = activity.button(R.string.share_log) { activity.startActivity(LogProvider.share(logs)) }
    val status = activity.text().apply { accessibilityLiveRegion = View.ACCESSIBILITY_LIVE_REGION_POLITE }
    val results = activity.text()
    private val logs = ArrayList<File>()
    private var job: Job? = null

    private class Job(
        val seconds: Int,
    ) {
        @Volatile
        var cancelled = false
    }

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
        start.setText(if (job == null) R.string.start else R.string.stop)
        minutes.isEnabled = job == null
        share.showIf(job == null && logs.isNotEmpty())
    }

    override fun hide() {
        job?.cancelled = true
    }

    /** [seconds] for each bundle; by default what the field says, and a second at least. */
    fun begin(seconds: Int = ((minutes.text.toString().toDoubleOrNull() ?: 0.0) * 60).toInt().coerceAtLeast(1)) {
        val job = Job(seconds).also { this.job = it }
        results.text = ""
        logs.clear()
        show()
        session.background({ measureAll(job) }) { found ->
            this.job = null
            status.text =
                found.fold({ activity.getString(R.string.log_at, "${logFolder(activity)}") }, {
                    if (it is CancellationException) {
                        activity.getString(
                            R.string.stopped,
                        )
                    } else {
                        activity.getString(R.string.failed, it.message)
                    }
                })
            show()
        }
    }

    private fun measureAll(job: Job) {
        for (name in session.bundles.names()) {
            waitUntilCool(job)
            session.bundles.openReady(name).use { ready ->
                val (file, log) = newLog(activity, ready, session.device, "benchmark", everyStage = false)
                val found =
                    log.use {
                        val progress = { s: Int, images: Int -> say(R.string.running, name, s, job.seconds, images) }
                        Benchmark(session.device, job.seconds, progress) { job.cancelled }.run(name, ready.runtime, it)
                    }
                session.post {
                    logs += file
                    results.append(wordsOf(found) + "\n\n")
                }
            }
            if (job.cancelled) throw CancellationException()
        }
    }

    private fun waitUntilCool(job: Job) {
        while (true) {
            if (job.cancelled) throw CancellationException()
            val sample = session.device.sample()
            if (isCool(sample)) return
            say(R.string.waiting_cool, "${sample.temperatureC ?: "?"} °C, ${sample.thermal?.name?.lowercase()}")
            Thread.sleep(1000)
        }
    }

    private fun say(
        words: Int,
        vararg values: Any,
    ) = session.post { status.text = activity.getString(words, *values) }

    private fun wordsOf(found: Measured): String {
        val loads = found.loadMs.joinToString(", ") { "%.1f".format(Locale.ROOT, it) }
        val battery =
            found.temperatures.let {
                if (it.isEmpty()) activity.getString(R.string.unknown) else "${it.first()} – ${it.last()} °C"
            }
        val times =
            activity.getString(
                R.string.benchmark_result,
                found.bundle,
                loads,
                found.percentile(0.50),
                found.percentile(0.95),
                found.percentile(0.99),
                found.totalMs.size,
                100 * found.engineShare,
                exitsInWords(found.exits),
                found.peakBytes shr 20,
                battery,
            )
        val energy =
            found.watts?.let { activity.getString(R.string.benchmark_energy, it) }
                ?: activity.getString(R.string.benchmark_no_energy)
        return times + "\n" + energy
    }
}
