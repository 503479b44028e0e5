package dvtedge.demo

import dvtedge.device.DvtEdgeError
import dvtedge.device.ErrorRecord
import dvtedge.device.ImageRecord
import dvtedge.device.LogWriter
import dvtedge.device.RgbImage
import dvtedge.device.RgbSource
import dvtedge.device.Runtime
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

/** Each of [images], by its id, through every stage into [log]; what cannot be read becomes an error's record, and is counted. */
fun logImages(
    runtime: Runtime,
    device: Device,
    log: LogWriter,
    images: Sequence<Pair<String, () -> RgbSource>>,
): Logged {
    var answered = 0
    var unread = 0
    log.write(device.sample(idle = true))
    for ((id, read) in images) {
        try {
            val result = runtime.run(read(), everyStage = true)
            log.write(ImageRecord.of(result, device.timeS(), id, log.writePixels(result.pixels)))
            answered += 1
        } catch (error: DvtEdgeError) {
            log.write(ErrorRecord.of(error, device.timeS(), id))
            unread += 1
        } catch (_: java.io.IOException) {
            log.write(ErrorRecord(device.timeS(), "DataError", "not a picture that Android decodes", id))
            unread += 1
        } catch (error: OutOfMemoryError) {
            log.write(ErrorRecord.of(error, device.timeS(), id))
            unread += 1
        }
    }
    log.write(device.sample(idle = true))
    return Logged(answered, unread)
}

/** The bundle's golden images as [logImages] takes them. */
fun goldenImages(runtime: Runtime): List<Pair<String, () -> RgbSource>> {
    val side = runtime.manifest.imageSize(0).size
    return runtime.bundle.goldenImages().mapIndexed { k, pixels -> "$k" to { RgbImage(side, side, pixels) } }
}
