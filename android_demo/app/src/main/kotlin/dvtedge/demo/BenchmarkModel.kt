package dvtedge.demo

import android.content.Context
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

    /** [seconds] for each bundle, or for [only] that one. */
    fun begin(
        seconds: Int,
        only: String? = null,
    ) {
        if (running || session.state !is Ready) return
        val job = Job(seconds).also { this.job = it }
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
        for (name in only?.let(::listOf) ?: session.bundles.names()) {
            waitUntilCool(job)
            try {
                // The one that is open runs as it was opened, on the backend that was chosen.
                session.openReady(name, open.backend.takeIf { name == open.name }).use { measure(job, it) }
            } catch (error: CancellationException) {
                throw error
            } catch (error: Exception) {
                session.post { found = found + Found(name, problem = error.message.orEmpty()) }
            }
            if (job.cancelled) throw CancellationException()
        }
    }

    private fun measure(
        job: Job,
        ready: Ready,
    ) {
        val (file, log) = newLog(context, ready, session.device, "benchmark", everyStage = false)
        session.post { logs = logs + file }
        val progress = { s: Int, images: Int ->
            session.post { say(Words(R.string.running, ready.name, s, job.seconds, images)) }
        }
        val measured =
            log.use { Benchmark(session.device, job.seconds, progress) { job.cancelled }.run(ready.name, ready.runtime, it) }
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
}
