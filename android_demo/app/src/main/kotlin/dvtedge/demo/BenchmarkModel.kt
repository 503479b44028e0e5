package dvtedge.demo

import android.content.Context
import dvtedge.device.StateRecord
import java.io.File
import java.util.concurrent.CancellationException

/** A string of the resources with its values: said in the language of whoever shows it. */
class Words(
    private val id: Int,
    private vararg val values: Any,
) {
    fun of(context: Context): String = context.getString(id, *values)
}

/**
 * A benchmark of every installed bundle, one after the other: int8 is not always the faster one on a phone. A rotation keeps it.
 * Its properties change on the main thread, with [Session.changed].
 */
class BenchmarkModel(
    private val context: Context,
    private val session: Session,
) {
    /** Either what was [measured] of a bundle, or why nothing was. */
    class Found(
        val bundle: String,
        val measured: Measured? = null,
        val problem: String? = null,
    )

    private class Job(
        val seconds: Int,
        val idleS: Int,
    ) {
        @Volatile
        var cancelled = false
    }

    private var job: Job? = null
    val running: Boolean get() = job != null
    var status: Words? = null
        private set
    var found = emptyList<Found>()
        private set
    var logs = emptyList<File>()
        private set

    /** [seconds] for each bundle, or for [only] that one; before and after each the idle device for [idleS]. */
    fun begin(
        seconds: Int,
        only: String? = null,
        idleS: Int = IDLE_S,
    ) {
        if (session.isBusy || session.state !is Ready) return
        val job = Job(seconds, idleS).also { this.job = it }
        found = emptyList()
        logs = emptyList()
        session.background({ ready -> measureAll(job, ready, only) }) { result ->
            this.job = null
            val problem = result.exceptionOrNull()
            say(
                when (problem) {
                    null -> Words(R.string.log_at, "${logFolder(context)}")
                    is CancellationException -> Words(R.string.stopped)
                    else -> Words(R.string.failed, problem.message.orEmpty())
                },
            )
        }
        session.changed()
    }

    fun stop() {
        job?.cancelled = true
    }

    private fun say(words: Words) {
        status = words
        session.changed()
    }

    private fun measureAll(
        job: Job,
        open: Ready,
        only: String?,
    ) {
        open.runtime.unload() // its stages are no part of another bundle's memory
        for (name in only?.let(::listOf) ?: session.bundles.names()) {
            waitUntilCool(job)
            try {
                // The one that is open runs as it was opened, on the backend that was chosen.
                session.openReady(name, open.backend.takeIf { name == open.name }).use { measure(job, it) }
            } catch (error: CancellationException) {
                throw error
            } catch (error: Exception) {
                fail(name, error.message.orEmpty())
            } catch (_: OutOfMemoryError) {
                fail(name, context.getString(R.string.out_of_memory))
            }
            if (job.cancelled) throw CancellationException()
        }
    }

    private fun fail(
        name: String,
        problem: String,
    ) = session.post { found = found + Found(name, problem = problem) }

    private fun measure(
        job: Job,
        ready: Ready,
    ) {
        val (file, log) = newLog(context, ready, session.device, "benchmark", everyStage = false)
        session.post { logs = logs + file }
        val tell = { words: Words -> session.post { say(words) } }
        val state = { sample: StateRecord -> ready.state(sample, session.lifetimeS) }
        val benchmark = Benchmark(session.device, job.seconds, job.idleS, tell, state = state) { job.cancelled }
        val measured = log.use { benchmark.run(ready.name, ready.runtime, it) }
        session.post { found = found + Found(ready.name, measured) }
    }

    private fun waitUntilCool(job: Job) {
        while (true) {
            if (job.cancelled) throw CancellationException()
            val sample = session.device.sample()
            if (isCool(sample)) return
            val seen = "${sample.temperatureC ?: "?"} °C, ${sample.thermal?.name?.lowercase()}"
            session.post { say(Words(R.string.waiting_cool, seen)) }
            Thread.sleep(1000)
        }
    }

    companion object {
        const val IDLE_S = 60 // docs/device-log.md: a minute before and after the images
    }
}
