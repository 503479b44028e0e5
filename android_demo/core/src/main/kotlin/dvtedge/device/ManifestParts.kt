package dvtedge.device

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable

internal const val MAX_SIDE = 8192 // pixels

/** Of a tensor's elements. */
@Serializable
enum class Dtype {
    @SerialName("uint8")
    UINT8,

    @SerialName("float16")
    FLOAT16,

    @SerialName("float32")
    FLOAT32,
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
        require(isHash(sha256)) { "sha256 ${shorten(sha256)}" }
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

    @SerialName("litert")
    LITERT,
}
