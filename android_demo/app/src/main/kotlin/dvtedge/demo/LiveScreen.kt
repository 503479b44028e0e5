package dvtedge.demo

import android.Manifest
import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.drawable.BitmapDrawable
import android.view.View
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import dvtedge.device.Result

/** Camera or gallery through the bundle: answer, exit, times, frames dropped, the mix of exits. */
class LiveScreen(
    private val activity: Activity,
    private val session: Session,
) : Screen {
    private val preview =
        ImageView(activity).apply {
            minimumHeight = activity.dp(160)
            scaleType = ImageView.ScaleType.FIT_CENTER
            contentDescription = activity.getString(R.string.preview)
        }
    val label = activity.text(28f).apply { accessibilityLiveRegion = View.ACCESSIBILITY_LIVE_REGION_POLITE }
    private val exit = activity.badge()
    private val certainty = activity.text(18f)
    private val warning = activity.text()
    private val stages = activity.column()
    private val times = activity.text()
    private val energy = activity.text()
    private val frames = activity.text()
    private val exits = activity.column()
    private val backends = activity.text(13f)
    private val memory = activity.text()
    private val error = activity.text()
    val problem = activity.text() // of the camera
    val camera: Button = activity.button(R.string.camera_start) { if (source == null) start() else stop() }
    private val gallery = activity.button(R.string.image_gallery, ::pick)
    private var source: CameraSource? = null

    override val view: View =
        activity.scrolling(
            activity.column(
                preview,
                label,
                exit,
                certainty,
                warning,
                stages,
                times,
                energy,
                frames,
                exits,
                backends,
                memory,
                error,
                problem,
                camera,
                gallery,
            ),
        )

    override fun show() {
        val ready = session.state as? Ready ?: return
        val runtime = ready.runtime
        val result = session.last
        label.text = result?.labelName ?: activity.getString(R.string.nothing_yet)
        listOf(preview, exit, certainty, stages, times, energy, exits).forEach { it.showIf(result != null) }
        warning.say(result?.let(::warningOf))
        frames.text = activity.getString(R.string.frames, session.answered, session.dropped, session.failed)
        backends.text = activity.getString(R.string.backends, backendsOf(runtime))
        error.say(session.lastError?.let { activity.getString(R.string.failed, it) })
        memory.say(if (session.shortOfMemory) activity.getString(R.string.memory_short) else null)
        if (result != null) show(ready, result, runtime.manifest.stages.map { it.name })
    }

    private fun show(
        ready: Ready,
        result: Result,
        names: List<String>,
    ) {
        preview.setImageDrawable(sharp(bitmapOf(result.pixels)))
        exit.text = activity.getString(R.string.exit_of, result.exit + 1, names.size)
        certainty.text = activity.getString(R.string.confidence, result.confidence)
        times.text = activity.getString(R.string.times, result.preprocessMs, result.totalMs, result.operatingPoint)
        energy.text = energyOf(ready, result)
        val longest = result.stageMs.max()
        bars(stages, names) { stage, name ->
            val ms = result.stageMs.getOrNull(stage)
            val words =
                ms?.let { activity.getString(R.string.stage_ms, name, it) } ?: activity.getString(R.string.stage_skipped, name)
            words to (ms ?: 0.0) / longest
        }
        val most = session.exits.max().coerceAtLeast(1).toDouble()
        bars(exits, names) { stage, _ ->
            activity.getString(R.string.left_at, stage + 1, session.exits[stage]) to session.exits[stage] / most
        }
    }

    private fun bars(
        into: LinearLayout,
        names: List<String>,
        bar: (Int, String) -> Pair<String, Double>,
    ) {
        into.removeAllViews()
        names.forEachIndexed {
            stage,
            name,
            ->
            bar(stage, name).let { (words, share) -> into.addView(activity.bar(words, share)) }
        }
    }

    /** The whole device's draw where it is told; else what a device profile says of an image beside idling. */
    private fun energyOf(
        ready: Ready,
        result: Result,
    ): String {
        session.watts?.let { return activity.getString(R.string.energy_estimate, it * result.totalMs) }
        val known = ready.energy ?: return activity.getString(R.string.energy_unknown)
        val mJ = 1e3 * known.costs.exitJ[result.stageMs.size - 1]
        return activity.getString(R.string.energy_profile, mJ, known.profile.name, activity.basis(known.costs.basis))
    }

    private fun sharp(bitmap: Bitmap) = BitmapDrawable(activity.resources, bitmap).apply { isFilterBitmap = false }

    private fun warningOf(result: Result): String? =
        listOfNotNull(
            activity.getString(R.string.degraded).takeIf { result.degraded },
            activity.getString(R.string.uncertified).takeIf { result.uncertified },
        ).joinToString("\n").ifEmpty { null }

    private fun backendsOf(runtime: dvtedge.device.Runtime) =
        runtime.backends.joinToString(", ") { it ?: activity.getString(R.string.not_loaded) }

    private fun pick() =
        activity.ask(
            Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/*"),
            PICK_IMAGE,
        )

    /** Asks for the permission first, where it lacks; each thing that may lack has its own message. */
    fun start() {
        lateinit var camera: CameraSource
        val failed = { words: String -> session.post { if (source === camera) stopped(words) } }
        camera = CameraSource(activity, ::turned, session::classifyFrame, failed)
        when {
            camera.id() == null -> {
                problem.say(activity.getString(R.string.camera_none))
            }

            !camera.allowed() -> {
                activity.requestPermissions(arrayOf(Manifest.permission.CAMERA), ASK_CAMERA)
            }

            else -> {
                source = camera
                problem.say(null)
                this.camera.setText(R.string.camera_stop)
                camera.open()
            }
        }
    }

    /** The display's rotation in degrees: half a turn changes it and nothing else. */
    @Suppress("DEPRECATION") // its successor is of API 30
    internal fun turned(): Int = 90 * activity.windowManager.defaultDisplay.rotation

    fun denied() = problem.say(activity.getString(R.string.camera_denied))

    private fun stopped(words: String) {
        stop()
        problem.say(activity.getString(R.string.camera_failed, words))
    }

    private fun stop() {
        source?.close()
        source = null
        camera.setText(R.string.camera_start)
    }

    override fun hide(comesBack: Boolean) = stop()

    companion object {
        const val PICK_IMAGE = 1
        const val ASK_CAMERA = 2
    }
}
