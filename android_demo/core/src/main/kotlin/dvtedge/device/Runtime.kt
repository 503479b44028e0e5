package dvtedge.device

import java.nio.ByteBuffer
import java.util.concurrent.CancellationException
import java.util.concurrent.ConcurrentLinkedQueue
import java.util.concurrent.atomic.AtomicReferenceArray
import java.util.concurrent.locks.ReentrantReadWriteLock
import kotlin.concurrent.read
import kotlin.concurrent.write

/**
 * One image's answer. Times are milliseconds; [stageMs], [confidences] and [logits] have one entry for each stage that ran.
 *
 * [logits] (classes,) float32 and [pixels], what went into stage 0, are what a device log may hold, [engineMs] is the part of
 * all stages' time that went by inside the engine: Python's has none of these.
 */
data class Result(
    val exit: Int,
    val label: Int,
    val labelName: String,
    val confidence: Float,
    val degraded: Boolean, // a later stage ran and its logits were not finite
    val confidences: List<Float>, // of every exit that ran; NaN where it was not finite
    val stageMs: List<Double>,
    val preprocessMs: Double,
    val totalMs: Double,
    val skipped: List<String>, // names of the stages that did not run
    val operatingPoint: String,
    val maxStage: Int?, // the cap, of the device or of the power policy, whichever is lower
    val uncertified: Boolean, // no certificate covers the answer: an uncertified point, own thresholds, or a cap
    val engineMs: Double,
    val logits: List<FloatArray>,
    val pixels: ByteArray,
) {
    /** Everything but the preprocessing and the engine. */
    val glueMs: Double get() = totalMs - preprocessMs - engineMs

    /** The answer to a camera's frame that took so long to become an upright image: docs/device-log.md counts from the frame on. */
    fun converted(ms: Double) = copy(preprocessMs = preprocessMs + ms, totalMs = totalMs + ms)
}

/** The point to use now: its thresholds, the cap on stages, and whether no certificate covers it. */
class Plan(
    val point: String,
    val thresholds: List<Double>,
    val maxStage: Int?,
    val uncertified: Boolean,
)

/**
 * Runs a bundle. Safe to call from several threads.
 *
 * [operatingPoint] names one of the bundle's, by default its own default; [thresholds], one per exit, replace it. [threads]
 * is the number of threads a stage may use. [policy] (default: the bundle's, if it has one) chooses the point from the
 * device's state at each call, unless a point or thresholds are given here or in the call; an energy queue needs the
 * device's [power] as well. [loader] is the engine's. Throws [ManifestError] for points or thresholds that the bundle has not.
 */
class Runtime(
    val bundle: CascadeBundle,
    operatingPoint: String? = null,
    private val thresholds: List<Double>? = null,
    private val threads: Int = 1,
    policy: PowerPolicy? = null,
    power: PowerTable? = null,
    private val loader: LoadStage = loaderOf(bundle.manifest.engine),
) : AutoCloseable {
    val manifest: Manifest = bundle.manifest
    val labels: List<String> = bundle.labels
    val policy: PowerPolicy? = if (operatingPoint == null && thresholds == null) policy ?: manifest.policy else null
    val power: PowerTable = power ?: powerTable(manifest.provedPoints)

    private val defaultPoint = point(operatingPoint)
    private val proved = manifest.provedPoints.filter { it.certificate != null }.map { it.name }
    private val skipped = (0..manifest.stages.size).map { k -> manifest.stages.drop(k).map { it.name } }
    private val memoryLock = Any()
    private var remembered = Memory()
    private val loading = manifest.stages.map { Any() }
    private val buffers = ConcurrentLinkedQueue<ByteBuffer>() // of pixels, that no call is using
    private val runners = AtomicReferenceArray<StageRunner?>(manifest.stages.size) // set under `loading`, read without
    private val inUse = ReentrantReadWriteLock() // read: a call is inside; write: closing
    private var closed = false

    init {
        if (thresholds != null && thresholds.size != manifest.stages.size) {
            throw ManifestError("${thresholds.size} thresholds; the bundle has ${manifest.stages.size} exits")
        }
        if (thresholds?.all(Double::isFinite) == false) throw ManifestError("thresholds $thresholds; expected finite ones")
        this.policy?.points?.forEach(::point)
    }

    /** What the policy remembers. */
    val memory: Memory get() = synchronized(memoryLock) { remembered }

    /** Which stages are loaded. This and [backends] wait for no stage that loads. */
    val loaded: List<Boolean> get() = manifest.stages.indices.map { runners[it] != null }

    /** What really runs each stage, null where it is not loaded. */
    val backends: List<String?> get() = manifest.stages.indices.map { runners[it]?.backend }

    /** The bundle's operating point of that name, or its default one. */
    fun point(name: String?): OperatingPoint = manifest.operatingPoint(name ?: manifest.defaultOperatingPoint)

    /** Load stage [index], unless it is: what [run] does where it first needs it. Throws [EngineError], [ChangedFileError]. */
    fun load(index: Int) = using { runner(index).backend.let {} }

    /** Load every stage and run each once on a grey image, so that no later call pays for it. */
    fun prewarm() =
        using {
            val grey = StagePixels { spec -> ByteArray(3 * spec.size * spec.size) { GREY } }
            Pass(grey).use { manifest.stages.indices.forEach(it::step) }
        }

    /**
     * Classify one image.
     *
     * [state] caps the stages and is what the policy sees; [operatingPoint] replaces the policy's choice or the runtime's
     * point for this image; with [everyStage] all stages run, whatever the rule says, and [Result.exit] is the rule's.
     * [cancelled] is asked before each stage: the call ends with a CancellationException then.
     * Throws [DataError] for an image of odd form, [NotFiniteError] when no exit that ran is finite, [EngineError].
     */
    fun run(
        image: RgbSource,
        state: DeviceState = DeviceState(),
        operatingPoint: String? = null,
        everyStage: Boolean = false,
        cancelled: () -> Boolean = { false },
    ): Result =
        using {
            val start = System.nanoTime()
            Pass(StagePixels { spec -> preprocess(image, spec) }).use { pass ->
                pass.pixels.of(0)
                answer(pass, plan(state, operatingPoint), start, everyStage, cancelled)
            }
        }

    private fun answer(
        pass: Pass,
        plan: Plan,
        start: Long,
        everyStage: Boolean,
        cancelled: () -> Boolean,
    ): Result {
        val stages = manifest.stages.size
        val last = lastStage(plan.maxStage, stages)
        val (temperature, measure) = manifest.confidence.let { it.temperature to it.measure }
        val values = ArrayList<Float>()
        var ruled = 0 // stages that the rule lets run
        for (index in 0 until stages) {
            if (cancelled()) throw CancellationException("cancelled before ${manifest.stages[index].name}")
            values += confidence(pass.step(index), temperature[index], measure)
            if (ruled == 0 && leaves(values[index], index, plan.thresholds, last)) ruled = index + 1
            if (ruled > 0 && !everyStage) break
        }
        remember(values.size)
        val decision = decide(values.take(ruled), pass.logits.take(ruled).map(::labelOf))
        return Result(
            exit = decision.exit,
            label = decision.label,
            labelName = labels[decision.label],
            confidence = decision.confidence,
            degraded = decision.degraded,
            confidences = values,
            stageMs = pass.stageMs,
            preprocessMs = pass.pixels.ms,
            totalMs = since(start),
            skipped = skipped[values.size],
            operatingPoint = plan.point,
            maxStage = plan.maxStage,
            uncertified = plan.uncertified || last < stages - 1,
            engineMs = pass.engineMs,
            logits = pass.logits,
            pixels = pass.pixels.of(0),
        )
    }

    private fun remember(ran: Int) {
        if (policy == null) return
        synchronized(memoryLock) { remembered = used(remembered, 1, power.exitJ?.get(ran - 1) ?: 0.0) }
    }

    /** What the runtime would use in [state] now: this counts as a call of the policy. */
    fun plan(
        state: DeviceState,
        name: String? = null,
    ): Plan {
        if (name == null && thresholds != null) return Plan("custom", thresholds, state.maxStage, true)
        val policy = policy
        if (name != null || policy == null) {
            val point = if (name == null) defaultPoint else point(name)
            return Plan(point.name, point.thresholds, state.maxStage, point.name !in proved)
        }
        val timed = if (state.timeS == null) state.copy(timeS = System.nanoTime() / 1e9) else state
        val choice =
            synchronized(memoryLock) {
                val (choice, next) = choose(policy, power, timed, remembered)
                remembered = next
                choice
            }
        val cap = listOfNotNull(state.maxStage, choice.maxStage).minOrNull()
        return Plan(choice.point, point(choice.point).thresholds, cap, choice.uncertified)
    }

    /** Every exit's (classes,) logits, with no early exit: for validation. [pixels] gives those of each size of image. */
    fun logits(pixels: (ImageSize) -> ByteArray): List<FloatArray> =
        using {
            Pass(StagePixels(pixels)).use { pass -> manifest.stages.indices.map(pass::step) }
        }

    /** Unload every stage, once no call is inside; a later call loads them again. For an app that is short of memory. */
    fun unload() =
        inUse.write {
            manifest.stages.indices.forEach { runners.getAndSet(it, null)?.close() }
            buffers.clear()
        }

    /** Unload every stage for good: a call after that is an IllegalStateException. */
    override fun close() =
        inUse.write {
            closed = true
            unload()
        }

    private fun <T> using(call: () -> T): T =
        inUse.read {
            check(!closed) { "this runtime is closed" }
            call()
        }

    /** Stage [index], loaded on first use, once. */
    private fun runner(index: Int): StageRunner =
        synchronized(loading[index]) {
            runners[index] ?: CheckedRunner
                .load(loader, manifest.stages[index], manifest.backend, threads) { bundle.artifact(index) }
                .also { runners[index] = it }
        }

    /** One image on its way through the stages. It has the states between two of them, and closes them. */
    private inner class Pass(
        val pixels: StagePixels,
    ) : AutoCloseable {
        private var states = emptyMap<String, StageState>()
        val logits = ArrayList<FloatArray>()
        val stageMs = ArrayList<Double>()
        var engineMs = 0.0

        /** Run stage [index]; its (classes,) logits. */
        fun step(index: Int): FloatArray {
            val taken = manifest.stages[index].inputs.filter { it.role == Role.STATE }
            val runner = runner(index)
            val input = pixels.buffer(index)
            val start = System.nanoTime()
            val output = runner.run(input, taken.associate { it.name to states.getValue(it.name) })
            stageMs += since(start)
            engineMs += output.engineMs
            releaseStates()
            states = output.states
            logits += output.logits
            return output.logits
        }

        private fun releaseStates() {
            states.values.forEach(StageState::close)
            states = emptyMap()
        }

        override fun close() {
            releaseStates()
            pixels.close()
        }
    }

    /** An image's pixels for each stage, made once for each of their sizes, when first asked for. */
    private inner class StagePixels(
        private val make: (ImageSize) -> ByteArray,
    ) : AutoCloseable {
        private val made = HashMap<ImageSize, ByteArray>()
        private val direct = HashMap<ImageSize, ByteBuffer>()
        var ms = 0.0 // spent on making them so far
            private set

        /** (size, size, 3) uint8 RGB. Throws [DataError]. */
        fun of(stage: Int): ByteArray =
            made.getOrPut(manifest.imageSize(stage)) {
                val start = System.nanoTime()
                make(manifest.imageSize(stage)).also { ms += since(start) }
            }

        /** The same in a direct buffer, as engines take it. */
        fun buffer(stage: Int): ByteBuffer =
            direct
                .getOrPut(manifest.imageSize(stage)) {
                    val bytes = of(stage)
                    val buffer = buffers.poll()?.takeIf { it.capacity() == bytes.size } ?: ByteBuffer.allocateDirect(bytes.size)
                    buffer.also { it.duplicate().put(bytes) }
                }.duplicate()

        override fun close() {
            buffers.addAll(direct.values)
        }
    }
}

private const val GREY: Byte = -128 // 128 as uint8

private fun since(start: Long): Double = (System.nanoTime() - start) / 1e6
