package dvtedge.device

import dvtedge.device.FakeEngine.Companion.BROKEN
import dvtedge.device.FakeEngine.Companion.SURE
import dvtedge.device.FakeEngine.Companion.UNSURE
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.io.RandomAccessFile
import java.security.MessageDigest
import java.util.concurrent.Callable
import java.util.concurrent.CancellationException
import java.util.concurrent.CountDownLatch
import java.util.concurrent.Executors
import java.util.concurrent.FutureTask
import java.util.concurrent.TimeUnit
import java.util.zip.ZipFile
import kotlin.concurrent.thread

/** The runtime around a hand-written engine: what loads when, what a fault leaves behind, and what is closed. */
class RuntimeTest {
    @TempDir
    lateinit var folder: File

    private var answer: (Int) -> FloatArray = { SURE }
    private val engine = FakeEngine { answer(it) }
    private val runtimes = ArrayList<Runtime>()

    private fun runtime(
        point: String? = null,
        thresholds: List<Double>? = null,
        policy: PowerPolicy? = null,
        power: PowerTable? = null,
    ) = Runtime(fakeBundle(), point, thresholds, policy = policy, power = power, loader = engine).also { runtimes += it }

    private fun Runtime.run(
        state: DeviceState = DeviceState(),
        everyStage: Boolean = false,
        cancelled: () -> Boolean = { false },
    ) = run(FAKE_IMAGE, state, everyStage = everyStage, cancelled = cancelled)

    /** Whatever a test did, no state and no stage outlives its runtime. */
    @AfterEach
    fun nothingIsLeftOpen() {
        assertEquals(0, engine.openStates.get())
        runtimes.forEach(Runtime::close)
        assertEquals(0, engine.openStages.get())
    }

    @Test
    fun whatDoesNotRunDoesNotLoad() {
        val runtime = runtime(thresholds = listOf(0.9, 0.9, 0.0))
        assertEquals(0, engine.loads.get())
        val result = runtime.run()
        assertEquals(listOf(true, false, false), runtime.loaded)
        assertEquals(0 to 1, result.exit to result.label)
        assertEquals("dog", result.labelName)
        assertEquals(listOf("stage1", "stage2"), result.skipped)
        assertTrue(result.uncertified && !result.degraded && result.operatingPoint == "custom")
        runtime.prewarm()
        assertEquals(3, engine.loads.get())
        runtime.run()
        assertEquals(3, engine.loads.get())
        runtime.unload()
        assertEquals(0, engine.openStages.get())
        assertEquals(0, runtime.run().exit)
        assertEquals(4, engine.loads.get())
    }

    @Test
    fun everyStageRunsButTheRuleAnswers() {
        answer = { if (it == 0) SURE else UNSURE }
        val result = runtime(thresholds = listOf(0.9, 0.9, 0.0)).run(everyStage = true)
        assertEquals(0, result.exit)
        assertEquals(listOf(3, 3), listOf(result.stageMs.size, result.logits.size))
        assertEquals(emptyList<String>(), result.skipped)
    }

    /** What an image took is what ran: all stages, where all of them do. */
    @Test
    fun theJoulesAreThoseOfTheStagesThatRan() {
        val table = powerTable(fakeBundle().manifest.provedPoints, listOf(1.0, 10.0, 100.0))
        val runtime = runtime(policy = PowerPolicy("full", allowUncertified = true), power = table)
        val early = runtime.run(FAKE_IMAGE, operatingPoint = "eager")
        assertEquals(1.0, runtime.memory.usedJ)
        val all = runtime.run(FAKE_IMAGE, operatingPoint = "eager", everyStage = true)
        assertEquals(101.0, runtime.memory.usedJ)
        assertEquals(listOf(0 to 1, 0 to 3), listOf(early, all).map { it.exit to it.stageMs.size })
    }

    /** A camera's frame took some time to become an image: it counts as preprocessing, and nothing else changes. */
    @Test
    fun aFramesConversionCounts() {
        val plain = runtime().run()
        val converted = plain.converted(5.0)
        assertEquals(plain.preprocessMs + 5 to plain.totalMs + 5, converted.preprocessMs to converted.totalMs)
        assertEquals(plain, converted.copy(preprocessMs = plain.preprocessMs, totalMs = plain.totalMs))
    }

    @Test
    fun capsHold() {
        answer = { UNSURE }
        val runtime = runtime(thresholds = listOf(0.9, 0.9, 0.0))
        assertEquals(listOf(0, 1, 2, 2), listOf(-3, 1, 2, 99).map { runtime.run(DeviceState(maxStage = it)).exit })
    }

    /** A later exit that is not finite falls back to the latest that is. */
    @Test
    fun notFiniteLogitsDegrade() {
        answer = { if (it == 0) UNSURE else BROKEN }
        val result = runtime(thresholds = listOf(0.9, 0.9, 0.0)).run()
        assertEquals(0 to true, result.exit to result.degraded)
        assertEquals(3, result.confidences.size)
        assertTrue(result.confidences[2].isNaN())
        answer = { BROKEN }
        val runtime = runtime(thresholds = listOf(0.9, 0.9, 0.0))
        assertThrows<NotFiniteError> { runtime.run() }
        answer = { SURE }
        assertEquals(0, runtime.run().exit)
    }

    /** An engine that throws, or runs out of memory, in any stage: an own error, and the next image is answered. */
    @Test
    fun faultsEndTheImageAndNotTheRuntime() {
        val faults =
            listOf<() -> Nothing>(
                { error("boom\nline") },
                { throw OutOfMemoryError("2 GB") },
                { throw UnsatisfiedLinkError("x") },
            )
        for (fault in faults) {
            for (at in 0..2) {
                val runtime = runtime(thresholds = listOf(2.0, 2.0, 0.0))
                answer = { if (it == at) fault() else UNSURE }
                val error = assertThrows<EngineError> { runtime.run() }
                assertTrue(
                    error.message!!.startsWith("stage$at: stage$at.bin did not run") && '\n' !in error.message!!,
                    error.message,
                )
                answer = { UNSURE }
                assertEquals(2, runtime.run().exit)
            }
        }
    }

    /** An engine that gives other outputs than the manifest declares. */
    @Test
    fun oddOutputsAreRefused() {
        answer = { floatArrayOf(1f, 2f) }
        val error = assertThrows<EngineError> { runtime().run() }
        assertEquals("stage0: stage0.bin gave 2 logits; expected 3", error.message)
    }

    @Test
    fun aStageThatDoesNotLoadIsTriedAgain() {
        var broken = true
        val loader =
            LoadStage {
                artifact,
                stage,
                backend,
                threads,
                ->
                if (broken) error("no") else engine.load(artifact, stage, backend, threads)
            }
        val runtime = Runtime(fakeBundle(), loader = loader).also { runtimes += it }
        assertThrows<EngineError> { runtime.run() }
        broken = false
        runtime.run()
    }

    /** An artifact for which there is no memory is an own error too, and the other stages still run. */
    @Test
    fun anArtifactBeyondMemory() {
        val bundle = bundleOf(artifactSize = java.lang.Runtime.getRuntime().maxMemory())
        val runtime = Runtime(bundle, thresholds = listOf(9.0, 9.0, 0.0), loader = engine).also { runtimes += it }
        answer = { UNSURE }
        val error = assertThrows<EngineError> { runtime.run() }
        assertEquals("stage2: stage2.bin cannot be loaded (out of memory)", error.message)
        assertEquals(1, runtime.run(DeviceState(maxStage = 1)).exit)
    }

    /** The fake bundle as a folder, the last artifact of so many zeros. */
    private fun bundleOf(artifactSize: Long): CascadeBundle {
        ZipFile(File(GOLDEN, "bundles/good-deflated.zip")).use { zip ->
            for (entry in zip.entries()) {
                val file = File(folder, entry.name).also { it.parentFile.mkdirs() }
                file.writeBytes(zip.getInputStream(entry).readBytes())
            }
        }
        RandomAccessFile(File(folder, "stage2.bin"), "rw").use {
            it.setLength(0)
            it.setLength(artifactSize)
        }
        val zeros = MessageDigest.getInstance("SHA-256")
        val chunk = ByteArray(1 shl 20)
        repeat((artifactSize / chunk.size).toInt()) { zeros.update(chunk) }
        zeros.update(chunk, 0, (artifactSize % chunk.size).toInt())
        val manifest = File(folder, "manifest.json")
        val spec = fakeBundle().manifest.files.getValue("stage2.bin")
        val text = manifest.readText()
        assertTrue(spec.sha256 in text)
        val entry = Regex(""""stage2.bin"\s*:\s*\{[^}]*\}""")
        manifest.writeText(text.replace(entry, """"stage2.bin":{"sha256":"${hex(zeros.digest())}","size":$artifactSize}"""))
        return CascadeBundle.open(folder)
    }

    /** A screen asks what runs the stages while one of them loads, and is answered at once. */
    @Test
    fun whatIsLoadedIsToldWhileAStageLoads() {
        val inside = CountDownLatch(1)
        val goOn = CountDownLatch(1)
        val loader =
            LoadStage {
                artifact,
                stage,
                backend,
                threads,
                ->
                inside.countDown()
                goOn.await()
                engine.load(artifact, stage, backend, threads)
            }
        val runtime = Runtime(fakeBundle(), loader = loader).also { runtimes += it }
        val loading = thread { runtime.load(0) }
        inside.await()
        val asking = FutureTask { runtime.backends }.also { thread(block = it::run) }
        try {
            assertEquals(listOf(null, null, null), asking.get(5, TimeUnit.SECONDS))
        } finally {
            goOn.countDown()
        }
        loading.join()
        assertEquals(listOf(true, false, false), runtime.loaded)
    }

    /** Cancelled half-way: no later stage runs, and what was in work is closed. */
    @Test
    fun cancelledBetweenStages() {
        var ran = 0
        answer = { UNSURE.also { ran += 1 } }
        val runtime = runtime(thresholds = listOf(2.0, 2.0, 0.0))
        assertThrows<CancellationException> { runtime.run(cancelled = { ran == 2 }) }
        assertEquals(2, ran)
        assertEquals(2, runtime.run().exit)
    }

    /** A slow stage in one thread does not hold up another thread, and closing waits for it. */
    @Test
    fun slowStagesAndClosing() {
        val inside = CountDownLatch(1)
        val goOn = CountDownLatch(1)
        val runtime = runtime(thresholds = listOf(0.9, 0.9, 0.0))
        answer = {
            if (inside.count > 0) {
                inside.countDown()
                goOn.await()
            }
            SURE
        }
        val slow = thread { runtime.run() }
        inside.await()
        assertEquals(0, runtime.run().exit)
        val closing = thread { runtime.close() }
        closing.join(50)
        assertTrue(closing.isAlive)
        goOn.countDown()
        slow.join()
        closing.join(5_000)
        assertFalse(closing.isAlive)
        assertThrows<IllegalStateException> { runtime.run() }
    }

    /** Many threads: each stage is loaded once, every answer is right, every image is counted once. */
    @Test
    fun manyThreads() {
        answer = { if (it < 2) UNSURE else SURE }
        val policy = PowerPolicy("full", allowUncertified = true)
        val runtime = runtime(policy = policy)
        val pool = Executors.newFixedThreadPool(8)
        val results = pool.invokeAll(List(400) { Callable { runtime.run() } }).map { it.get() }
        pool.shutdown()
        assertTrue(pool.awaitTermination(10, TimeUnit.SECONDS))
        assertTrue(results.all { it.label == 1 && it.exit == 2 })
        assertEquals(3, engine.loads.get())
        assertEquals(400, runtime.memory.seen)
    }

    /** The policy sees the device's state at each call; a point that is named comes before it. */
    @Test
    fun thePolicyChooses() {
        answer = { UNSURE }
        val policy =
            PowerPolicy(
                "full",
                listOf(Rule("eager", maxStage = 0, thermalAtLeast = Thermal.SERIOUS)),
                allowUncertified = true,
            )
        val runtime = runtime(policy = policy)
        val hot = DeviceState(thermal = Thermal.CRITICAL)
        assertEquals("full" to null, runtime.run().let { it.operatingPoint to it.maxStage })
        assertEquals("eager" to 0, runtime.run(hot).let { it.operatingPoint to it.maxStage })
        assertEquals("accurate", runtime.run(FAKE_IMAGE, hot, operatingPoint = "accurate").operatingPoint)
        assertThrows<ManifestError> { runtime.run(FAKE_IMAGE, operatingPoint = "fastest") }
        assertThrows<ManifestError> { runtime(policy = PowerPolicy("fastest")) }
        assertThrows<ManifestError> { runtime(thresholds = listOf(1.0)) }
        assertThrows<ManifestError> { runtime(thresholds = listOf(1.0, Double.NaN, 0.0)) }
    }
}
