package dvtedge.demo

import android.content.Intent
import android.widget.Button
import dvtedge.device.RgbImage
import dvtedge.device.RgbSource
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.io.File

/** Each screen opened, used and drawn, in light, dark and with letters of twice the size. */
class ScreensTest : AppTest() {
    private fun golden(): List<RgbSource> {
        val side = runtime.manifest.preprocessing.size
        return runtime.bundle.goldenImages().map { RgbImage(side, side, it) }
    }

    private fun everyScreen(look: String) {
        battery(percent = 62)
        start().use { controller ->
            val activity = controller.get()
            for (image in golden()) {
                session.classify { image }
                settle()
            }
            draw(activity, "live-$look")
            activity.select(1)
            draw(activity, "power-$look")
            activity.select(2)
            activity.benchmark.begin(seconds = 2)
            settle()
            draw(activity, "benchmark-$look")
            activity.select(3)
            activity.validate.begin()
            settle()
            draw(activity, "validate-$look")
            assertEquals(golden().size, session.answered)
        }
    }

    @Test
    fun light() = everyScreen("light")

    @Test
    @Config(qualifiers = "+night")
    fun dark() = everyScreen("dark")

    @Test
    fun largeLetters() {
        RuntimeEnvironment.setFontScale(2f)
        everyScreen("large")
    }

    @Test
    @Config(qualifiers = "+zh")
    fun chinese() = everyScreen("chinese")

    /** What the live screen shows is what the runtime answers, and nothing before there is an answer. */
    @Test
    fun liveShowsTheAnswer() {
        battery(percent = 62)
        start().use { controller ->
            val activity = controller.get()
            assertTrue(activity.getString(R.string.nothing_yet) in words(activity))
            assertFalse("stage0" in words(activity))
            val image = golden().first()
            assertTrue(session.classify { image })
            assertFalse(session.classify { image })
            settle()
            val result = session.last!!
            val expected = runtime.run(image, operatingPoint = result.operatingPoint)
            assertEquals(expected.label to expected.exit, result.label to result.exit)
            for (word in listOf(
                result.labelName,
                "exit ${result.exit + 1} of 3",
                "1 dropped",
                "mJ",
                "estimate",
                "CPUExecutionProvider",
            )) {
                assertTrue("$word is not in\n${words(activity)}", word in words(activity))
            }
            assertEquals(listOf(1, 0), listOf(session.answered, session.failed))
        }
    }

    /** A charging device gives no estimate of energy. */
    @Test
    fun noEnergyWhileCharging() {
        battery(percent = 62, plugged = true)
        start().use { controller ->
            session.classify { golden().first() }
            settle()
            assertTrue(app.getString(R.string.energy_unknown) in words(controller.get()))
            controller.get().select(2)
            controller.get().benchmark.begin(seconds = 1)
            settle()
            assertTrue(app.getString(R.string.benchmark_no_energy) in words(controller.get()))
        }
    }

    @Test
    fun powerShowsTheRuleThatWins() {
        battery(percent = 62)
        start().use { controller ->
            val activity = controller.get()
            activity.select(1)
            assertTrue(words(activity), "“accurate”: no rule matches" in words(activity))
            battery(percent = 9)
            activity.power.show()
            assertTrue(words(activity), "“fast”: rule 3: battery below 0.15" in words(activity) && "9 %" in words(activity))
            session.override = "full"
            activity.power.show()
            assertTrue("You chose “full”" in words(activity))
            session.classify { golden().first() }
            settle()
            assertEquals("full" to 2, session.last!!.let { it.operatingPoint to it.exit })
        }
    }

    @Test
    fun benchmarkMeasuresEveryBundle() {
        battery(percent = 62)
        start().use { controller ->
            val activity = controller.get()
            activity.select(2)
            activity.benchmark.begin(seconds = 1)
            settle()
            val words = activity.benchmark.results.text
            for (word in listOf("onnx-int8.zip", "onnx-fp32.zip", "p95", "0.98 W", "30.0")) {
                assertTrue(
                    "$word is not in $words",
                    word in words,
                )
            }
            val logs = logFolder(app).listFiles()!!.sorted()
            assertEquals(2, logs.size)
            assertTrue(logs.all { it.readLines().size > 20 && """"event":"image"""" in it.readText() })
        }
    }

    /** A device that is hot is waited for; stopping ends the wait. */
    @Test
    fun benchmarkWaitsUntilCool() {
        battery(percent = 62, celsius = 45.0)
        start().use { controller ->
            val activity = controller.get()
            activity.select(2)
            activity.benchmark.begin(seconds = 1)
            Thread.sleep(300)
            shadowOf(android.os.Looper.getMainLooper()).idle()
            assertTrue("45.0 °C" in activity.benchmark.status.text)
            activity.select(0)
            settle()
            assertEquals(app.getString(R.string.stopped), activity.benchmark.status.text)
            assertEquals(0, logFolder(app).listFiles()!!.size)
        }
    }

    @Test
    fun validatePassesAndLogs() {
        start().use { controller ->
            val activity = controller.get()
            activity.select(3)
            views(activity.validate.view).filterIsInstance<android.widget.Switch>().single().performClick()
            activity.validate.begin()
            settle()
            assertEquals(3, "passed".toRegex().findAll(activity.validate.results.text).count())
            val log = File(logFolder(app), "validate-1.jsonl")
            assertEquals(1 + 4 + 2, log.readLines().size)
            assertEquals(4L * 32 * 32 * 3, File("$log.pixels").length())
            views(
                activity.validate.view,
            ).filterIsInstance<Button>().first { it.text == app.getString(R.string.share_log) }.performClick()
            val shared = shadowOf(activity).nextStartedActivity
            assertEquals(Intent.ACTION_SEND_MULTIPLE, shared.action)
        }
    }

    /** Without touch: what `adb shell am start --es run validate` does. */
    @Test
    fun startedByAdb() {
        start(Intent().putExtra("run", "validate")).use { assertTrue(File(logFolder(app), "validate-1.jsonl").isFile) }
        start(Intent().putExtra("run", "benchmark").putExtra("seconds", 1)).use {
            assertTrue(File(logFolder(app), "benchmark-2.jsonl").isFile)
        }
    }
}
