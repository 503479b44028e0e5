package dvtedge.demo

import android.widget.Button
import android.widget.Spinner
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.Shadows.shadowOf
import java.io.File

/** A benchmark as its screen begins, shows and ends it. */
class BenchmarkScreenTest : AppTest() {
    @Test
    fun benchmarkMeasuresEveryBundle() {
        battery(percent = 62)
        start().use { controller ->
            val activity = controller.get()
            activity.select(2)
            session.benchmark.begin(seconds = 1, idleS = 0)
            settle()
            val words = words(activity)
            for (word in listOf("onnx-int8.zip", "onnx-fp32.zip", "p95", "0.98 W", "30.0", "Fastest by p50")) {
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

    /** The policy is told the device's state, by the clock that the other screens tell it: on a charger the costliest point. */
    @Test
    fun measuredAtThePolicysPoint() {
        battery(percent = 62, plugged = true)
        start().use {
            session.benchmark.begin(seconds = 1, only = "onnx-int8.zip", idleS = 0)
            settle()
            session.validate.begin()
            settle()
            for (log in listOf("benchmark-1", "validate-1")) {
                val images = File(logFolder(app), "$log.jsonl").readLines().filter { """"event":"image"""" in it }
                assertTrue(images.isNotEmpty() && images.all { """"point":"full"""" in it })
            }
            assertEquals(session.device.timeS(), runtime.memory.clockS!!, 1.0)
        }
    }

    /** A device that is hot is waited for; stopping ends the wait. */
    @Test
    fun benchmarkWaitsUntilCool() {
        battery(percent = 62, celsius = 45.0)
        start().use { controller ->
            val activity = controller.get()
            activity.select(2)
            session.benchmark.begin(seconds = 1, idleS = 0)
            Thread.sleep(300)
            shadowOf(android.os.Looper.getMainLooper()).idle()
            assertTrue(words(activity), "45.0 °C" in words(activity))
            assertTrue(activity.benchmark.view.keepScreenOn)
            activity.select(0)
            settle()
            activity.select(2)
            assertTrue(words(activity), app.getString(R.string.stopped) in words(activity))
            assertFalse(activity.benchmark.view.keepScreenOn)
            assertEquals(0, logFolder(app).listFiles()!!.size)
        }
    }

    /** A rotation neither stops a benchmark nor loses what it found; nor what validation found. */
    @Test
    fun benchmarkOutlivesARotation() {
        battery(percent = 62)
        start().use { controller ->
            controller.get().select(2)
            session.benchmark.begin(seconds = 1, idleS = 0)
            controller.recreate()
            settle()
            assertTrue(words(controller.get()), "p95" in words(controller.get()))
            controller.get().select(3)
            session.validate.begin()
            settle()
            controller.recreate()
            settle()
            assertEquals(3, "passed".toRegex().findAll(words(controller.get())).count())
        }
    }

    /** A bundle that cannot be measured is said, and the others are. */
    @Test
    fun benchmarkGoesOnAfterABadBundle() {
        File(app.getExternalFilesDir("bundles"), "broken.zip").writeBytes(ByteArray(100))
        battery(percent = 62)
        start().use { controller ->
            controller.get().select(2)
            session.benchmark.begin(seconds = 1, idleS = 0)
            settle()
            assertEquals(listOf(true, true, false), session.benchmark.found.map { it.measured != null })
            assertTrue(words(controller.get()), "broken.zip\nFailed: " in words(controller.get()))
        }
    }

    /** A charging device is not measured: the profile's estimate is shown, and said to be one. */
    @Test
    fun noEnergyWhileCharging() {
        battery(percent = 62, plugged = true)
        start().use { controller ->
            session.classify { golden().first() }
            settle()
            val words = words(controller.get())
            assertTrue(words, "mJ an image beside idling (device profile “phone-cpu”, estimate" in words)
            controller.get().select(2)
            session.benchmark.begin(seconds = 1, idleS = 0)
            settle()
            assertTrue(app.getString(R.string.benchmark_no_energy) in words(controller.get()))
        }
    }

    /** One that comes in front of another keeps the session's attention and its run. */
    @Test
    fun anActivityInFrontOfAnother() {
        battery(percent = 62, celsius = 45.0)
        val first = start()
        first.get().select(2)
        start().use { second ->
            second.get().select(2)
            session.benchmark.begin(seconds = 1, idleS = 0)
            first.pause().stop()
            battery(percent = 62)
            settle()
            assertTrue(words(second.get()), "p95" in words(second.get()))
        }
    }

    /** While a run has the worker, no other bundle can be chosen; one that is opened all the same stops a benchmark. */
    @Test
    fun noOtherBundleDuringARun() {
        battery(percent = 62, celsius = 45.0)
        start().use { controller ->
            val choices = {
                val buttons = views(controller.get().window.decorView).filterIsInstance<Button>()
                val open = buttons.filter { it.text == app.getString(R.string.open_bundle) }
                val lists = views(controller.get().window.decorView).filterIsInstance<Spinner>()
                (open + lists).map { it.isEnabled }
            }
            assertEquals(listOf(true, true), choices())
            session.benchmark.begin(seconds = 1, idleS = 0)
            assertEquals(listOf(false, false), choices())
            session.open("onnx-int8.zip")
            settle()
            assertEquals(listOf(true, true), choices())
            assertEquals(app.getString(R.string.stopped), session.benchmark.status!!.of(app))
        }
    }

    @Test
    fun percentiles() {
        val rising = DoubleArray(100) { it + 1.0 }
        assertEquals(listOf(50.0, 99.0, 1.0), listOf(0.5, 0.99, 0.001).map { percentile(rising, it) })
        assertEquals(3.0, percentile(doubleArrayOf(3.0), 0.01), 0.0)
    }

    @Test
    fun slowdowns() {
        val times =
            DoubleArray(100) {
                if (it < 10) {
                    2.0
                } else if (it < 90) {
                    9.0
                } else {
                    3.0
                }
            }
        assertEquals(listOf(1.5, null), listOf(slowdown(times), slowdown(doubleArrayOf(1.0, 2.0, 3.0))))
    }
}
