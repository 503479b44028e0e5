package dvtedge.device

import java.nio.ByteBuffer
import java.util.concurrent.CancellationException

/** What a stage runs: the files at and below [name], by their paths in the bundle. Bytes, not a path: they were verified. */
class Artifact(
    val name: String,
    val files: Map<String, ByteArray>,
) {
    /** Of an artifact that is one file. Throws [EngineError] of a folder. */
    val content: ByteArray get() = files[name] ?: throw EngineError("$name: a folder; expected a file")
}

/** A state that a stage gave, in the engine's own memory: the next stage takes it as it came. Who has it closes it, once. */
interface StageState : AutoCloseable {
    val dtype: Dtype
    val shape: List<Long>
}

/** [logits] are (classes,) float32 of the array's own; [states] are by name; [engineMs] went by inside the engine. */
class StageOutput(
    val logits: FloatArray,
    val states: Map<String, StageState> = emptyMap(),
    val engineMs: Double = 0.0,
)

/** A loaded stage. Safe to call from several threads; it is closed when none of them is inside. */
interface StageRunner : AutoCloseable {
    /** What really runs it, as the engine says. */
    val backend: String

    /** [pixels] are (size, size, 3) uint8 RGB in a direct buffer; they and the [states], by name, stay the caller's. */
    fun run(
        pixels: ByteBuffer,
        states: Map<String, StageState>,
    ): StageOutput
}

/** How an engine loads a stage on `backend`, where a stage may use `threads` threads, with no silent fallback. */
fun interface LoadStage {
    fun load(
        artifact: Artifact,
        stage: StageSpec,
        backend: String,
        threads: Int,
    ): StageRunner
}

/** Throws [EngineError] for an engine that is not in this library: an app gives its own [LoadStage] then. */
fun loaderOf(engine: Engine): LoadStage =
    when (engine) {
        Engine.ONNXRUNTIME -> LoadStage(OnnxStageRunner::load)
        else -> throw EngineError("a bundle for the engine ${engine.name.lowercase()}, which this app lacks")
    }

/**
 * The boundary to an engine: whatever it throws is an [EngineError] beyond it, memory that ran out too, and its outputs are
 * what the manifest declares.
 */
internal class CheckedRunner private constructor(
    private val runner: StageRunner,
    private val stage: StageSpec,
) : StageRunner {
    override val backend get() = runner.backend
    private val classes =
        stage.outputs
            .first { it.role == Role.LOGITS }
            .shape
            .last()
    private val states = stage.outputs.filter { it.role == Role.STATE }

    override fun run(
        pixels: ByteBuffer,
        states: Map<String, StageState>,
    ): StageOutput {
        val output = guarded("${stage.name}: ${stage.artifact} did not run") { runner.run(pixels, states) }
        val wrong = wrongIn(output) ?: return output
        output.states.values.forEach(StageState::close)
        throw EngineError("${stage.name}: ${stage.artifact} gave $wrong")
    }

    private fun wrongIn(output: StageOutput): String? {
        if (output.logits.size.toLong() != classes) return "${output.logits.size} logits; expected $classes"
        for (tensor in states) {
            val found = output.states[tensor.name]
            if (found == null || found.dtype != tensor.dtype || found.shape != tensor.shape) {
                val words = if (found == null) "nothing" else "${found.dtype} ${found.shape}"
                return "$words as '${tensor.name}'; expected ${tensor.dtype} ${tensor.shape}"
            }
        }
        return null
    }

    override fun close() = runner.close()

    companion object {
        fun load(
            loader: LoadStage,
            stage: StageSpec,
            backend: String,
            threads: Int,
            artifact: () -> Artifact,
        ): StageRunner =
            guarded("${stage.name}: ${stage.artifact} cannot be loaded") {
                CheckedRunner(loader.load(artifact(), stage, backend, threads), stage)
            }

        private fun <T> guarded(
            what: String,
            call: () -> T,
        ): T =
            try {
                call()
            } catch (error: DvtEdgeError) {
                throw error
            } catch (error: CancellationException) {
                throw error
            } catch (error: Exception) {
                throw EngineError("$what (${cause(error)})", error)
            } catch (error: OutOfMemoryError) {
                throw EngineError("$what (out of memory)", error)
            } catch (error: LinkageError) {
                // the engine's library is not in the app
                throw EngineError("$what (${cause(error)})", error)
            }
    }
}
