package dvtedge.demo

import android.content.ComponentName
import android.content.Intent
import android.content.pm.ActivityInfo
import android.widget.Button
import android.widget.EditText
import android.widget.Spinner
import dvtedge.device.DeviceState
import dvtedge.device.Memory
import dvtedge.device.PointRow
import dvtedge.device.PowerPolicy
import dvtedge.device.PowerTable
import dvtedge.device.RgbImage
import dvtedge.device.RgbSource
import dvtedge.device.Rule
import dvtedge.device.choose
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowSystemClock
import java.io.File
import java.time.Duration

/** Each screen opened, used and drawn, in light, dark and with letters of twice the size. */
class ScreensTest : AppTest() {
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
            session.benchmark.begin(seconds = 1, idleS = 0)
            settle()
            draw(activity, "benchmark-$look")
            activity.select(3)
            session.validate.begin()
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

    @Test
    fun powerShowsTheRuleThatWins() {
        battery(percent = 62)
        start().use { controller ->
            val activity = controller.get()
            activity.select(1)
            assertTrue(words(activity), "“accurate”: no rule matches" in words(activity))
            battery(percent = 9)
            activity.power.show()
            assertTrue(words(activity), "“fast”: rule 3: battery below 15 %" in words(activity) && "9 %" in words(activity))
            session.override = "full"
            activity.power.show()
            assertTrue("You chose “full”" in words(activity))
            session.classify { golden().first() }
            settle()
            assertEquals("full" to 2, session.last!!.let { it.operatingPoint to it.exit })
        }
    }

    /** With a target the queue decides, by the profile's joules and this battery's counter; what it counts with is shown. */
    @Test
    fun theQueueHoldsALifetime() {
        battery(percent = 62, chargeUah = 2_790_000)
        start().use { controller ->
            val activity = controller.get()
            session.lifetimeS = 3600.0 * 2
            activity.select(1)
            assertTrue(words(activity), "energy queue, before the first image" in words(activity))
            assertTrue(words(activity), "“phone-cpu” (estimate" in words(activity))
            assertTrue(words(activity), "62.7 kJ in a full battery (by this device’s charge counter)" in words(activity))
            val ready = session.state as Ready
            assertEquals(2_790_000 * 0.0036 * 3.87, ready.state(session.device.sample(), null).energyLeftJ!!, 1e-9)
            // Once images come, a target that the battery can hold leaves the best point, one that it cannot the cheapest.
            val rows = ready.runtime.power.rows
            assertEquals(rows.maxBy { it.accuracy }.name, pointFor(hours = 0.1))
            assertEquals(rows.minBy { it.energyJ!! }.name, pointFor(hours = 1000.0))
            activity.power.show()
            assertTrue(words(activity), Regex("energy queue at [0-9.]+ J") in words(activity))
        }
    }

    private fun pointFor(hours: Double): String {
        session.lifetimeS = 3600 * hours
        repeat(2) {
            ShadowSystemClock.advanceBy(Duration.ofSeconds(10)) // the policy's clock, or no rate is known
            session.classify { golden().first() }
            settle()
        }
        return session.last!!.operatingPoint
    }

    /** No profile for such a bundle, or one that is none, leaves the queue out and says why. */
    @Test
    fun aProfileThatCannotBeRead() {
        File(app.getExternalFilesDir(null), PROFILE).writeText("{}")
        session.open("onnx-int8.zip")
        battery(percent = 62)
        start().use { controller ->
            controller.get().select(1)
            val words = words(controller.get())
            assertTrue(words, app.getString(R.string.queue_cannot) in words && "the field 'format' is missing" in words)
        }
    }

    @Test
    fun validatePassesAndLogs() {
        start().use { controller ->
            val activity = controller.get()
            activity.select(3)
            views(activity.validate.view).filterIsInstance<android.widget.Switch>().single().performClick()
            session.validate.begin()
            settle()
            assertEquals(3, "passed".toRegex().findAll(words(activity)).count())
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
        val extras = Intent().putExtra("run", "validate").putExtra("bundle", "onnx-fp32.zip").putExtra("pixels", true)
        start(extras).use {
            val log = File(logFolder(app), "validate-1.jsonl")
            assertTrue(""""target":"onnx-fp32"""" in log.readText() && File("$log.pixels").isFile)
        }
        start(
            Intent().putExtra("run", "benchmark").putExtra("seconds", 1).putExtra("idle", 0).putExtra("bundle", "onnx-int8.zip"),
        ).use {
            assertTrue(File(logFolder(app), "benchmark-1.jsonl").isFile)
            assertEquals(listOf("onnx-int8.zip"), session.benchmark.found.map { it.bundle })
        }
        start(Intent().putExtra("run", "validate").putExtra("bundle", "../x.zip")).use { controller ->
            assertTrue("no bundle '../x.zip'; installed are:" in words(controller.get()))
        }
    }

    /** What came of an intent is over with it: a bundle that cannot be opened does not leave its run for another one. */
    @Test
    fun aRunThatCouldNotBeginIsForgotten() {
        start(Intent().putExtra("run", "validate").putExtra("bundle", "x.zip")).use {
            session.open("onnx-int8.zip")
            settle()
            assertEquals(0, logFolder(app).listFiles()!!.size)
        }
    }

    /** A second `adb shell am start` comes to the activity that is there. */
    @Test
    fun startedByAdbAgain() {
        val launch = app.packageManager.getActivityInfo(ComponentName(app, MainActivity::class.java), 0).launchMode
        assertEquals(ActivityInfo.LAUNCH_SINGLE_TOP, launch)
        start().use { controller ->
            controller.newIntent(Intent().putExtra("run", "validate").putExtra("bundle", "onnx-fp32.zip"))
            settle()
            assertTrue(""""target":"onnx-fp32"""" in File(logFolder(app), "validate-1.jsonl").readText())
        }
    }

    /** A choice that is held, because a costlier one has to wait, is not laid on the rule that asks for that one. */
    @Test
    fun powerSaysThatAChoiceIsHeld() {
        battery(percent = 9)
        start().use { controller ->
            val activity = controller.get()
            activity.select(1)
            battery(percent = 9, plugged = true)
            activity.power.show()
            val held = app.getString(R.string.instead_dwell, 60.0)
            assertTrue(words(activity), "“fast”: rule 2: charging\n$held" in words(activity))
            ShadowSystemClock.advanceBy(Duration.ofSeconds(61))
            activity.power.show()
            assertTrue(words(activity), "“full”: rule 2: charging" in words(activity) && held !in words(activity))
        }
    }

    /** The time that a battery has to last passes; then there is no target any more. */
    @Test
    fun aLifetimeCountsDown() {
        battery(percent = 62)
        start().use { controller ->
            val activity = controller.get()
            activity.select(1)
            val field = views(activity.power.view).filterIsInstance<EditText>().single()
            field.setText("2")
            assertEquals(7200.0, session.lifetimeS!!, 1e-3)
            ShadowSystemClock.advanceBy(Duration.ofHours(1))
            assertEquals(3600.0, session.lifetimeS!!, 1e-3)
            ShadowSystemClock.advanceBy(Duration.ofHours(1))
            activity.power.show()
            assertEquals(null to "", session.lifetimeS to "${field.text}")
        }
    }

    @Test
    fun reasonsWithoutACertificate() {
        val rows = listOf("fast", "accurate").map { PointRow(it, 0.9, certified = it == "accurate", listOf(1.0)) }
        val table = PowerTable(1, rows)
        val policy = PowerPolicy("accurate", listOf(Rule("fast", lowPower = true)))
        val (_, memory) = choose(policy, table, DeviceState(lowPower = true), Memory())
        val reason = reasonOf(policy, table, DeviceState(lowPower = true), memory)
        assertEquals(Instead.NO_CERTIFICATE, insteadOf(policy, table, reason, memory))
        assertEquals(null, insteadOf(policy, table, Reason.Otherwise, memory))
    }
}
