package dvtedge.demo

import dvtedge.device.Artifact
import dvtedge.device.Dtype
import dvtedge.device.EngineError
import dvtedge.device.Role
import dvtedge.device.StageOutput
import dvtedge.device.StageRunner
import dvtedge.device.StageSpec
import dvtedge.device.StageState
import dvtedge.device.TensorSpec
import org.pytorch.executorch.DType
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The library of gradle/libs.versions.toml, as a device log names it: it does not tell its version. */
const val EXECUTORCH = "executorch-android 1.4.0"

/** A stage in ExecuTorch. One call at a time: the method's memory is planned for one. */
class ExecuTorchStageRunner private constructor(
    private val module: Module,
    private val stage: StageSpec,
    override val backend: String,
) : StageRunner {
    private val lock = Any()
    private var closed = false

    override fun run(
        pixels: ByteBuffer,
        states: Map<String, StageState>,
    ): StageOutput {
        val inputs = stage.inputs.map { EValue.from(tensorOf(it, pixels, states)) }.toTypedArray()
        synchronized(lock) {
            val start = System.nanoTime()
            val outputs = module.forward(*inputs)
            val engineMs = (System.nanoTime() - start) / 1e6
            if (outputs.size != stage.outputs.size) {
                throw EngineError("${stage.name}: ${outputs.size} outputs; expected ${stage.outputs.size}")
            }
            // They lie in the method's own memory until its next call: what goes on is copied.
            val values = stage.outputs.zip(outputs) { spec, value -> spec to checked(spec, value.toTensor()) }
            val logits = values.first { (spec, _) -> spec.role == Role.LOGITS }.second.dataAsFloatArray
            val kept = values.filter { (spec, _) -> spec.role == Role.STATE }
            return StageOutput(logits, kept.associate { (spec, tensor) -> spec.name to ExecuTorchState(tensor) }, engineMs)
        }
    }

    private fun tensorOf(
        spec: TensorSpec,
        pixels: ByteBuffer,
        states: Map<String, StageState>,
    ): Tensor =
        when (spec.role) {
            Role.IMAGE -> {
                Tensor.fromBlobUnsigned(pixels.duplicate().order(ByteOrder.nativeOrder()), spec.shape.toLongArray())
            }

            else -> {
                (states.getValue(spec.name) as ExecuTorchState).tensor
            }
        }

    private fun checked(
        spec: TensorSpec,
        tensor: Tensor,
    ): Tensor {
        if (tensor.dtype() != DType.FLOAT || tensor.shape().toList() != spec.shape) {
            throw EngineError(
                "${stage.name}: ${tensor.dtype()} ${tensor.shape().toList()} as '${spec.name}'; expected float32 ${spec.shape}",
            )
        }
        return tensor
    }

    override fun close() =
        synchronized(lock) {
            if (!closed) {
                module.destroy()
                release()
            }
            closed = true
        }

    /** In memory of its own, which goes with it. */
    private class ExecuTorchState(
        from: Tensor,
    ) : StageState {
        val tensor: Tensor = Tensor.fromBlob(from.dataAsFloatArray, from.shape())
        override val dtype get() = Dtype.FLOAT32
        override val shape get() = tensor.shape().toList()

        override fun close() = Unit
    }

    companion object {
        private var threads = 0 // of the one pool that a process has
        private var alive = 0 // modules that hold a pointer to it

        /** Whether the library is in this app. */
        val isThere: Boolean
            get() =
                try {
                    Class.forName("org.pytorch.executorch.Module", false, ExecuTorchStageRunner::class.java.classLoader)
                    true
                } catch (_: ClassNotFoundException) {
                    false
                }

        /**
         * The `forward` of a .pte file, in which [backend] takes part. ExecuTorch reads a path: the verified bytes go into a
         * file of [folder], private to the app, which is open when this returns and has no name any more.
         *
         * Throws [EngineError] where the file names another backend, or stages run with another number of [threads].
         */
        fun load(
            folder: File,
            artifact: Artifact,
            stage: StageSpec,
            backend: String,
            threads: Int,
        ): ExecuTorchStageRunner {
            hold(threads, stage.name)
            var file: File? = null
            var module: Module? = null
            try {
                val path = File.createTempFile("stage", ".pte", folder).also { file = it }
                path.writeBytes(artifact.content)
                val loaded = Module.load(path.path, Module.LOAD_MODE_FILE, threads).also { module = it }
                val found = loaded.getMethodMetadata("forward").backends
                if (backend !in found) {
                    throw EngineError("${stage.name}: ${artifact.name} runs on ${found.toList()}; the bundle says $backend")
                }
                return ExecuTorchStageRunner(loaded, stage, backend)
            } catch (error: Throwable) {
                module?.destroy()
                release()
                throw error
            } finally {
                file?.delete()
            }
        }

        @Synchronized
        private fun hold(
            wanted: Int,
            stage: String,
        ) {
            if (alive > 0 && wanted != threads) {
                throw EngineError(
                    "$stage: $wanted threads; stages with $threads are loaded, and ExecuTorch has one pool a process",
                )
            }
            threads = wanted
            alive += 1
        }

        @Synchronized
        private fun release() {
            alive -= 1
        }
    }
}
