package dvtedge.demo

import android.os.Debug
import dvtedge.device.ImageRecord
import dvtedge.device.LogWriter
import dvtedge.device.Result
import dvtedge.device.RgbImage
import dvtedge.device.Runtime
import dvtedge.device.StateRecord
import dvtedge.device.Thermal

private const val WARM_UP = 20 // images
private const val COLD_LOADS = 3
private const val COOL_C = 37.0

/** What a benchmark of one bundle measured. Times are milliseconds; [watts] is null where it is not one of energy. */
class Measured(
    val bundle: String,
    val loadMs: List<Double>, // of each stage, the median of three cold loads
    val totalMs: List<Double>, // of each image, rising
    val engineShare: Double,
    val exits: IntArray,
    val peakBytes: Long,
    val temperatures: List<Double>, // of the battery, one a second
    val watts: Double?,
) {
    fun percentile(share: Double): Double = totalMs[((totalMs.size - 1) * share).toInt()]
}

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
                peak = maxOf(peak, usedBytes())
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
        check(results.isNotEmpty()) { "stopped before the first image" }
        val watts = samples.map { it.watts }
        return Measured(
            name,
            loads[0].indices.map { stage -> loads.map { it[stage] }.sorted()[COLD_LOADS / 2] },
            results.map { it.totalMs }.sorted(),
            results.sumOf { it.engineMs } / results.sumOf { it.totalMs },
            IntArray(loads[0].size) { exit -> results.count { it.exit == exit } },
            peak,
            samples.mapNotNull { it.temperatureC },
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

    private fun usedBytes(): Long {
        val java = java.lang.Runtime.getRuntime()
        return Debug.getNativeHeapAllocatedSize() + java.totalMemory() - java.freeMemory()
    }
}
