package dvtedge.demo

import java.io.File
import java.io.IOException

/**
 * The most memory that the process had since this was made, the engine's part too: Linux's own mark where it can be set back,
 * VmHWM; else the most that was there when somebody looked, VmRSS.
 */
internal class PeakMemory {
    private val field = if (setBack() && bytesOf(MARK) != null) MARK else NOW

    /** What it is so far. */
    var bytes = 0L
        private set

    init {
        look()
    }

    fun look() {
        bytes = maxOf(bytes, bytesOf(field) ?: 0)
    }

    private fun setBack(): Boolean =
        try {
            File("/proc/self/clear_refs").writeText("5").let { true }
        } catch (_: IOException) {
            false
        }

    private fun bytesOf(field: String): Long? =
        File("/proc/self/status").useLines { lines ->
            lines.find { it.startsWith(field) }?.filter(Char::isDigit)?.toLong()?.times(1024)
        }

    private companion object {
        const val MARK = "VmHWM:"
        const val NOW = "VmRSS:"
    }
}
