package dvtedge.device

import java.io.File
import java.nio.ByteBuffer
import java.util.concurrent.atomic.AtomicInteger

/** A small bundle of three stages, three classes and images of 4x4. Its artifacts are no models: [FakeEngine] runs it. */
fun fakeBundle(): CascadeBundle = CascadeBundle.open(File(GOLDEN, "bundles/good-deflated.zip"))

val FAKE_IMAGE = RgbImage(4, 4, ByteArray(48) { it.toByte() })

/**
 * Stages written by hand: stage k gives the logits that [answer] says, once a state of the stage before has been handed on.
 *
 * It counts what is loaded, and which states and stages are open: a test holds them to 0 at its end.
 */
class FakeEngine(
    private val answer: (stage: Int) -> FloatArray = { SURE },
) : LoadStage {
    val loads = AtomicInteger()
    val openStages = AtomicInteger()
    val openStates = AtomicInteger()

    override fun load(
        artifact: Artifact,
        stage: StageSpec,
        backend: String,
        threads: Int,
    ): StageRunner {
        check(artifact.content.isNotEmpty())
        loads.incrementAndGet()
        openStages.incrementAndGet()
        return Stage(stage.name.removePrefix("stage").toInt(), stage, backend)
    }

    private inner class Stage(
        private val index: Int,
        private val spec: StageSpec,
        override val backend: String,
    ) : StageRunner {
        override fun run(
            pixels: ByteBuffer,
            states: Map<String, StageState>,
        ): StageOutput {
            check(pixels.isDirect && pixels.remaining() == 48)
            check(
                states.keys ==
                    spec.inputs
                        .filter { it.role == Role.STATE }
                        .map { it.name }
                        .toSet(),
            )
            check(states.values.all { (it as State).from == index - 1 && it.open })
            val logits = answer(index)
            val given = spec.outputs.filter { it.role == Role.STATE }
            return StageOutput(logits, given.associate { it.name to State(index, it.dtype, it.shape) })
        }

        override fun close() {
            openStages.decrementAndGet()
        }
    }

    private inner class State(
        val from: Int,
        override val dtype: Dtype,
        override val shape: List<Long>,
    ) : StageState {
        var open = true

        init {
            openStates.incrementAndGet()
        }

        override fun close() {
            check(open) { "a state is closed twice" }
            open = false
            openStates.decrementAndGet()
        }
    }

    companion object {
        val SURE = floatArrayOf(0f, 9f, 0f)
        val UNSURE = floatArrayOf(0.1f, 0.2f, 0f)
        val BROKEN = floatArrayOf(Float.NaN, 1f, 0f)
    }
}
