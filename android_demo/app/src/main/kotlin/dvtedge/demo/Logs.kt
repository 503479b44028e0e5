package dvtedge.demo

import android.content.Context
import android.os.Build
import dvtedge.device.LogHeader
import dvtedge.device.LogWriter
import java.io.File

/** Where logs are: `adb pull /sdcard/Android/data/dvtedge.demo/files/logs`. */
fun logFolder(context: Context): File = File(context.getExternalFilesDir(null) ?: context.filesDir, "logs").also { it.mkdirs() }

/** A new log of a run of [ready], whose stages are all loaded first: the header says what really runs each. */
fun newLog(
    context: Context,
    ready: Ready,
    device: Device,
    kind: String,
    everyStage: Boolean,
    pixels: Boolean = false,
    data: String? = null,
): Pair<File, LogWriter> {
    ready.runtime.prewarm()
    val folder = logFolder(context)
    val name =
        generateSequence(1) { it + 1 }
            .map { "$kind-$it.jsonl" }
            .first { name -> listOf(name, pixelsOf(name)).none { File(folder, it).exists() } }
    val manifest = ready.runtime.manifest
    val header =
        LogHeader(
            ready.runtime.bundle.sha256,
            manifest.artifactsSha256,
            manifest.target,
            manifest.stages.size,
            manifest.model.classes.toInt(),
            "dvt-edge demo $VERSION",
            ready.engine,
            "${Build.MANUFACTURER} ${Build.MODEL}",
            "Android ${Build.VERSION.RELEASE}",
            ready.runtime.backends.map(::checkNotNull),
            1,
            device.powerSource(),
            everyStage = everyStage,
            data = data,
            pixels = if (pixels) pixelsOf(name) else null,
        )
    return File(folder, name).let { it to LogWriter(it, header) }
}

private fun pixelsOf(log: String) = "$log.pixels"

private const val VERSION = "0.2.0"
