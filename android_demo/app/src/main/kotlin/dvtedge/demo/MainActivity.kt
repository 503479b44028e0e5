package dvtedge.demo

import android.app.Activity
import android.content.Intent
import android.content.pm.PackageManager
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
 *     adb shell am start -n dvtedge.demo/.MainActivity --es run benchmark --ei seconds 60
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
    private var wanted: String? = null

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
        wanted = if (saved == null) intent.getStringExtra("run") else null
        select(tab)
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
        if (content.childCount > 0) screens[tab].hide()
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
        open.showIf(state is Session.Missing || state is Session.Failed)
        content.showIf(state is Ready)
        bundles.showIf(state is Ready || state is Session.Failed)
        listBundles(state)
        listBackends(state)
        screens[tab].show()
        if (state is Ready) runWanted(state)
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

    private fun runWanted(ready: Ready) {
        val run = wanted ?: return
        val bundle = intent.getStringExtra("bundle")
        if (bundle != null && bundle != ready.name) return session.open(bundle)
        wanted = null
        if (run == "benchmark") {
            select(2)
            session.benchmark.begin(intent.getIntExtra("seconds", 600), only = bundle)
        } else if (run == "validate") {
            select(3)
            session.validate.withPixels = intent.getBooleanExtra("pixels", false)
            session.validate.begin()
        }
    }

    private fun pickBundle() =
        startActivityForResult(
            Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("application/zip"),
            PICK_BUNDLE,
        )

    override fun onActivityResult(
        request: Int,
        result: Int,
        data: Intent?,
    ) {
        val uri = data?.data
        if (result != RESULT_OK || uri == null) return
        when (request) {
            LiveScreen.PICK_IMAGE -> session.classify { readPicture(contentResolver, uri) }
            ValidateScreen.PICK_FOLDER -> session.validate.begin(uri)
            PICK_BUNDLE -> session.open(uri)
        }
    }

    override fun onRequestPermissionsResult(
        request: Int,
        permissions: Array<String>,
        results: IntArray,
    ) {
        if (request != LiveScreen.ASK_CAMERA) return
        if (results.firstOrNull() == PackageManager.PERMISSION_GRANTED) live.start() else live.denied()
    }

    override fun onStart() {
        super.onStart()
        session.changed = ::show
        show()
    }

    override fun onStop() {
        screens[tab].hide()
        session.changed = {}
        super.onStop()
    }

    override fun onSaveInstanceState(state: Bundle) {
        super.onSaveInstanceState(state)
        state.putInt(TAB, tab)
    }

    private companion object {
        const val TAB = "tab"
        const val PICK_BUNDLE = 4
        val TITLES = listOf(R.string.tab_live, R.string.tab_power, R.string.tab_benchmark, R.string.tab_validate)
    }
}
