package dvtedge.device

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import kotlin.math.abs

/** The shipped cascade in real ONNX Runtime: the answers that Python gave. */
class WholeRunsTest {
    @TempDir
    lateinit var folder: File

    private val targets = listOf("onnx-int8", "onnx-fp32")

    @TestFactory
    fun atEveryOperatingPoint() =
        targets.flatMap { target ->
            val golden = golden("runs/$target.json")
            val points = golden["points"].value as Map<*, *>
            tests(points.keys.map(::Json), { "$target at ${it.string}" }) { point -> run(target, golden, point.string) }
        }

    private fun run(
        target: String,
        golden: Json,
        point: String,
    ) {
        val bundle = CascadeBundle.open(exportedBundle(target))
        val answers = golden["points"][point]["answers"].list
        val thresholds = golden["points"][point]["thresholds"].doubles
        // An export finds them on logits of its own machine: docs/golden.md.
        val own = bundle.manifest.operatingPoint(point).thresholds
        assertTrue(own.zip(thresholds) { a, b -> abs(a - b) }.max() <= golden["tolerance"].double / 2, "$own; not $thresholds")
        Runtime(bundle, thresholds = thresholds).use { runtime ->
            val results = images(bundle).map(runtime::run)
            assertEquals(answers.map { it["exit"].int to it["label"].int }, results.map { it.exit to it.label })
            val furthest = answers.zip(results) { answer, result -> abs(answer["confidence"].double - result.confidence) }.max()
            assertTrue(furthest <= golden["tolerance"].double / 2, "a confidence differs by $furthest")
            val ran = runtime.backends.filterNotNull()
            assertEquals(List(results.maxOf { it.confidences.size }) { bundle.manifest.backend }, ran)
        }
    }

    @TestFactory
    fun logits() =
        tests(targets.map(::Json), { it.string }) { target ->
            val golden = golden("runs/${target.string}.json")
            val bundle = CascadeBundle.open(exportedBundle(target.string))
            Runtime(bundle).use { runtime ->
                images(bundle).zip(golden["logits"].list) { image, expected ->
                    val found = runtime.logits { preprocess(image, it) }
                    for (exit in found.indices) {
                        assertArrayEquals(expected.list[exit].floats, found[exit], golden["tolerance"].double.toFloat())
                    }
                }
            }
        }

    /** What any app checks first: the bundle's own golden logits, out of its folder and its .zip. */
    @TestFactory
    fun theBundlesOwnGoldenLogits() =
        tests((targets + targets.map { "$it.zip" }).map(::Json), { it.string }) { name ->
            exportedBundle(name.string.removeSuffix(".zip"))
            val bundle = CascadeBundle.open(File(System.getProperty("bundles"), name.string))
            val tolerance =
                bundle.manifest.golden.tolerance
                    .toFloat()
            Runtime(bundle).use { runtime ->
                bundle.goldenImages().forEachIndexed { k, pixels ->
                    val found = runtime.logits { pixels }
                    for (exit in found.indices) assertArrayEquals(bundle.goldenLogits(exit)[k], found[exit], tolerance)
                }
            }
        }

    /** From a stream, as an app's assets are. */
    @Test
    fun fromAStream() {
        exportedBundle("onnx-int8")
        val zip = File(System.getProperty("bundles"), "onnx-int8.zip")
        val bundle = CascadeBundle.open(zip.inputStream(), File(folder, "copy.zip"))
        Runtime(bundle).use { assertEquals(10, it.run(images(bundle).first()).logits[0].size) }
    }

    /** An artifact that is no model, a provider that is not there, and tensors of another manifest: one line each. */
    @Test
    fun whatOnnxRuntimeDoesNotTake() {
        val bundle = CascadeBundle.open(exportedBundle("onnx-fp32"))
        val (first, second) = bundle.manifest.stages
        val backend = bundle.manifest.backend
        val noModel = Artifact("x.onnx", mapOf("x.onnx" to ByteArray(100)))
        assertThrows<EngineError> { OnnxStageRunner.load(noModel, first, backend, 1) }
        assertThrows<EngineError> { OnnxStageRunner.load(bundle.artifact(0), first, "NnapiExecutionProvider", 1) }
        val error = assertThrows<EngineError> { OnnxStageRunner.load(bundle.artifact(0), second, backend, 1) }
        assertTrue("the manifest says" in error.message!!)
        assertThrows<EngineError> { OnnxStageRunner.load(Artifact("x", emptyMap()), first, backend, 1) }
    }

    private fun images(bundle: CascadeBundle): List<RgbImage> {
        val side = bundle.manifest.preprocessing.size
        val content = File(GOLDEN, "runs/images.bin").readBytes().toList()
        return content.chunked(3 * side * side).map { RgbImage(side, side, it.toByteArray()) }
    }
}
