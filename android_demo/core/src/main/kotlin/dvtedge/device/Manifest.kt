package dvtedge.device

import kotlinx.serialization.Serializable
import java.security.MessageDigest

internal const val FORMAT = 2L
internal const val MAX_STAGES = 64
internal const val MAX_FILES = 10_000 // with the manifest
internal const val MANIFEST = "manifest.json"

/** What a bundle says about itself: docs/manifest.md. */
@Serializable
data class Manifest(
    val format: Long,
    val name: String,
    val target: String,
    val engine: Engine,
    val backend: String, // what must run the stages: a provider or delegate
    val model: ModelSpec,
    val preprocessing: Preprocessing,
    val stages: List<StageSpec>,
    val confidence: ConfidenceSpec,
    val operatingPoints: List<OperatingPoint>, // by rising cost
    val defaultOperatingPoint: String,
    val verification: Verification,
    val labels: String, // path of a JSON list of class names
    val golden: Golden,
    val tools: Map<String, String>,
    val files: Map<String, FileSpec>,
    val calibration: CalibrationRecord? = null,
    val policy: PowerPolicy? = null, // null: the default operating point, always
    val attempts: Map<String, Long> = emptyMap(), // calibrations of these artifacts, by data_sha256
) {
    init {
        val exits = stages.size
        require(exits in 1..MAX_STAGES) { "$exits stages; expected 1 to $MAX_STAGES" }
        require(files.size < MAX_FILES) { "${files.size} files; expected at most ${MAX_FILES - 1}" }
        require(attempts.values.all { it >= 1 }) { "attempts $attempts; expected at least 1" }
        require(confidence.temperature.size == exits) { "a temperature for each of $exits exits is expected" }
        checkPoints(exits)
        val expected = if (golden.images > 0) exits else 0
        require(golden.logits.size == expected) { "${golden.logits.size} files of golden logits; expected $expected" }
        require(golden.image.size == expected) { "${golden.image.size} files of golden images; expected $expected" }
        stages.indices.forEach(::checkTensors)
    }

    private fun checkPoints(exits: Int) {
        require(operatingPoints.isNotEmpty()) { "no operating points" }
        for (point in operatingPoints) {
            require(point.thresholds.size == exits && point.exitShares.size == exits) {
                "'${point.name}': a threshold and a share for each of $exits exits is expected"
            }
        }
        val points = operatingPoints.map { it.name }
        require(points.toSet().size == points.size) { "operating points ${shorten(points)}: two of one name" }
        require(defaultOperatingPoint in points) { "no operating point ${shorten(defaultOperatingPoint)}" }
        for (name in policy?.points.orEmpty()) {
            require(name in points) { "policy: no operating point ${shorten(name)}; the bundle has: ${shorten(points)}" }
        }
    }

    private fun checkTensors(index: Int) {
        val stage = stages[index]
        val size = imageSize(index).size.toLong()
        for (tensor in stage.inputs + stage.outputs) {
            val shape =
                when (tensor.role) {
                    Role.IMAGE -> listOf(1, size, size, 3)
                    Role.LOGITS -> listOf(1, model.classes)
                    Role.STATE -> tensor.shape
                }
            require(tensor.shape == shape) { "${stage.name}: '${tensor.name}' of shape ${tensor.shape}; expected $shape" }
        }
        val before = if (index == 0) emptyList() else stages[index - 1].outputs
        for (tensor in stage.inputs.filter { it.role == Role.STATE }) {
            require(tensor in before) {
                "${stage.name}: the stage before does not give the state '${tensor.name}' of ${tensor.dtype} ${tensor.shape}"
            }
        }
    }

    /** Every path of a file that the manifest names outside `files`, but artifacts, which may be folders. */
    val neededFiles: List<String>
        get() = listOf(labels) + golden.image + golden.logits + stages.flatMap { stage -> stage.compiled.map { it.file } }

    /** Of the pixels that a stage takes. */
    fun imageSize(stage: Int): ImageSize = stages[stage].image ?: ImageSize(preprocessing.size, preprocessing.resize)

    /** The paths in `files` of a stage's artifact: itself, or all below its folder. */
    fun artifactFiles(stage: Int): List<String> {
        val name = stages[stage].artifact
        return files.keys.filter { it == name || it.startsWith("$name/") }
    }

    /** The paths in `files` of what a stage runs, sorted by the bytes of their UTF-8. */
    fun filesOf(stage: Int): List<String> =
        (artifactFiles(stage) + stages[stage].compiled.map { it.file }).distinct().sortedWith(BY_BYTES)

    /** One hash of all that the stages run: what thresholds, logits and certificates are bound to. */
    val artifactsSha256: String by lazy {
        val lines = stages.indices.flatMap(::filesOf).joinToString("") { "$it\u0000${files.getValue(it).sha256}\n" }
        sha256(lines.toByteArray())
    }

    /** Why no certificate covers an operating point, in words; null where one holds. Throws [ManifestError]. */
    fun uncertified(name: String): String? {
        val point = operatingPoint(name)
        val proved = point.certificate
        return when {
            proved == null -> "no certificate"
            proved.artifactSha256 != artifactsSha256 -> "other artifacts"
            !same(proved.thresholds, point.thresholds) -> "other thresholds"
            proved.measure != confidence.measure -> "another measure"
            !same(proved.temperature, confidence.temperature) -> "other temperatures"
            else -> null
        }
    }

    /** The operating points, each with its certificate only where it holds: what a policy sees. */
    val provedPoints: List<OperatingPoint>
        get() = operatingPoints.map { if (uncertified(it.name) == null) it else it.copy(certificate = null) }

    /** Multiply-accumulates spent when leaving at each exit (cumulative). */
    val macs: List<Long> get() = stages.map { it.macs }.runningReduce(Long::plus)

    /** Throws [ManifestError] where there is none of that name. */
    fun operatingPoint(name: String): OperatingPoint =
        operatingPoints.find { it.name == name }
            ?: throw ManifestError("no operating point ${shorten(name)}; the bundle has: ${operatingPoints.map { it.name }}")
}

/** Number by number as float64, where -0 is 0. */
private fun same(
    a: List<Double>,
    b: List<Double>,
) = a.size == b.size && a.indices.all { a[it].compareTo(b[it]) == 0 || (a[it] == 0.0 && b[it] == 0.0) }

/** By the bytes of UTF-8, which is the order of code points, not of UTF-16. */
private val BY_BYTES =
    Comparator<String> { a, b ->
        val (x, y) = a.toByteArray() to b.toByteArray()
        val at = (0 until minOf(x.size, y.size)).find { x[it] != y[it] }
        if (at == null) x.size - y.size else (x[at].toInt() and 0xff) - (y[at].toInt() and 0xff)
    }

/** In lower-case hex. */
internal fun sha256(content: ByteArray): String = hex(MessageDigest.getInstance("SHA-256").digest(content))

internal fun isHash(text: String): Boolean = text.length == 64 && text.all { it in "0123456789abcdef" }

internal fun hex(bytes: ByteArray): String = bytes.joinToString("") { "%02x".format(it) }

/** Throws [NewerFormatError], [OldFormatError], or [ManifestError] for anything else that is not a manifest. */
fun parseManifest(content: ByteArray): Manifest =
    try {
        val value = parseJson(content, MANIFEST)
        (value as? Map<*, *>)?.let { checkFormat(it["format"]) }
        fromJson(Manifest.serializer(), value, MANIFEST)
    } catch (error: SchemaError) {
        throw ManifestError(error.message.orEmpty(), error)
    }

private fun checkFormat(format: Any?) {
    if (format !is Long || format == FORMAT) return // of another type: the schema refuses it
    val found = "$MANIFEST: format $format"
    throw when {
        format > FORMAT -> NewerFormatError("$found; this reads $FORMAT: update the app")
        format == 1L -> OldFormatError("$found; run `dvt-edge upgrade BUNDLE`")
        else -> ManifestError("$found; expected $FORMAT")
    }
}
