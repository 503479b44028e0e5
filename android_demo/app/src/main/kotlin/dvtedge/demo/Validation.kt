package dvtedge.demo

import dvtedge.device.DeviceState
import dvtedge.device.DvtEdgeError
import dvtedge.device.ErrorRecord
import dvtedge.device.ImageRecord
import dvtedge.device.LogWriter
import dvtedge.device.Result
import dvtedge.device.RgbImage
import dvtedge.device.RgbSource
import dvtedge.device.Runtime
import dvtedge.device.StateRecord
import java.io.IOException
import kotlin.math.abs

/** How far an exit's logits are from the bundle's golden ones: the largest error, NaN where one is not finite. */
class ExitError(
    val stage: String,
    val largest: Float,
    val tolerance: Double,
) {
    val passed: Boolean get() = largest <= tolerance
}

/** Every stage on every golden image, against the logits that the bundle was exported with. docs/bundle.md, Golden data. */
fun checkGolden(runtime: Runtime): List<ExitError> {
    val (bundle, manifest) = runtime.bundle to runtime.manifest
    val pixels = manifest.stages.indices.associate { manifest.imageSize(it) to bundle.goldenImages(it) }
    val found = List(manifest.golden.images.toInt()) { image -> runtime.logits { pixels.getValue(it)[image] } }
    return manifest.stages.mapIndexed { exit, stage ->
        val errors = found.zip(bundle.goldenLogits(exit)) { logits, golden -> largestError(logits[exit], golden) }
        val largest = if (errors.any(Float::isNaN)) Float.NaN else errors.max()
        ExitError(stage.name, largest, manifest.golden.tolerance)
    }
}

private fun largestError(
    found: FloatArray,
    golden: FloatArray,
): Float {
    val errors = found.indices.map { abs(found[it] - golden[it]) }
    return if (errors.any(Float::isNaN)) Float.NaN else errors.max()
}

class Logged(
    val answered: Int,
    val unread: Int,
)

/**
 * Each of [images], by its id, through every stage into [log]; what cannot be read or answered becomes an error's record, and is
 * counted. [state] is what the power policy sees of a sample. Throws IOException where the log cannot be written.
 */
fun logImages(
    runtime: Runtime,
    device: Device,
    log: LogWriter,
    images: Sequence<Pair<String, () -> RgbSource>>,
    state: (StateRecord) -> DeviceState,
): Logged {
    var answered = 0
    var unread = 0
    log.write(device.sample(idle = true))
    for ((id, read) in images) {
        val found = orError { runtime.run(read(), state(device.sample()), everyStage = true) }
        if (found is Result) {
            val pixels = log.writePixels(found.pixels)
            log.write(ImageRecord.of(found, device.timeS(), id, pixels))
            answered += 1
        } else {
            log.write(ErrorRecord.of(found as Throwable, device.timeS(), id))
            unread += 1
        }
    }
    log.write(device.sample(idle = true))
    return Logged(answered, unread)
}

/** A [Result], or the error by which an image has none: ours, its provider's, or that there is no memory for it. */
private fun orError(run: () -> Result): Any =
    try {
        run()
    } catch (error: DvtEdgeError) {
        error
    } catch (error: IOException) {
        error.cause as? RuntimeException ?: error // the provider's own: `asking`
    } catch (error: OutOfMemoryError) {
        error
    }

/** The bundle's golden images as [logImages] takes them. */
fun goldenImages(runtime: Runtime): List<Pair<String, () -> RgbSource>> {
    val side = runtime.manifest.imageSize(0).size
    return runtime.bundle.goldenImages().mapIndexed { k, pixels -> "$k" to { RgbImage(side, side, pixels) } }
}
