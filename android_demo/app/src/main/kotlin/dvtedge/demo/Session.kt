package dvtedge.demo

import android.app.Application
import android.net.Uri
import android.os.Handler
import android.os.Looper
import dvtedge.device.DvtEdgeError
import dvtedge.device.Result
import dvtedge.device.RgbSource
import dvtedge.device.Runtime
import dvtedge.device.SchemaError
import java.io.IOException
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicBoolean

/**
 * What the app has of a bundle: one runtime, one worker, and what came of the images. It outlives activities, so that a
 * rotation keeps it. Public properties change on the main thread, and [changed] is called there after each change.
 */
class Session(
    private val app: Application,
    val bundles: Bundles,
    private val engines: Engines,
) : AutoCloseable {
    sealed interface State

    data object Opening : State

    data object Missing : State

    class Failed(
        val message: String,
    ) : State

    val device = Device(app)
    val worker = Executors.newSingleThreadExecutor { Thread(it, "dvt-edge") }
    val benchmark = BenchmarkModel(app, this)
    val validate = ValidateModel(app, this)
    private val main = Handler(Looper.getMainLooper())
    private val busy = AtomicBoolean()

    var changed: () -> Unit = {}
    var state: State = Opening
        private set
    var last: Result? = null
        private set
    var lastError: String? = null
        private set
    var watts: Double? = null // of the device, right after the last image
        private set
    var answered = 0
        private set
    var failed = 0
        private set
    var dropped = 0
        private set
    var exits = IntArray(0)
        private set

    /** The stages were unloaded, and no image has been answered since. */
    var shortOfMemory = false
        private set

    /** The point that the user chose; null leaves it to the policy. */
    var override: String? = null

    @Volatile
    private var deadlineS: Double? = null // by the device's clock

    /** The seconds that the battery still has to last; null without a target, and once it has lasted so long. From any thread. */
    var lifetimeS: Double?
        get() = deadlineS?.let { it - device.timeS() }?.takeIf { it > 0 }
        set(value) {
            deadlineS = value?.let { device.timeS() + it }
        }

    /** A benchmark or a validation has the worker. */
    val isBusy: Boolean get() = benchmark.running || validate.running

    fun openFirst() {
        val name = bundles.names().firstOrNull()
        if (name == null) set(Missing) else open(name)
    }

    /** Open a bundle in place of the one that is there; what is wrong with it is shown, and another may be opened. */
    fun open(
        name: String,
        backend: String? = null,
    ) = opening { openReady(name, backend) }

    fun open(uri: Uri) = opening { openReady(bundles.add(uri)) }

    /** For whoever closes it, off the main thread. [backend] is one of [Ready.backends], by default the manifest's. */
    fun openReady(
        name: String,
        backend: String? = null,
    ): Ready {
        val bundle = bundles.open(name)
        val manifest = bundle.manifest
        val backends = engines.backends(manifest)
        val chosen = backend?.takeIf { it in backends } ?: manifest.backend
        val policy = manifest.policy ?: phonePolicy(manifest)
        var why: String? = null
        val energy =
            try {
                profileOf(app)?.let { energyOf(it, manifest, device.sample()) }
            } catch (error: SchemaError) {
                null.also { why = error.message }
            }
        val loader = engines.loader(manifest, chosen)
        val runtime = Runtime(bundle, policy = policy, power = energy?.table(manifest), loader = loader)
        return Ready(name, runtime, policy, energy, why, chosen, backends, engines.nameOf(manifest))
    }

    private fun opening(read: () -> State) {
        val before = state
        benchmark.stop()
        set(Opening)
        worker.execute {
            (before as? Ready)?.runtime?.close()
            val found = trying(read) { Failed(it) }
            main.post {
                last = null
                lastError = null
                answered = 0
                failed = 0
                dropped = 0
                override = null
                shortOfMemory = false
                exits = IntArray((found as? Ready)?.run { runtime.manifest.stages.size } ?: 0)
                set(found)
            }
        }
    }

    /** What a user may cause or mend becomes a message; anything else is a bug and is not caught. */
    private fun <T> trying(
        call: () -> T,
        otherwise: (String) -> T,
    ): T =
        try {
            call()
        } catch (error: DvtEdgeError) {
            otherwise(error.message.orEmpty())
        } catch (error: IOException) {
            otherwise(error.message.orEmpty())
        } catch (error: SecurityException) {
            otherwise(error.message.orEmpty())
        } catch (_: OutOfMemoryError) {
            otherwise(app.getString(R.string.out_of_memory))
        }

    private fun set(found: State) {
        state = found
        changed()
    }

    /** Classify an image that [read] gives, on the worker; dropped where one is in work already. On the main thread. */
    fun classify(read: () -> RgbSource): Boolean {
        if (busy.compareAndSet(false, true)) return classifyNext(0.0, read)
        dropped += 1
        return false
    }

    /**
     * Classify a camera's frame, from any thread. [image] makes it here and now, which counts as preprocessing; where one is in
     * work already it is not asked for.
     */
    fun classifyFrame(image: () -> RgbSource) {
        if (!busy.compareAndSet(false, true)) return post { dropped += 1 }
        val start = System.nanoTime()
        val made =
            try {
                image()
            } catch (error: Throwable) {
                busy.set(false)
                throw error
            }
        val ms = (System.nanoTime() - start) / 1e6
        post { classifyNext(ms) { made } }
    }

    /** Of an image that has [busy] for itself, and took [ms] to be made. */
    private fun classifyNext(
        ms: Double,
        read: () -> RgbSource,
    ): Boolean {
        val ready = state as? Ready
        if (ready == null) {
            busy.set(false)
            dropped += 1
            return false
        }
        val point = override
        val lifetime = lifetimeS
        worker.execute {
            val sample = device.sample()
            val found = trying<Any>({ ready.runtime.run(read(), ready.state(sample, lifetime), point).converted(ms) }, { it })
            val drawn = device.sample().watts
            main.post {
                busy.set(false)
                watts = drawn
                if (found is Result) answer(found) else fail(found as String)
                changed()
            }
        }
        return true
    }

    private fun answer(result: Result) {
        last = result
        lastError = null
        shortOfMemory = false
        answered += 1
        exits[result.exit] += 1
    }

    private fun fail(message: String) {
        lastError = message
        failed += 1
    }

    /** Run [work] on the worker with the bundle that is open, and [done] with what it gives on the main thread. */
    fun <T> background(
        work: (Ready) -> T,
        done: (kotlin.Result<T>) -> Unit,
    ) {
        val ready = state as? Ready ?: return
        worker.execute {
            val found = runCatching { work(ready) }
            main.post { done(found) }
        }
    }

    /** From any thread: [call] on the main one. */
    fun post(call: () -> Unit) {
        main.post(call)
    }

    /** Low memory in the background: the stages go, and are loaded again when they are asked for. */
    fun unload() {
        val runtime = (state as? Ready)?.runtime ?: return
        shortOfMemory = true
        worker.execute { runtime.unload() }
        changed()
    }

    /** Ends the worker and unloads the stages; once. */
    override fun close() {
        if (worker.isShutdown) return
        benchmark.stop()
        worker.execute { (state as? Ready)?.runtime?.close() }
        worker.shutdown()
        worker.awaitTermination(10, TimeUnit.SECONDS)
    }
}
