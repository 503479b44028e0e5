package dvtedge.demo

import android.app.Application
import android.content.ComponentCallbacks2
import android.system.Os

/** Holds the one session, over rotations. No network permission, and no telemetry of the engine's. */
open class DemoApplication : Application() {
    lateinit var session: Session
        private set

    override fun onCreate() {
        super.onCreate()
        // Before ONNX Runtime's library loads: it writes into the cache folder otherwise.
        if (System.getenv("ORT_DISABLE_TELEMETRY") != "1") Os.setenv("ORT_DISABLE_TELEMETRY", "1", true)
        session = Session(this, bundles(), engines())
        session.openFirst()
    }

    protected open fun bundles() = Bundles(this)

    protected open fun engines() = Engines(cacheDir)

    override fun onTrimMemory(level: Int) {
        super.onTrimMemory(level)
        if (level >= ComponentCallbacks2.TRIM_MEMORY_BACKGROUND) session.unload()
    }

    override fun onTerminate() {
        super.onTerminate()
        session.close()
    }
}
