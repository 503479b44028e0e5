package dvtedge.device

import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.io.InputStream

/** The example of README.md, which tests/android/test_versions.py holds against these lines, compiled and run. */
class ReadmeTest {
    @TempDir
    lateinit var noBackupFilesDir: File

    private object Assets {
        fun open(name: String): InputStream = File(System.getProperty("bundles"), name.substringAfterLast('/')).inputStream()
    }

    @Test
    fun example() {
        exportedBundle("onnx-int8")
        val assets = Assets
        val (width, height) = 60 to 40
        val rgb = ByteArray(3 * width * height)
        val printed = ArrayList<String>()
        val println = { words: String -> printed += words }

        val bundle = CascadeBundle.open(assets.open("bundles/onnx-int8.zip"), File(noBackupFilesDir, "onnx-int8.zip"))
        Runtime(bundle).use { runtime ->
            val result = runtime.run(RgbImage(width, height, rgb), DeviceState(maxStage = 1))
            println("${result.labelName}, exit ${result.exit}, ${result.totalMs} ms")
        }

        assertTrue(Regex("""\w+, exit [01], [\d.]+ ms""").matches(printed.single()), "$printed")
    }
}
