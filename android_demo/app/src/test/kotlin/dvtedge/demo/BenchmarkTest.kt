package dvtedge.demo

import dvtedge.device.LoadStage
import dvtedge.device.Runtime
import dvtedge.device.StageRunner
import dvtedge.device.StateRecord
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File
import java.nio.ByteBuffer

/** What a benchmark measures and logs, and what it does not hold in memory. */
class BenchmarkTest : AppTest() {
    /** Real time while images run; pauses are skipped. */
    private class Skipping : Clock() {
        private var skipped = 0.0

        override fun nowS() = super.nowS() + skipped

        override fun pause(seconds: Double) {
            skipped += seconds
        }
    }

    /** A phone that draws 0.39 W when idle and 1.17 W more while images run. */
    private inner class MadeUp(
        private val clock: Clock,
    ) : Device(app) {
        override fun timeS() = clock.nowS()

        override fun sample(idle: Boolean) =
            StateRecord(
                timeS(),
                idle,
                screenOn = true,
                charging = false,
                awakeS = timeS(),
                currentUa = if (idle) 100_000 else 400_000,
                voltageMv = 3900,
            )
    }

    /** A log that tests/android/test_kotlin_log.py makes a profile of: idle before and after, every stage in it. */
    @Test
    fun aLogForAProfile() {
        battery(percent = 62)
        start().use {
            val clock = Skipping()
            val device = MadeUp(clock)
            val ready = session.state as Ready
            val (file, log) = newLog(app, ready, device, "benchmark", everyStage = false)
            val benchmark = Benchmark(device, seconds = 14, idleS = 60, {}, clock) { false }
            val measured =
                Runtime(runtime.bundle, loader = slow(ready)).use { slow -> log.use { benchmark.run(ready.name, slow, it) } }
            val events = file.readLines().drop(1).map { it.removePrefix("{\"event\":\"").substringBefore('"') }
            assertEquals(120, events.count { it == "idle" })
            assertTrue(events.take(60).all { it == "idle" } && events.takeLast(60).all { it == "idle" })
            assertEquals(20 + measured.totalMs.size, events.count { it == "image" })
            assertEquals(1.56, measured.watts!!, 1e-9)
            file.copyTo(File(System.getProperty("logs")!!, "benchmark.jsonl").also { it.parentFile!!.mkdirs() }, overwrite = true)
        }
    }

    /** The bundle's engine, some milliseconds slower in each stage: a log of thousands of images says no more. */
    private fun slow(ready: Ready): LoadStage {
        val real = Engines(app.cacheDir).loader(ready.runtime.manifest, ready.backend)
        return LoadStage { artifact, stage, backend, threads ->
            val runner = real.load(artifact, stage, backend, threads)
            object : StageRunner by runner {
                override fun run(
                    pixels: ByteBuffer,
                    states: Map<String, dvtedge.device.StageState>,
                ) = runner.run(pixels, states).also { Thread.sleep(5) }
            }
        }
    }

    /** The bundle that is open is no part of another one's memory: its stages are unloaded. */
    @Test
    fun theOpenBundleIsUnloaded() {
        battery(percent = 62)
        start().use {
            runtime.prewarm()
            session.benchmark.begin(seconds = 1, only = "onnx-fp32.zip", idleS = 0)
            settle()
            assertTrue(session.benchmark.found.single().measured!!.peakBytes > 0)
            assertEquals(listOf(false, false, false), runtime.loaded)
        }
    }

    @Test
    fun peakMemory() {
        val peak = PeakMemory()
        val before = peak.bytes
        val held = ByteBuffer.allocateDirect(200 shl 20)
        for (at in 0 until held.capacity() step 4096) held.put(at, 1)
        peak.look()
        assertTrue("$before, then ${peak.bytes}", peak.bytes - before > 150 shl 20)
        assertEquals(1, held[0].toInt())
    }

    @Test
    fun manyNumbers() {
        val numbers = Doubles()
        repeat(5000) { numbers += it.toDouble() }
        assertEquals(5000, numbers.size)
        assertArrayEquals(DoubleArray(5000) { it.toDouble() }, numbers.toArray(), 0.0)
    }
}
