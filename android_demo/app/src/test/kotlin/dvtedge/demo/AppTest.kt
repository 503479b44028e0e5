package dvtedge.demo

import android.content.Context
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.BatteryManager
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import dvtedge.device.RgbImage
import dvtedge.device.RgbSource
import org.junit.After
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.concurrent.TimeUnit

/** The app as a user has it: real Activity, real bundles out of its assets, real ONNX Runtime, Android's own renderer. */
@RunWith(RobolectricTestRunner::class)
@GraphicsMode(GraphicsMode.Mode.NATIVE)
@Config(sdk = [35], qualifiers = "w411dp-h891dp-hdpi")
abstract class AppTest {
    protected val app: DemoApplication get() = RuntimeEnvironment.getApplication() as DemoApplication
    protected val session get() = app.session
    protected val runtime get() = (session.state as Ready).runtime

    protected fun golden(): List<RgbSource> {
        val side = runtime.manifest.preprocessing.size
        return runtime.bundle.goldenImages().map { RgbImage(side, side, it) }
    }

    @After
    fun close() = session.close()

    protected fun start(intent: Intent = Intent()): ActivityController<MainActivity> {
        val controller = Robolectric.buildActivity(MainActivity::class.java, intent).setup()
        settle()
        return controller
    }

    /** Until neither the worker nor the main thread has anything to do. */
    protected fun settle() =
        repeat(3) {
            if (!session.worker.isShutdown) session.worker.submit {}.get(120, TimeUnit.SECONDS)
            shadowOf(Looper.getMainLooper()).idle()
        }

    protected fun battery(
        percent: Int,
        plugged: Boolean = false,
        celsius: Double = 30.0,
        chargeUah: Long = Long.MIN_VALUE, // not supported
        currentUa: Long = -250_000,
    ) {
        val battery = app.getSystemService(Context.BATTERY_SERVICE) as BatteryManager
        shadowOf(battery).setLongProperty(BatteryManager.BATTERY_PROPERTY_CURRENT_NOW, currentUa)
        shadowOf(battery).setLongProperty(BatteryManager.BATTERY_PROPERTY_CHARGE_COUNTER, chargeUah)
        @Suppress("DEPRECATION")
        app.sendStickyBroadcast(
            Intent(Intent.ACTION_BATTERY_CHANGED)
                .putExtra(BatteryManager.EXTRA_LEVEL, percent)
                .putExtra(BatteryManager.EXTRA_SCALE, 100)
                .putExtra(BatteryManager.EXTRA_PLUGGED, if (plugged) BatteryManager.BATTERY_PLUGGED_USB else 0)
                .putExtra(BatteryManager.EXTRA_VOLTAGE, 3900)
                .putExtra(BatteryManager.EXTRA_TEMPERATURE, (10 * celsius).toInt()),
        )
    }

    /** All words that are to be seen. */
    protected fun words(activity: MainActivity): String =
        views(activity.window.decorView).filterIsInstance<TextView>().joinToString("\n") { it.text }

    protected fun views(view: View): List<View> =
        when {
            view.visibility != View.VISIBLE -> emptyList()
            view is ViewGroup -> listOf(view) + (0 until view.childCount).flatMap { views(view.getChildAt(it)) }
            else -> listOf(view)
        }

    protected fun pngOf(picture: Bitmap): ByteArray =
        ByteArrayOutputStream().also { picture.compress(Bitmap.CompressFormat.PNG, 100, it) }.toByteArray()

    protected fun draw(
        activity: MainActivity,
        name: String,
    ) {
        shadowOf(Looper.getMainLooper()).idle()
        val view = activity.window.decorView
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        view.draw(Canvas(bitmap))
        val file = File(System.getProperty("screenshots"), "$name.png")
        file.parentFile!!.mkdirs()
        file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
    }
}
