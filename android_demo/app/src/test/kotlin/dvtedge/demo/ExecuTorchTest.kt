package dvtedge.demo

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import dvtedge.device.EngineError
import dvtedge.device.Runtime
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Test
import org.pytorch.executorch.DType
import org.pytorch.executorch.EValue
import org.pytorch.executorch.MadeUpProgram
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import java.io.File
import java.nio.ByteBuffer
import java.util.zip.ZipEntry
import java.util.zip.ZipFile
import java.util.zip.ZipOutputStream

/**
 * The runner for ExecuTorch between the app and hand-written signatures: order and form of tensors, states, threads, files, and
 * what is closed. Behind them a stage is run by ONNX Runtime, so that right wiring gives the golden logits. No ExecuTorch runs.
 */
class ExecuTorchTest : AppTest() {
    private val alive = ArrayList<String>()
    private val asked = ArrayList<List<Any>>()
    private var metadata: () -> Array<String> = { arrayOf("XnnpackBackend") }

    private inner class ByOnnx(
        private val path: String,
    ) : MadeUpProgram {
        private val environment = OrtEnvironment.getEnvironment()
        private val session = environment.createSession(File(path).readBytes())
        override val backends get() = metadata()

        override fun forward(inputs: List<EValue>): List<EValue> {
            val tensors =
                session.inputInfo.keys.zip(inputs.map(EValue::toTensor)).associate { (name, tensor) -> name to onnxOf(tensor) }
            return session.run(tensors).use { found -> found.map { (_, value) -> EValue.from(tensorOf(value as OnnxTensor)) } }
        }

        private fun onnxOf(tensor: Tensor): OnnxTensor =
            if (tensor.dtype() == DType.UINT8) {
                val bytes = ByteBuffer.wrap(tensor.dataAsUnsignedByteArray)
                OnnxTensor.createTensor(environment, bytes, tensor.shape(), OnnxJavaType.UINT8)
            } else {
                OnnxTensor.createTensor(environment, java.nio.FloatBuffer.wrap(tensor.dataAsFloatArray), tensor.shape())
            }

        private fun tensorOf(value: OnnxTensor): Tensor {
            val numbers = value.floatBuffer.let { FloatArray(it.remaining()).also(it::get) }
            return Tensor.fromBlob(numbers, value.info.shape)
        }

        override fun destroy() {
            session.close()
            alive -= path
        }
    }

    @Before
    fun putBehindTheSignatures() {
        Module.madeUp = { path, mode, threads ->
            asked += listOf(mode, threads)
            alive += path
            ByOnnx(path)
        }
    }

    @After
    fun takeAway() {
        Module.madeUp = null
    }

    /** The float32 bundle, as if ExecuTorch were to run it on [backend]. */
    private fun push(backend: String = "XnnpackBackend"): String {
        val made = File(app.getExternalFilesDir("bundles"), "executorch.zip")
        ZipFile(File(System.getProperty("bundles"), "onnx-fp32.zip")).use { zip ->
            ZipOutputStream(made.outputStream()).use { out ->
                for (entry in zip.entries()) {
                    var content = zip.getInputStream(entry).readBytes()
                    if (entry.name == "manifest.json") {
                        val text = String(content).replace("\"onnxruntime\"", "\"executorch\"")
                        content = text.replace("\"CPUExecutionProvider\"", "\"$backend\"").toByteArray()
                    }
                    out.putNextEntry(ZipEntry(entry.name))
                    out.write(content)
                }
            }
        }
        return made.name
    }

    @Test
    fun runsABundle() {
        start(android.content.Intent().putExtra("run", "validate").putExtra("bundle", push())).use { controller ->
            assertEquals(words(controller.get()), 3, "passed".toRegex().findAll(words(controller.get())).count())
            val header = File(logFolder(app), "validate-1.jsonl").readLines().first()
            assertTrue(
                header,
                """"engine":"$EXECUTORCH"""" in header && """["XnnpackBackend","XnnpackBackend","XnnpackBackend"]""" in header,
            )
            assertEquals(List(3) { listOf(Module.LOAD_MODE_FILE, 1) }, asked)
            assertEquals(3, alive.size)
            assertTrue(alive.none { File(it).exists() })
            runtime.unload()
            assertEquals(emptyList<String>(), alive)
        }
    }

    /** ExecuTorch has one pool of threads a process, and loaded stages keep a pointer to it. */
    @Test
    fun oneNumberOfThreadsAProcess() {
        push()
        val bundle = session.bundles.open("executorch.zip")
        val load = Engines(app.cacheDir).loader(bundle.manifest, "XnnpackBackend")
        Runtime(bundle, loader = load).use { one ->
            one.load(0)
            Runtime(bundle, threads = 2, loader = load).use { two -> assertThrows(EngineError::class.java) { two.load(0) } }
            one.load(1)
        }
        Runtime(bundle, threads = 2, loader = load).use { it.load(0) }
        assertEquals(emptyList<String>(), alive)
    }

    /** A stage that does not load keeps neither its module nor its number of threads, wherever it fails. */
    @Test
    fun whatDoesNotLoadKeepsNothing() {
        push()
        val bundle = session.bundles.open("executorch.zip")
        val nowhere = Engines(File(app.cacheDir, "nowhere")).loader(bundle.manifest, "XnnpackBackend")
        Runtime(bundle, threads = 3, loader = nowhere).use { assertThrows(EngineError::class.java) { it.load(0) } }
        val load = Engines(app.cacheDir).loader(bundle.manifest, "XnnpackBackend")
        metadata = { error("no such method") }
        Runtime(bundle, threads = 2, loader = load).use { assertThrows(EngineError::class.java) { it.load(0) } }
        assertEquals(emptyList<String>(), alive)
        metadata = { arrayOf("XnnpackBackend") }
        Runtime(bundle, threads = 1, loader = load).use { it.load(0) }
        assertEquals(emptyList<String>(), app.cacheDir.list { _, name -> name.endsWith(".pte") }!!.toList())
    }

    /** A file for another backend, and an app without the library: one line each, and nothing stays. */
    @Test
    fun whatIsNotThereIsSaid() {
        push("VulkanBackend")
        val bundle = session.bundles.open("executorch.zip")
        val load = Engines(app.cacheDir).loader(bundle.manifest, "VulkanBackend")
        Runtime(bundle, loader = load).use { runtime ->
            val other = assertThrows(EngineError::class.java) { runtime.load(0) }
            assertTrue(other.message, "runs on [XnnpackBackend]; the bundle says VulkanBackend" in other.message!!)
            Module.madeUp = null
            val none = assertThrows(EngineError::class.java) { runtime.load(0) }
            assertTrue(none.message, "UnsatisfiedLinkError" in none.message!!)
        }
        assertEquals(emptyList<String>(), alive)
        assertEquals(emptyList<String>(), app.cacheDir.list { _, name -> name.endsWith(".pte") }!!.toList())
    }
}
