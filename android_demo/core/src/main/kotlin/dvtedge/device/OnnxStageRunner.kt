package dvtedge.device

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtProvider
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import java.nio.ByteBuffer

private const val NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
private val PROVIDERS = setOf(OrtProvider.CPU, OrtProvider.XNNPACK, OrtProvider.QNN)
private val DTYPES =
    mapOf(
        OnnxJavaType.UINT8 to Dtype.UINT8,
        OnnxJavaType.FLOAT16 to Dtype.FLOAT16,
        OnnxJavaType.FLOAT to Dtype.FLOAT32,
    )

/** A stage in ONNX Runtime, whose Java API is the same on a JVM and on Android. */
class OnnxStageRunner private constructor(
    private val environment: OrtEnvironment,
    private val session: OrtSession,
    private val stage: StageSpec,
    override val backend: String,
) : StageRunner {
    private val logits = stage.outputs.first { it.role == Role.LOGITS }.name
    private val image = stage.inputs.first { it.role == Role.IMAGE }
    private val wanted = stage.outputs.map { it.name }.toSet()
    private val shape = image.shape.toLongArray()

    override fun run(
        pixels: ByteBuffer,
        states: Map<String, StageState>,
    ): StageOutput =
        OnnxTensor.createTensor(environment, pixels, shape, OnnxJavaType.UINT8).use { tensor ->
            val inputs = states.mapValues { (it.value as OnnxState).tensor } + (image.name to tensor)
            val start = System.nanoTime()
            val result = session.run(inputs, wanted)
            outputOf(result, (System.nanoTime() - start) / 1e6)
        }

    /** The states keep their memory, the logits are copied out of theirs. */
    private fun outputOf(
        result: OrtSession.Result,
        engineMs: Double,
    ): StageOutput {
        val tensors = result.associate { it.key to it.value as OnnxTensor }
        val values =
            tensors.getValue(logits).use { tensor ->
                tensor.floatBuffer.let { FloatArray(it.remaining()).also(it::get) }
            }
        return StageOutput(values, (tensors - logits).mapValues { OnnxState(it.value) }, engineMs)
    }

    override fun close() = session.close()

    private class OnnxState(
        val tensor: OnnxTensor,
    ) : StageState {
        override val dtype get() = DTYPES.getValue(tensor.info.type)
        override val shape get() = tensor.info.shape.toList()

        override fun close() = tensor.close()
    }

    companion object {
        /** The engine's name and version, as a device log has them. */
        fun engine(): String = "onnxruntime ${environmentWithoutTelemetry().version}"

        /** The providers of this ONNX Runtime that [load] takes. NNAPI is none of them: Android 15 deprecates it. */
        fun backends(): List<String> {
            environmentWithoutTelemetry()
            return OrtEnvironment.getAvailableProviders().filter { it in PROVIDERS }.map { it.getName() }
        }

        /**
         * A session of [threads] threads on the provider [backend], with no silent fallback to the CPU: with [mayFallBack]
         * the CPU takes the operators that the provider lacks, and [StageRunner.backend] says so.
         *
         * ORT_DISABLE_TELEMETRY=1 must be in the environment before the library loads, or it writes into the user's cache
         * folder: on a phone by `android.system.Os.setenv`, on a JVM by whoever starts it. Throws [EngineError] where it is
         * not, where the provider is absent, the model does not load, or its tensors are not the manifest's.
         */
        fun load(
            artifact: Artifact,
            stage: StageSpec,
            backend: String,
            threads: Int,
            mayFallBack: Boolean = false,
        ): OnnxStageRunner {
            val environment = environmentWithoutTelemetry()
            val session =
                try {
                    optionsOf(stage, backend, threads, mayFallBack).use { environment.createSession(artifact.content, it) }
                } catch (error: OrtException) {
                    throw EngineError("${stage.name}: onnxruntime cannot load ${artifact.name} (${cause(error)})", error)
                }
            try {
                checkTensors(session, stage, artifact)
            } catch (error: Exception) {
                session.close()
                throw error
            }
            val cpu = OrtProvider.CPU.getName()
            val ran = if (mayFallBack && backend != cpu) "$backend, what it lacks: $cpu" else backend
            return OnnxStageRunner(environment, session, stage, ran)
        }

        private fun environmentWithoutTelemetry(): OrtEnvironment {
            if (System.getenv(NO_TELEMETRY) != "1") {
                throw EngineError("set $NO_TELEMETRY=1 in the environment before ONNX Runtime is loaded")
            }
            return OrtEnvironment.getEnvironment()
        }

        private fun optionsOf(
            stage: StageSpec,
            backend: String,
            threads: Int,
            mayFallBack: Boolean,
        ): OrtSession.SessionOptions {
            val available = OrtEnvironment.getAvailableProviders().associateBy { it.getName() }
            val provider = available[backend]
            val options = OrtSession.SessionOptions()
            options.setIntraOpNumThreads(threads)
            options.setInterOpNumThreads(1)
            options.setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR)
            when (provider) {
                OrtProvider.CPU -> {}

                OrtProvider.XNNPACK -> {
                    options.addXnnpack(mapOf("intra_op_num_threads" to "$threads"))
                }

                OrtProvider.QNN -> {
                    options.addQnn(mapOf("backend_type" to "htp"))
                }

                else -> {
                    options.close()
                    throw EngineError("${stage.name}: this onnxruntime lacks the provider $backend; it has: ${available.keys}")
                }
            }
            if (provider != OrtProvider.CPU && !mayFallBack) options.addConfigEntry("session.disable_cpu_ep_fallback", "1")
            return options
        }

        private fun checkTensors(
            session: OrtSession,
            stage: StageSpec,
            artifact: Artifact,
        ) {
            val found =
                (session.inputInfo + session.outputInfo).map { (name, node) ->
                    val tensor = node.info as? TensorInfo
                    Triple(name, DTYPES[tensor?.type], tensor?.shape?.toList())
                }
            val expected = (stage.inputs + stage.outputs).map { Triple(it.name, it.dtype, it.shape) }
            if (found != expected) {
                throw EngineError("${stage.name}: ${artifact.name} has the tensors $found; the manifest says $expected")
            }
        }
    }
}
