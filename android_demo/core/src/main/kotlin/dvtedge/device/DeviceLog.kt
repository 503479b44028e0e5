package dvtedge.device

import java.io.Closeable
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.io.OutputStream
import java.math.BigDecimal
import java.math.RoundingMode
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64

internal const val LOG_VERSION = 2
private const val MAX_LINE = 1 shl 20 // bytes
private const val MAX_CLASSES = 1 shl 17 // a line holds no more of them
private const val NOT_A_NUMBER = 0x7fc00000
private const val REPLACEMENT = '\ufffd' // of what is no character

/** What an app was powered by when a log began. */
enum class PowerSource { BATTERY, CHARGER, UNKNOWN }

/** One line of a device log: docs/device-log.md, which says what each field means, and its unit. */
sealed interface LogLine

data class LogHeader(
    val bundleSha256: String,
    val artifactSha256: String,
    val target: String,
    val stages: Int,
    val classes: Int,
    val app: String,
    val engine: String,
    val device: String,
    val os: String,
    val backends: List<String>, // what really ran each stage
    val threads: Int,
    val powerSource: PowerSource,
    val unitsChecked: List<String> = emptyList(),
    val everyStage: Boolean = false,
    val data: String? = null,
    val pixels: String? = null, // a file's name, without folders
) : LogLine {
    init {
        require(stages in 1..MAX_STAGES && backends.size == stages) { "${backends.size} backends of $stages stages" }
        require(classes in 1..MAX_CLASSES) { "classes $classes; expected 1 to $MAX_CLASSES" }
        for (hash in listOf(bundleSha256, artifactSha256)) require(isHash(hash)) { "${shorten(hash)}; expected a hash" }
        require(pixels == null || (pixels !in listOf("", ".", "..") && pixels.none { it in "/\\\u0000" })) {
            "pixels ${shorten(pixels)}; expected a file's name, without folders"
        }
    }
}

sealed interface Record : LogLine {
    val timeS: Double
}

/** One answered image. [logits] or [top5] have one array an exit that ran; both are empty where not logged. */
class ImageRecord(
    override val timeS: Double,
    val id: String,
    val pixelsSha256: String,
    val exit: Int,
    val label: Int,
    val labelName: String,
    val confidence: List<Double>, // NaN where it was not finite
    val stageMs: List<Double>,
    val preprocessMs: Double,
    val totalMs: Double,
    val point: String,
    val degraded: Boolean,
    val uncertified: Boolean,
    val pixels: Int? = null,
    val logits: List<FloatArray> = emptyList(),
    val top5Labels: List<List<Int>> = emptyList(),
    val top5: List<FloatArray> = emptyList(),
    val why: String? = null,
    val maxStage: Int? = null,
) : Record {
    companion object {
        /** Of a runtime's answer; [pixels] is its number in the pixels file, [why] the power policy's reason. */
        fun of(
            result: Result,
            timeS: Double,
            id: String,
            pixels: Int? = null,
            why: String? = null,
        ) = ImageRecord(
            timeS,
            id,
            sha256(result.pixels),
            result.exit,
            result.label,
            result.labelName,
            result.confidences.map(Float::toDouble),
            result.stageMs,
            result.preprocessMs,
            result.totalMs,
            result.operatingPoint,
            result.degraded,
            result.uncertified,
            pixels,
            result.logits,
            why = why,
            maxStage = result.maxStage,
        )
    }
}

/** A sample of the device; [idle] where no image was in work since the record before. Null is what the system does not tell. */
data class StateRecord(
    override val timeS: Double,
    val idle: Boolean,
    val screenOn: Boolean,
    val charging: Boolean,
    val awakeS: Double? = null,
    val batteryLevel: Double? = null,
    val chargeUah: Long? = null,
    val currentUa: Long? = null, // microamperes, of either sign
    val voltageMv: Long? = null,
    val temperatureC: Double? = null,
    val thermal: Thermal? = null,
    val headroom: Double? = null,
    val lowPower: Boolean? = null,
) : Record

/** An image that was not answered. */
data class ErrorRecord(
    override val timeS: Double,
    val kind: String,
    val message: String,
    val id: String? = null,
) : Record {
    companion object {
        /** Of an error that is not ours its kind alone, also where it is the cause of one that is. */
        fun of(
            error: Throwable,
            timeS: Double,
            id: String? = null,
        ): ErrorRecord {
            val kind = error.javaClass.simpleName
            return ErrorRecord(timeS, kind, if (error is DvtEdgeError) messageOf(error) else kind, id)
        }

        private fun messageOf(error: DvtEdgeError): String {
            val foreign = error.cause?.takeIf { it !is DvtEdgeError }
            val said = error.message.orEmpty()
            return withoutFiles(if (foreign == null) said else said.replace(cause(foreign), foreign.javaClass.simpleName))
        }
    }
}

private const val LETTERS = """\p{L}\p{M}\p{N}_""" // in every language: the JVM's \w has only ASCII, Android's all
private val QUOTED_FILE = Regex("""'[^']*[/.][^']*'""")
private val PATH = Regex("""\S*/.*?(?=: |$)""") // to the next colon: names have blanks
private val FILE = Regex("""[$LETTERS-]+\.\p{L}[$LETTERS]*""")

/** A message in one line with "..." for each path and file's name. */
private fun withoutFiles(message: String): String =
    message
        .replace(Regex("\\s+"), " ")
        .replace(QUOTED_FILE, "'...'")
        .replace(PATH, "...")
        .replace(FILE, "...")

/** A header or record as the bytes of its line. Throws IllegalArgumentException for a number not finite, and over 1 MiB. */
fun encode(
    line: LogLine,
    seq: Long = 0,
): ByteArray {
    val fields =
        when (line) {
            is LogHeader -> header(line)
            is ImageRecord -> every("image", seq, line) + image(line)
            is StateRecord -> every(if (line.idle) "idle" else "state", seq, line) + state(line)
            is ErrorRecord -> every("error", seq, line) + error(line)
        }
    val parts = fields.mapNotNull { (name, value) -> value?.let { "\"$name\":$it" } }
    val made = parts.joinToString(",", "{", "}\n").toByteArray()
    require(made.size <= MAX_LINE) { "a line of ${made.size} bytes; expected at most $MAX_LINE" }
    return made
}

/** A field's name and its value as JSON; null leaves it out. */
private typealias Fields = List<Pair<String, String?>>

private fun header(line: LogHeader): Fields =
    listOf(
        "log" to "$LOG_VERSION",
        "bundle_sha256" to text(line.bundleSha256),
        "artifact_sha256" to text(line.artifactSha256),
        "target" to text(line.target),
        "stages" to "${line.stages}",
        "classes" to "${line.classes}",
        "app" to text(line.app),
        "engine" to text(line.engine),
        "device" to text(line.device),
        "os" to text(line.os),
        "backends" to many(line.backends, ::text),
        "threads" to "${line.threads}",
        "power_source" to text(line.powerSource.name.lowercase()),
        "units_checked" to many(line.unitsChecked, ::text),
        "every_stage" to "${line.everyStage}",
        "data" to line.data?.let(::text),
        "pixels" to line.pixels?.let(::text),
    )

private fun every(
    event: String,
    seq: Long,
    line: Record,
): Fields = listOf("event" to text(event), "seq" to "$seq", "time_s" to decimals(line.timeS, 6))

private fun image(line: ImageRecord): Fields =
    listOf(
        "id" to text(line.id),
        "pixels_sha256" to text(line.pixelsSha256),
        "pixels" to line.pixels?.toString(),
        "exit" to "${line.exit}",
        "label" to "${line.label}",
        "label_name" to text(line.labelName),
        "confidence" to many(line.confidence) { if (it.isNaN()) "null" else decimals(it, 9) },
        "logits" to orNothing(line.logits, ::f32),
        "top5_labels" to orNothing(line.top5Labels) { labels -> many(labels, Int::toString) },
        "top5" to orNothing(line.top5, ::f32),
        "stage_ms" to many(line.stageMs) { decimals(it, 3) },
        "preprocess_ms" to decimals(line.preprocessMs, 3),
        "total_ms" to decimals(line.totalMs, 3),
        "point" to text(line.point),
        "why" to line.why?.let(::text),
        "max_stage" to line.maxStage?.toString(),
        "degraded" to "${line.degraded}",
        "uncertified" to "${line.uncertified}",
    )

private fun state(line: StateRecord): Fields =
    listOf(
        "screen_on" to "${line.screenOn}",
        "charging" to "${line.charging}",
        "awake_s" to line.awakeS?.let { decimals(it, 6) },
        "battery_level" to line.batteryLevel?.let { decimals(it, 4) },
        "charge_uah" to line.chargeUah?.toString(),
        "current_ua" to line.currentUa?.toString(),
        "voltage_mv" to line.voltageMv?.toString(),
        "temperature_c" to line.temperatureC?.let { decimals(it, 2) },
        "thermal" to line.thermal?.let { text(it.name.lowercase()) },
        "headroom" to line.headroom?.let { decimals(it, 3) },
        "low_power" to line.lowPower?.toString(),
    )

private fun error(line: ErrorRecord): Fields =
    listOf(
        "id" to line.id?.let(::text),
        "kind" to text(line.kind),
        "message" to text(line.message),
    )

private fun <T> many(
    values: List<T>,
    write: (T) -> String,
): String = values.joinToString(",", "[", "]", transform = write)

private fun <T> orNothing(
    values: List<T>,
    write: (T) -> String,
): String? = if (values.isEmpty()) null else many(values, write)

/** The exact value rounded to [places] decimals, halves to even, and never -0. */
private fun decimals(
    value: Double,
    places: Int,
): String {
    require(value.isFinite()) { "$value has no place in JSON" }
    return BigDecimal(value).setScale(places, RoundingMode.HALF_EVEN).toPlainString()
}

/** A lone surrogate, which UTF-8 has not, is written as U+FFFD. */
private fun text(value: String): String {
    val made = StringBuilder("\"")
    for (at in value.indices) {
        val c = if (isLone(value, at)) REPLACEMENT else value[at]
        when (c) {
            '"' -> made.append("\\\"")
            '\\' -> made.append("\\\\")
            '\b' -> made.append("\\b")
            '\u000c' -> made.append("\\f")
            '\n' -> made.append("\\n")
            '\r' -> made.append("\\r")
            '\t' -> made.append("\\t")
            else -> if (c < ' ') made.append("\\u%04x".format(c.code)) else made.append(c)
        }
    }
    return made.append('"').toString()
}

/** Whether the character at [at] is one half of a surrogate pair without the other. */
private fun isLone(
    text: String,
    at: Int,
): Boolean =
    when {
        text[at].isHighSurrogate() -> text.getOrNull(at + 1)?.isLowSurrogate() != true
        text[at].isLowSurrogate() -> text.getOrNull(at - 1)?.isHighSurrogate() != true
        else -> false
    }

/** base64 of little-endian float32; every NaN is 0x7fc00000. */
private fun f32(values: FloatArray): String {
    val bytes = ByteBuffer.allocate(4 * values.size).order(ByteOrder.LITTLE_ENDIAN)
    for (value in values) bytes.putInt(if (value.isNaN()) NOT_A_NUMBER else value.toRawBits())
    return "\"${Base64.getEncoder().encodeToString(bytes.array())}\""
}

/**
 * Writes a log, each line flushed: a crash loses at most the line it was in. With `header.pixels` a file of that name
 * beside it takes what [writePixels] is given. Throws IOException; a file that is there is not overwritten. Where the
 * log cannot be begun, neither file is left. After a write that failed nothing is written any more: a line or an image may
 * have been torn, and what follows one cannot be read.
 */
class LogWriter internal constructor(
    private val file: File,
    header: LogHeader,
    streamOf: (File) -> OutputStream,
) : Closeable {
    constructor(file: File, header: LogHeader) : this(file, header, ::FileOutputStream)

    private val lines: NewFile
    private val pixels: NewFile?
    private var seq = 0L
    private var images = 0
    private var failed: IOException? = null

    init {
        val first = encode(header)
        val begun = mutableListOf<NewFile>()
        try {
            lines = NewFile(file, streamOf).also(begun::add)
            pixels = header.pixels?.let { NewFile(File(file.absoluteFile.parentFile, it), streamOf).also(begun::add) }
            lines.write(first)
        } catch (failure: IOException) {
            begun.forEach(NewFile::discard)
            throw failure
        }
    }

    /** [record] as the next one. */
    @Synchronized
    fun write(record: Record) {
        val line = encode(record, seq)
        unlessFailed { lines.write(line) }
        seq += 1
    }

    /** Append an image's pixels; its number for the record, null where the log keeps none. */
    @Synchronized
    fun writePixels(image: ByteArray): Int? {
        val pixels = pixels ?: return null
        unlessFailed { pixels.write(image) }
        images += 1
        return images - 1
    }

    private fun unlessFailed(write: () -> Unit) {
        failed?.let { throw IOException("$file: nothing is written after a write that failed (${cause(it)})", it) }
        try {
            write()
        } catch (failure: IOException) {
            failed = failure
            throw failure
        }
    }

    @Synchronized
    override fun close() {
        lines.use { pixels?.close() }
    }
}

/** A file that was not there before. Unbuffered: what is written is the system's at once. */
private class NewFile(
    private val file: File,
    streamOf: (File) -> OutputStream,
) : Closeable {
    private val stream: OutputStream

    init {
        if (!file.createNewFile()) throw IOException("$file: is there already; a log is never overwritten")
        stream = streamOf(file)
    }

    fun write(bytes: ByteArray) = stream.write(bytes)

    override fun close() = stream.close()

    fun discard() {
        close()
        file.delete()
    }
}
