package dvtedge.device

import java.io.File

/**
 * What tests/android/test_kotlin_bundles.py runs: for each line on stdin, a bundle's path in JSON, what opening it and
 * reading it whole ends with, as `["opens", ""]` or the name and the message of an error of ours. Nothing else is caught.
 */
fun main() =
    generateSequence(::readlnOrNull).forEach { line ->
        val path = File(parseJson(line.toByteArray(), "stdin") as String)
        val (name, message) =
            try {
                readWhole(CascadeBundle.open(path))
                "opens" to ""
            } catch (error: BundleError) {
                error.name to error.message!!
            }
        println("""["$name", "${escaped(message)}"]""")
    }

private fun readWhole(bundle: CascadeBundle) {
    bundle.labels
    for (stage in bundle.manifest.stages.indices) {
        if (bundle.manifest.golden.images > 0) bundle.goldenImages(stage) to bundle.goldenLogits(stage)
        bundle.artifact(stage)
    }
}

private fun escaped(text: String) =
    text.map { if (it in ' '..'~' && it !in "\"\\") "$it" else "\\u%04x".format(it.code) }.joinToString("")
