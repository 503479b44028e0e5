package dvtedge.device

import java.io.File

/**
 * What `android_demo/benchmark.py` runs: it has Pillow's side.
 *
 *     resize PIXELS WIDTH HEIGHT SIZE RESIZE OUT    for each line on stdin one resize; its milliseconds. At the end the pixels
 *     glue BUNDLE IMAGES                            what the runtime takes an image beside preprocessing and ONNX Runtime
 */
fun main(args: Array<String>) =
    when (args[0]) {
        "resize" -> {
            resize(
                File(args[1]),
                args[2].toInt(),
                args[3].toInt(),
                ImageSize(args[4].toInt(), args[5].toInt()),
                File(args[6]),
            )
        }

        else -> {
            glue(CascadeBundle.open(File(args[1])), args[2].toInt())
        }
    }

private fun resize(
    pixels: File,
    width: Int,
    height: Int,
    spec: ImageSize,
    out: File,
) {
    val image = RgbImage(width, height, pixels.readBytes())
    generateSequence(::readlnOrNull).forEach { _ ->
        val start = System.nanoTime()
        val made = preprocess(image, spec)
        println((System.nanoTime() - start) / 1e6)
        out.writeBytes(made)
    }
}

/** Prints the quarters of the milliseconds beside preprocessing and the engine, of the second half of the images. */
private fun glue(
    bundle: CascadeBundle,
    images: Int,
) {
    val side = bundle.manifest.preprocessing.size
    val image = RgbImage(side, side, ByteArray(3 * side * side) { it.toByte() })
    val never = bundle.manifest.stages.map { 2.0 }
    Runtime(bundle, thresholds = never).use { runtime ->
        val around = List(images) { runtime.run(image).glueMs }.drop(images / 2).sorted()
        println(listOf(1, 2, 3).joinToString(" ") { "${around[it * around.size / 4]}" })
    }
}
