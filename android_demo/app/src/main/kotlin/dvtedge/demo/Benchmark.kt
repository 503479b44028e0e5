package dvtedge.demo

import dvtedge.device.ImageRecord
import dvtedge.device.LogWriter
import dvtedge.device.Result
import dvtedge.device.RgbImage
import dvtedge.device.Runtime
import dvtedge.device.StateRecord
import dvtedge.device.Thermal
import java.io.File
import java.util.concurrent.CancellationException
import kotlin.math.ceil

private const val WARM_UP = 20 // images
private const val COLD_LOADS = 3
private const val COOL_C = 37.0
private const val LEAST_TENTH = 10 // images

/** What a benchmark of one bundle measured. Times are milliseconds; [watts] is null where it is not one of energy. */
class Measured(
    val bundle: String,
    val loadMs: List<Double>, // of each stage, the median of three cold loads
    val totalMs: List<Double>, // of each image, rising
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
    rising: List<Double>,
    share: Double,
): Double = rising[(ceil(share * rising.size).toInt() - 1).coerceIn(rising.indices)]

/** Whether the device is cool enough to begin: at most 37 C, as far as it tells, and not throttled. */
fun isCool(sample: StateRecord): Boolean =
    (sample.temperatureC ?: 0.0) <= COOL_C && (sample.thermal ?: Thermal.NOMINAL) <= Thermal.FAIR

/**
 * Runs the bundle's golden images again and again for [seconds], with their real mix of exits, after a warm-up; a sample of
 * the device once a second. [progress] is told the seconds and images so far; [cancelled] is asked before each image.
 */
class Benchmark(
    private val device: Device,
    private val seconds: Int,
    private val progress: (Int, Int) -> Unit,
    private val cancelled: () -> Boolean,
) {
    fun run(
        name: String,
        runtime: Runtime,
        log: LogWriter?,
    ): Measured {
        val loads = List(COLD_LOADS) { coldLoads(runtime) }
        val side = runtime.manifest.imageSize(0).size
        val images = runtime.bundle.goldenImages().map { RgbImage(side, side, it) }
        repeat(WARM_UP) { runtime.run(images[it % images.size]) }
        val samples = ArrayList<StateRecord>()
        val results = ArrayList<Result>()
        var peak = 0L
        val start = System.nanoTime()
        val ran = { (System.nanoTime() - start) / 1e9 }
        while (ran() < seconds && !cancelled()) {
            if (samples.size <= ran()) {
                samples += device.sample().also { log?.write(it) }
                peak = maxOf(peak, residentBytes())
                progress(samples.size, results.size)
            }
            val number = results.size
            results += runtime.run(images[number % images.size])
            log?.write(ImageRecord.of(results.last(), device.timeS(), "${number % images.size}"))
        }
        return measured(name, loads, results, samples, peak)
    }

    private fun measured(
        name: String,
        loads: List<List<Double>>,
        results: List<Result>,
        samples: List<StateRecord>,
        peak: Long,
    ): Measured {
        if (results.isEmpty()) throw CancellationException("stopped before the first image")
        val watts = samples.map { it.watts }
        val times = results.map { it.totalMs }
        return Measured(
            name,
            loads[0].indices.map { stage -> median(loads.map { it[stage] }) },
            times.sorted(),
            results.sumOf { it.engineMs } / results.sumOf { it.totalMs },
            IntArray(loads[0].size) { exit -> results.count { it.exit == exit } },
            peak,
            samples.mapNotNull { it.temperatureC },
            slowdown(times),
            if (watts.all { it != null }) watts.filterNotNull().average() else null,
        )
    }

    /** Each stage's load in a runtime that had none loaded; the system may have its file in its cache. */
    private fun coldLoads(runtime: Runtime): List<Double> {
        runtime.unload()
        return runtime.manifest.stages.indices.map { stage ->
            val start = System.nanoTime()
            runtime.load(stage)
            (System.nanoTime() - start) / 1e6
        }
    }
}

private fun median(times: List<Double>) = percentile(times.sorted(), 0.5)

/** Median of the last tenth of [times] to that of the first; null where a tenth is too few to say. */
internal fun slowdown(times: List<Double>): Double? {
    val tenth = times.size / 10
    return if (tenth < LEAST_TENTH) null else median(times.takeLast(tenth)) / median(times.take(tenth))
}

/** What of the process is in memory now, the engine's part too: Linux's VmRSS. */
internal fun residentBytes(): Long =
    File("/proc/self/status").useLines { lines ->
        lines.first { it.startsWith("VmRSS:") }.filter(Char::isDigit).toLong() * 1024
    }
