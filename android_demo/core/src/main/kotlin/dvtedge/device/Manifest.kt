package dvtedge.device

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import java.security.MessageDigest

internal const val FORMAT = 2L
internal const val MAX_STAGES = 64
internal const val MAX_FILES = 10_000 // with the manifest
internal const val MANIFEST = "manifest.json"
internal const val MAX_SIDE = 8192 // pixels

/** Of a tensor's elements; [bytes] each. */
@Serializable
enum class Dtype(
    val bytes: Int,
) {
    @SerialName("uint8")
    UINT8(1),

    @SerialName("float16")
    FLOAT16(2),

    @SerialName("float32")
    FLOAT32(4),
}

/** What a tensor is for a stage, and which elements it may have. */
@Serializable
enum class Role(
    val dtypes: Set<Dtype>,
) {
    @SerialName("image")
    IMAGE(setOf(Dtype.UINT8)),

    @SerialName("state")
    STATE(setOf(Dtype.FLOAT16, Dtype.FLOAT32)),

    @SerialName("logits")
    LOGITS(setOf(Dtype.FLOAT32)),
}

/** One input or output of a stage. A state input takes the output of the same name of the stage before. */
@Serializable
data class TensorSpec(
    val name: String,
    val dtype: Dtype,
    val shape: List<Long>,
    val role: Role,
) {
    init {
        require(shape.all { it > 0 }) { "tensor '$name' has shape $shape" }
        require(dtype in role.dtypes) { "tensor '$name' of role $role is $dtype; expected ${role.dtypes}" }
    }
}

/** Operators of a converted stage: how many the backend takes, and what is left to the engine's own kernels. */
@Serializable
data class Operators(
    val delegated: Long,
    val undelegated: Long,
    val undelegatedKinds: Map<String, Long> = emptyMap(),
)

/** [size] pixels a side, cut from the centre after the shorter side became [resize]: docs/preprocess.md. */
@Serializable
data class ImageSize(
    val size: Int,
    val resize: Int,
) {
    init {
        require(size in 1..resize && resize <= MAX_SIDE) {
            "size $size, resize $resize; expected 0 < size <= resize <= $MAX_SIDE"
        }
    }
}

/** A stage compiled for one chip, beside its artifact; [file] is a path in the bundle. */
@Serializable
data class Compiled(
    val soc: String,
    val backend: String,
    val file: String,
)

/** One stage; [artifact] is a path in the bundle, [macs] are multiply-accumulates for one image, [grid] tokens a side. */
@Serializable
data class StageSpec(
    val name: String,
    val artifact: String,
    val grid: Long,
    val macs: Long,
    val parameters: Long,
    val inputs: List<TensorSpec>, // in the order in which the artifact takes them
    val outputs: List<TensorSpec>,
    val operators: Operators,
    val image: ImageSize? = null, // of this stage's pixels; null: the preprocessing's
    val compiled: List<Compiled> = emptyList(),
) {
    init {
        val taken = inputs.map { it.role }
        require(taken.count { it == Role.IMAGE } == 1 && Role.LOGITS !in taken) { "$name: inputs of roles $taken" }
        require(inputs.all { (it.name == "image") == (it.role == Role.IMAGE) }) {
            "$name: inputs ${inputs.map { it.name }}; expected the image, and it alone, as 'image'"
        }
        val given = outputs.map { it.role }
        require(given.count { it == Role.LOGITS } == 1 && Role.IMAGE !in given) { "$name: outputs of roles $given" }
        require(macs > 0) { "$name: macs $macs; expected above 0" }
        require(compiled.distinctBy { it.soc to it.backend }.size == compiled.size) {
            "$name: two compiled files for one chip and backend"
        }
    }

    /** What it runs: its artifact, a file or a folder, and what is compiled of it. */
    val files: List<String> get() = listOf(artifact) + compiled.map { it.file }
}

@Serializable
data class ModelSpec(
    val name: String,
    @Serializable(FreeObject::class) val config: Map<String, Any?>,
    val checkpointSha256: String?,
    val classes: Long,
    val trainedOn: TrainedOn? = null, // null: not known
)

/** The image tensor's layout; IMAGE is a Core ML image input of the same pixels. */
@Serializable
enum class Layout {
    @SerialName("NHWC")
    NHWC,

    @SerialName("image")
    IMAGE,
}

@Serializable
enum class Color {
    @SerialName("RGB")
    RGB,
}

@Serializable
enum class Resample {
    @SerialName("bicubic-antialiased")
    BICUBIC_ANTIALIASED,
}

/** See docs/preprocess.md. Normalised inside the stages: [mean] and [std] are for the record. */
@Serializable
data class Preprocessing(
    val size: Int,
    val resize: Int,
    val layout: Layout,
    val color: Color = Color.RGB,
    val resample: Resample = Resample.BICUBIC_ANTIALIASED,
    val mean: List<Double> = emptyList(),
    val std: List<Double> = emptyList(),
) {
    init {
        ImageSize(size, resize)
    }
}

/** How each exit's confidence is computed: docs/exit-rule.md. */
@Serializable
data class ConfidenceSpec(
    val measure: Measure,
    val temperature: List<Double>, // one per exit
) {
    init {
        require(temperature.all { it.isFinite() && it > 0 }) { "temperature $temperature" }
    }
}

@Serializable
enum class CostUnit {
    @SerialName("macs")
    MACS,

    @SerialName("ms")
    MS,

    @SerialName("mJ")
    MJ,
}

/** Where the operating points come from. The three parts of the images are disjoint, drawn by [seed]. */
@Serializable
data class CalibrationRecord(
    val data: String,
    val dataSha256: String,
    val artifactSha256: String,
    val seed: Long,
    val searched: Long,
    val certified: Long,
    val measured: Long,
    val objectives: List<String>,
    val costUnit: CostUnit,
    val costPerExit: List<Double>, // cumulative
    val costSource: String,
)

/** One exit of the chained artifacts against PyTorch in float32, on the same images. */
@Serializable
data class ExitQuality(
    val maxAbsError: Double,
    val sqnrDb: Double?, // null: identical outputs
    val cosine: Double,
    val top1Agreement: Double,
    val top1: Double?,
    val referenceTop1: Double?,
)

/** [verified] is true only where the artifacts ran, on the manifest's backend, and kept their recipe's bounds. */
@Serializable
data class Verification(
    val verified: Boolean,
    val reason: String,
    val images: Long,
    val data: String,
    val machine: String,
    val exits: List<ExitQuality> = emptyList(),
    val exitAgreement: Double? = null,
)

/** Who computed golden logits. */
@Serializable
enum class Source {
    @SerialName("artifact")
    ARTIFACT,

    @SerialName("pytorch")
    PYTORCH,
}

/** Raw little-endian arrays, first axis the images: per stage its uint8 pixels, per exit its float32 logits. */
@Serializable
data class Golden(
    val images: Long,
    val image: List<String>, // a path for each stage, the same one again where its pixels are the same
    val logits: List<String>,
    val source: Source,
    val tolerance: Double,
) {
    init {
        require(images >= 0 && tolerance >= 0) { "images $images, tolerance $tolerance; expected 0 or more" }
    }
}

@Serializable
data class FileSpec(
    val sha256: String,
    val size: Long,
) {
    init {
        require(sha256.length == 64 && sha256.all { it in "0123456789abcdef" }) { "sha256 ${shorten(sha256)}" }
        require(size >= 0) { "size $size" }
    }
}

@Serializable
enum class Engine {
    @SerialName("onnxruntime")
    ONNXRUNTIME,

    @SerialName("executorch")
    EXECUTORCH,

    @SerialName("coreml")
    COREML,
}

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

    /** Every path that the manifest names outside `files`; an artifact alone may be a folder of them. */
    val neededFiles: List<String>
        get() = listOf(labels) + golden.image + golden.logits + stages.flatMap { it.files }

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
