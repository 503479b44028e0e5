package dvtedge.demo

import dvtedge.device.DeviceState
import dvtedge.device.ImageRecord
import dvtedge.device.LogWriter
import dvtedge.device.Result
import dvtedge.device.RgbImage
import dvtedge.device.Runtime
import dvtedge.device.StateRecord
import dvtedge.device.Thermal
import java.util.concurrent.CancellationException
import kotlin.math.ceil

private const val WARM_UP = 20 // images
private const val COLD_LOADS = 3
private const val COOL_C = 37.0
private const val LEAST_TENTH = 10 // images
private const val LAG_S = 10 // of a gauge, at most: docs/energy-model.md

/** What a benchmark of one bundle measured. Times are milliseconds; [watts] is null where it is not one of energy. */
class Measured(
    val bundle: String,
    val loadMs: List<Double>, // of each stage, the median of three cold loads
    val totalMs: DoubleArray, // of each image, rising
    val engineShare: Double,
    val exits: IntArray,
    val peakBytes: Long,
    val temperatures: List<Double>, // of the battery, one a second
    val slowdown: Double?, // median of the last tenth of the images to that of the first
    val watts: Double?,
) {
    fun percentile(share: Double): Double = percentile(totalMs, share)
}

/** The smallest of [rising] numbers that at least [share] of them do not exceed. */
fun percentile(
    rising: DoubleArray,
    share: Double,
): Double = rising[(ceil(share * rising.size).toInt() - 1).coerceIn(rising.indices)]

/** Whether the device is cool enough to begin: at most 37 C, as far as it tells, and not throttled. */
fun isCool(sample: StateRecord): Boolean =
    (sample.temperatureC ?: 0.0) <= COOL_C && (sample.thermal ?: Thermal.NOMINAL) <= Thermal.FAIR

/** The time that passes while a benchmark runs; a test has its own. */
open class Clock {
    open fun nowS(): Double = System.nanoTime() / 1e9

    open fun pause(seconds: Double) = Thread.sleep((1e3 * seconds).toLong())
}

/**
 * Runs the bundle's golden images again and again for [seconds], with their real mix of exits, after a warm-up; a sample of
 * the device once a second, of which [state] is what the power policy sees. For [idleS] seconds before and after, it samples the
 * idle device: what `dvt-edge profile` holds the images' power against. [tell] is given what it does; [cancelled] is asked before
 * each image and each second.
 */
class Benchmark(
    private val device: Device,
    private val seconds: Int,
    private val idleS: Int,
    private val tell: (Words) -> Unit,
    private val clock: Clock = Clock(),
    private val state: (StateRecord) -> DeviceState = { it.state() },
    private val cancelled: () -> Boolean,
) {
    fun run(
        name: String,
        runtime: Runtime,
        log: LogWriter?,
    ): Measured {
        val run = Run(name, runtime, log)
        val loads = List(COLD_LOADS) { run.coldLoads() }
        if (idleS > 0) run.idle(LAG_S, null) // what the loads drew is not the idle device's
        run.idle(idleS, log)
        run.warmUp()
        run.images()
        run.idle(idleS, log)
        return run.measured(loads)
    }

    private inner class Run(
        private val name: String,
        private val runtime: Runtime,
        private val log: LogWriter?,
    ) {
        private val side = runtime.manifest.imageSize(0).size
        private val golden = runtime.bundle.goldenImages().map { RgbImage(side, side, it) }
        private val peak = PeakMemory()
        private val samples = ArrayList<StateRecord>()
        private val totalMs = Doubles()
        private var engineMs = 0.0
        private val exits = IntArray(runtime.manifest.stages.size)

        /** Each stage's load in a runtime that had none loaded; the system may have its file in its cache. */
        fun coldLoads(): List<Double> {
            runtime.unload()
            return runtime.manifest.stages.indices.map { stage ->
                val start = System.nanoTime()
                runtime.load(stage)
                ((System.nanoTime() - start) / 1e6).also { peak.look() }
            }
        }

        /** At the costliest point: a log that is to give a profile needs some images through the last stage. */
        fun warmUp() {
            val costliest = runtime.manifest.operatingPoints.last()
            repeat(WARM_UP) { write(runtime.run(image(it), operatingPoint = costliest.name), it) }
        }

        fun images() {
            val start = clock.nowS()
            val ran = { clock.nowS() - start }
            while (ran() < seconds && !cancelled()) {
                if (samples.size <= ran()) look()
                val number = totalMs.size
                val result = runtime.run(image(number), state(samples.last()))
                totalMs += result.totalMs
                engineMs += result.engineMs
                exits[result.exit] += 1
                write(result, number)
            }
            peak.look()
        }

        private fun look() {
            samples += device.sample().also { log?.write(it) }
            peak.look()
            tell(Words(R.string.running, name, samples.size, seconds, totalMs.size))
        }

        /** A sample a second of a device that does nothing else. */
        fun idle(
            forS: Int,
            log: LogWriter?,
        ) {
            val start = clock.nowS()
            for (second in 1..forS) {
                if (cancelled()) return
                tell(Words(R.string.idling, name, second, forS))
                clock.pause((start + second - clock.nowS()).coerceAtLeast(0.0))
                log?.write(device.sample(idle = true))
            }
        }

        private fun image(number: Int) = golden[number % golden.size]

        private fun write(
            result: Result,
            number: Int,
        ) {
            log?.write(ImageRecord.of(result, device.timeS(), "${number % golden.size}"))
        }

        fun measured(loads: List<List<Double>>): Measured {
            if (totalMs.size == 0) throw CancellationException("stopped before the first image")
            val watts = samples.map { it.watts }
            val times = totalMs.toArray()
            return Measured(
                name,
                loads[0].indices.map { stage -> median(loads.map { it[stage] }.toDoubleArray()) },
                times.sortedArray(),
                engineMs / times.sum(),
                exits,
                peak.bytes,
                samples.mapNotNull { it.temperatureC },
                slowdown(times),
                if (watts.all { it != null }) watts.filterNotNull().average() else null,
            )
        }
    }
}

private fun median(times: DoubleArray) = percentile(times.sortedArray(), 0.5)

/** Median of the last tenth of [times] to that of the first; null where a tenth is too few to say. */
internal fun slowdown(times: DoubleArray): Double? {
    val tenth = times.size / 10
    if (tenth < LEAST_TENTH) return null
    return median(times.copyOfRange(times.size - tenth, times.size)) / median(times.copyOf(tenth))
}

/** Numbers that come one after another, 8 bytes each: an hour of images is not kept as objects. */
internal class Doubles {
    private var all = DoubleArray(1024)
    var size = 0
        private set

    operator fun plusAssign(value: Double) {
        if (size == all.size) all = all.copyOf(2 * size)
        all[size++] = value
    }

    fun toArray(): DoubleArray = all.copyOf(size)
}
