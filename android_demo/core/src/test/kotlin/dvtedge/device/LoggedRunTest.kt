package dvtedge.device

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.TestFactory
import java.io.File

/** Writes a log of a real run, which tests/android/test_kotlin_log.py reads: a loop over two languages. */
class LoggedRunTest {
    private val folder = File(System.getProperty("logs"))
    private val start = System.nanoTime()

    @TestFactory
    fun written() = tests(listOf("onnx-int8", "onnx-fp32").map(::Json), { it.string }) { write(it.string) }

    private fun write(target: String) {
        val bundle = CascadeBundle.open(exportedBundle(target))
        val side = bundle.manifest.preprocessing.size
        val images = File(GOLDEN, "runs/images.bin").readBytes().toList().chunked(3 * side * side)
        val name = "$target.jsonl"
        folder.mkdirs()
        listOf(name, "$name.pixels").forEach { File(folder, it).delete() }
        Runtime(bundle).use { runtime ->
            runtime.prewarm()
            LogWriter(File(folder, name), headerOf(runtime, target, "$name.pixels")).use { log ->
                log.write(sample(idle = true))
                images.forEachIndexed { number, bytes ->
                    val result = runtime.run(RgbImage(side, side, bytes.toByteArray()), everyStage = true)
                    log.write(ImageRecord.of(result, now(), "$number", log.writePixels(result.pixels)))
                }
                log.write(sample(idle = false))
            }
        }
        assertEquals(images.size + 4, File(folder, name).readText().split("\n").size)
    }

    private fun headerOf(
        runtime: Runtime,
        target: String,
        pixels: String,
    ) = LogHeader(
        runtime.bundle.sha256,
        runtime.manifest.artifactsSha256,
        target,
        runtime.manifest.stages.size,
        runtime.labels.size,
        "dvt-edge core 0.2.0",
        OnnxStageRunner.engine(),
        "JVM",
        System.getProperty("os.name"),
        runtime.backends.map(::checkNotNull),
        1,
        PowerSource.UNKNOWN,
        everyStage = true,
        data = "sample:cifar10-test",
        pixels = pixels,
    )

    private fun sample(idle: Boolean) = StateRecord(now(), idle, screenOn = true, charging = false)

    private fun now() = (System.nanoTime() - start) / 1e9
}
