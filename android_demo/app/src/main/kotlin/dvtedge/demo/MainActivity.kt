package dvtedge.demo

import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.view.View
import android.view.ViewGroup
import android.view.WindowInsets
import android.widget.Button
import android.widget.FrameLayout
import android.widget.HorizontalScrollView
import android.widget.LinearLayout

/**
 * Four screens over one session. Without touch:
 *
 *     adb shell am start -n dvtedge.demo/.MainActivity --es run benchmark --ei seconds 60 --ei idle 0
 *     adb shell am start -n dvtedge.demo/.MainActivity --es run validate --es bundle onnx-fp32.zip --ez pixels true
 */
class MainActivity : Activity() {
    private lateinit var session: Session
    lateinit var screens: List<Screen>
        private set
    val message by lazy { text(17f).apply { setPadding(dp(16), dp(8), dp(16), dp(8)) } }
    private val open by lazy { button(R.string.open_bundle, ::pickBundle) }
    private val bundles by lazy { FrameLayout(this) }
    private val backends by lazy { FrameLayout(this) }
    private val content by lazy { FrameLayout(this) }
    private lateinit var tabs: List<Button>
    private var tab = 0
    private var wanted: Intent? = null // whose run has not begun
    private var asked = false // for its bundle
    private var picked: Uri? = null // an image, until a bundle is there for it
    private var folder: Uri? = null // of images to validate, likewise
    private val changed: () -> Unit = ::show // of this instance: another may come in front of it

    val live get() = screens[0] as LiveScreen
    val power get() = screens[1] as PowerScreen
    val benchmark get() = screens[2] as BenchmarkScreen
    val validate get() = screens[3] as ValidateScreen

    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        session = (application as DemoApplication).session
        screens =
            listOf(
                LiveScreen(this, session),
                PowerScreen(this, session),
                BenchmarkScreen(this, session),
                ValidateScreen(this, session),
            )
        tabs = TITLES.mapIndexed { k, title -> button(title) { select(k) } }
        setContentView(withInsets(layout()))
        tab = saved?.getInt(TAB) ?: 0
        @Suppress("DEPRECATION") // its successor is of API 33
        picked = saved?.getParcelable(PICKED)
        @Suppress("DEPRECATION")
        folder = saved?.getParcelable(FOLDER)
        if (saved == null) want(intent)
        select(tab)
    }

    /** A second `adb shell am start`. */
    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        setIntent(intent)
        want(intent)
        show()
    }

    private fun want(intent: Intent) {
        wanted = intent.takeIf { it.hasExtra("run") }
        asked = false
    }

    private fun layout(): View {
        val row = LinearLayout(this).apply { tabs.forEach(::addView) }
        val top = HorizontalScrollView(this).apply { addView(row) }
        val column = column(top, bundles, backends, message, open)
        column.addView(content, LinearLayout.LayoutParams(ViewGroup.LayoutParams.MATCH_PARENT, 0, 1f))
        return column
    }

    /** Android 15 draws edge to edge: what lies under bars and cutouts is kept free. */
    private fun withInsets(view: View): View =
        view.apply {
            setOnApplyWindowInsetsListener { _, insets ->
                if (Build.VERSION.SDK_INT >= 30) padByBars(this, insets) else padByOldBars(this, insets)
                insets
            }
        }

    @NewerApi
    private fun padByBars(
        view: View,
        insets: WindowInsets,
    ) {
        val bars =
            insets.getInsets(
                WindowInsets.Type.systemBars() or WindowInsets.Type.displayCutout() or WindowInsets.Type.ime(),
            )
        view.setPadding(bars.left, bars.top, bars.right, bars.bottom)
    }

    @Suppress("DEPRECATION") // before API 30
    private fun padByOldBars(
        view: View,
        insets: WindowInsets,
    ) = view.setPadding(
        insets.systemWindowInsetLeft,
        insets.systemWindowInsetTop,
        insets.systemWindowInsetRight,
        insets.systemWindowInsetBottom,
    )

    fun select(index: Int) {
        if (content.childCount > 0) screens[tab].hide(comesBack = false)
        tab = index
        tabs.forEachIndexed { k, button ->
            button.isSelected = k == index
            button.isEnabled = k != index
        }
        content.removeAllViews()
        content.addView(screens[index].view)
        show()
    }

    /** What the session says, on whatever screen: or why there is nothing to show. */
    private fun show() {
        val state = session.state
        message.say(
            when (state) {
                is Session.Opening -> getString(R.string.opening)
                is Session.Missing -> getString(R.string.no_bundle)
                is Session.Failed -> getString(R.string.failed, state.message)
                is Ready -> null
            },
        )
        open.showIf(state !is Session.Opening)
        open.isEnabled = !session.isBusy
        content.showIf(state is Ready)
        bundles.showIf(state is Ready || state is Session.Failed)
        listBundles(state)
        listBackends(state)
        listOf(bundles, backends).forEach { it.getChildAt(0)?.isEnabled = !session.isBusy }
        screens[tab].show()
        if (state is Ready) usePicked()
        if (state !is Session.Opening) runWanted(state)
    }

    private fun listBundles(state: Session.State) {
        val names = session.bundles.names()
        val at = names.indexOf((state as? Ready)?.name)
        if (bundles.tag == names to at) return
        bundles.tag = names to at
        bundles.removeAllViews()
        val items = if (at < 0) listOf(getString(R.string.bundle)) + names else names // none of them is open
        bundles.addView(choice(R.string.bundle, items, at) { place -> items[place].takeIf { it in names }?.let(session::open) })
    }

    /** What can run the bundle's stages, where there is a choice. */
    private fun listBackends(state: Session.State) {
        backends.showIf(state is Ready && state.backends.size > 1)
        if (state !is Ready || backends.tag === state) return
        backends.tag = state
        backends.removeAllViews()
        val at = state.backends.indexOf(state.backend)
        backends.addView(
            choice(R.string.backend, state.backends, at) { place -> session.open(state.name, state.backends[place]) },
        )
    }

    private fun usePicked() {
        val (image, tree) = picked to folder
        picked = null
        folder = null
        if (image != null) session.classify { readPicture(contentResolver, image) }
        if (tree != null) session.validate.begin(tree)
    }

    /** First its bundle is opened, then it runs; one that cannot be opened ends it. */
    private fun runWanted(state: Session.State) {
        val intent = wanted ?: return
        val bundle = intent.getStringExtra("bundle")
        if (bundle != null && !asked && bundle != (state as? Ready)?.name) {
            asked = true
            return session.open(bundle)
        }
        wanted = null
        if (state is Ready) run(intent, bundle)
    }

    private fun run(
        intent: Intent,
        bundle: String?,
    ) {
        val run = intent.getStringExtra("run")
        if (run == "benchmark") {
            select(2)
            val idleS = intent.getIntExtra("idle", BenchmarkModel.IDLE_S)
            session.benchmark.begin(intent.getIntExtra("seconds", 600), only = bundle, idleS)
        } else if (run == "validate") {
            select(3)
            session.validate.withPixels = intent.getBooleanExtra("pixels", false)
            session.validate.begin()
        }
    }

    private fun pickBundle() =
        ask(
            Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("application/zip"),
            PICK_BUNDLE,
        )

    public override fun onActivityResult(
        request: Int,
        result: Int,
        data: Intent?,
    ) {
        val uri = data?.data
        if (result != RESULT_OK || uri == null) return
        when (request) {
            LiveScreen.PICK_IMAGE -> picked = uri
            ValidateScreen.PICK_FOLDER -> folder = uri
            PICK_BUNDLE -> session.open(uri)
        }
        show()
    }

    override fun onRequestPermissionsResult(
        request: Int,
        permissions: Array<String>,
        results: IntArray,
    ) {
        val result = results.firstOrNull() // of a request that was interrupted there is none
        if (request != LiveScreen.ASK_CAMERA || result == null) return
        if (result == PackageManager.PERMISSION_GRANTED) live.start() else live.denied()
    }

    override fun onStart() {
        super.onStart()
        session.changed = changed
        show()
    }

    override fun onStop() {
        val inFront = session.changed === changed
        screens[tab].hide(comesBack = isChangingConfigurations || !inFront)
        if (inFront) session.changed = {}
        super.onStop()
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putInt(TAB, tab)
        state.putParcelable(PICKED, picked)
        state.putParcelable(FOLDER, folder)
    }

    private companion object {
        const val TAB = "tab"
        const val PICKED = "picked"
        const val FOLDER = "folder"
        const val PICK_BUNDLE = 4
        val TITLES = listOf(R.string.tab_live, R.string.tab_power, R.string.tab_benchmark, R.string.tab_validate)
    }
}
