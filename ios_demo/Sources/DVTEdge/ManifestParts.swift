// What a manifest is made of. Normative: docs/manifest.md.

public enum Dtype: String, Sendable, OneOf {
    case uint8, float16, float32

    /// Bytes of one number.
    public var size: Int { self == .uint8 ? 1 : self == .float16 ? 2 : 4 }
}

public enum Role: String, Sendable, OneOf {
    case image, state, logits
}

public enum Engine: String, Sendable, OneOf {
    case onnxruntime, executorch, coreml, litert
}

/// One input or output of a stage. A state input takes the output of the same name of the stage before.
public struct TensorSpec: Sendable, Equatable, FromFields {
    public let name: String
    public let dtype: Dtype
    public let shape: [Int]
    public let role: Role

    /// Bytes of it; nil where no memory holds them.
    var byteCount: Int? { product([dtype.size] + shape) }

    init(_ fields: Fields) throws(DvtEdgeError) {
        name = try fields["name"]
        dtype = try fields["dtype"]
        shape = try fields["shape"]
        role = try fields["role"]
        try fields.require(shape.allSatisfy { $0 > 0 }, "tensor \(name.quoted) has shape \(shape)")
        let dtypes: [Dtype] = role == .image ? [.uint8] : role == .logits ? [.float32] : [.float16, .float32]
        try fields.require(
            dtypes.contains(dtype),
            "tensor \(name.quoted) of role \(role.rawValue) is \(dtype.rawValue); expected \(dtypes.map(\.rawValue))")
    }

    /// Whether a state that `other` gives is the one that this takes.
    func takes(_ other: TensorSpec) -> Bool {
        name.same(as: other.name) && dtype == other.dtype && shape == other.shape && role == other.role
    }
}

/// Operators of a converted stage: how many the backend takes, and what is left to the engine's own kernels.
public struct Operators: Sendable, Equatable, FromFields {
    public let delegated: Int
    public let undelegated: Int
    public let undelegatedKinds: ByName<Int>

    init(_ fields: Fields) throws(DvtEdgeError) {
        delegated = try fields["delegated"]
        undelegated = try fields["undelegated"]
        undelegatedKinds = try fields["undelegated_kinds", default: ByName()]
    }
}

/// `size` pixels a side, cut from the centre after the shorter side became `resize`: docs/preprocess.md.
public struct ImageSize: Sendable, Hashable, FromFields {
    static let maxSide = 8192

    public let size: Int
    public let resize: Int

    init(_ fields: Fields) throws(DvtEdgeError) {
        size = try fields["size"]
        resize = try fields["resize"]
        try fields.require(
            0 < size && size <= resize && resize <= Self.maxSide,
            "size \(size), resize \(resize); expected 0 < size <= resize <= \(Self.maxSide)")
    }
}

/// A stage compiled for one chip, beside its artifact: an NPU's context binary, say.
public struct Compiled: Sendable, Equatable, FromFields {
    public let soc: String
    public let backend: String
    public let file: String  // path in the bundle

    init(_ fields: Fields) throws(DvtEdgeError) {
        soc = try fields["soc"]
        backend = try fields["backend"]
        file = try fields["file"]
    }
}

public struct StageSpec: Sendable, Equatable, FromFields {
    public let name: String
    public let artifact: String  // path in the bundle: a file, or the folder of an .mlpackage
    public let grid: Int  // tokens a side
    public let macs: Int  // multiply-accumulates for one image
    public let parameters: Int
    public let inputs: [TensorSpec]  // in the order in which the artifact takes them
    public let outputs: [TensorSpec]
    public let operators: Operators
    public let image: ImageSize?  // of this stage's pixels; nil: the preprocessing's
    public let compiled: [Compiled]

    init(_ fields: Fields) throws(DvtEdgeError) {
        name = try fields["name"]
        artifact = try fields["artifact"]
        grid = try fields["grid"]
        macs = try fields["macs"]
        parameters = try fields["parameters"]
        inputs = try fields["inputs"]
        outputs = try fields["outputs"]
        operators = try fields["operators"]
        image = try fields["image", default: nil]
        compiled = try fields["compiled", default: []]
        try fields.require(
            inputs.count { $0.role == .image } == 1 && inputs.allSatisfy { $0.role != .logits },
            "\(name.quoted): inputs of roles \(inputs.map(\.role.rawValue)); expected one image and states")
        try fields.require(
            inputs.allSatisfy { $0.name.same(as: "image") == ($0.role == .image) },
            "\(name.quoted): inputs \(inputs.map(\.name.quoted)); expected the image, and it alone, as 'image'")
        try fields.require(
            outputs.count { $0.role == .logits } == 1 && outputs.allSatisfy { $0.role != .image },
            "\(name.quoted): outputs of roles \(outputs.map(\.role.rawValue)); expected one of logits and states")
        try fields.require(macs > 0, "\(name.quoted): macs \(macs); expected above 0")
        let chips = Set(compiled.map { [Exact($0.soc), Exact($0.backend)] })
        try fields.require(chips.count == compiled.count, "\(name.quoted): two compiled files for one chip and backend")
    }

    /// The place of the logits among the outputs.
    var logits: Int { outputs.firstIndex { $0.role == .logits }! }
}

public struct ModelSpec: Sendable, Equatable, FromFields {
    public let name: String
    public let config: JSONObject
    public let checkpointSha256: String?
    public let classes: Int
    public let trainedOn: TrainedOn?  // nil: not known

    init(_ fields: Fields) throws(DvtEdgeError) {
        name = try fields["name"]
        config = try fields["config"]
        checkpointSha256 = try fields["checkpoint_sha256"]
        classes = try fields["classes"]
        trainedOn = try fields["trained_on", default: nil]
    }
}

/// See docs/preprocess.md. The image tensor is `layout`, uint8 RGB, normalised inside the stages.
public struct Preprocessing: Sendable, Equatable, FromFields {
    public enum Layout: String, Sendable, OneOf {
        case nhwc = "NHWC"
        case image  // a Core ML image input of the same pixels
    }

    public enum Color: String, Sendable, OneOf {
        case rgb = "RGB"
    }

    public enum Resample: String, Sendable, OneOf {
        case bicubicAntialiased = "bicubic-antialiased"
    }

    public let imageSize: ImageSize
    public let layout: Layout
    public let color: Color
    public let resample: Resample
    public let mean: [Double]  // inside the graph already; for the record
    public let std: [Double]

    init(_ fields: Fields) throws(DvtEdgeError) {
        imageSize = try ImageSize(fields)
        layout = try fields["layout"]
        color = try fields["color", default: .rgb]
        resample = try fields["resample", default: .bicubicAntialiased]
        mean = try fields["mean", default: []]
        std = try fields["std", default: []]
    }
}

/// How each exit's confidence is computed: docs/exit-rule.md.
public struct ConfidenceSpec: Sendable, Equatable, FromFields {
    public let measure: Measure
    public let temperature: [Double]  // one an exit

    init(_ fields: Fields) throws(DvtEdgeError) {
        measure = try fields["measure"]
        temperature = try fields["temperature"]
        try fields.require(temperature.allSatisfy { $0.isFinite && $0 > 0 }, "temperature \(temperature)")
    }
}

/// Where the operating points come from. The three parts of the images are disjoint, drawn by `seed`.
public struct CalibrationRecord: Sendable, Equatable, FromFields {
    public enum CostUnit: String, Sendable, OneOf {
        case macs, ms, mJ
    }

    public let data: String
    public let dataSha256: String
    public let artifactSha256: String
    public let seed: Int
    public let searched: Int  // images that thresholds and temperatures were found on
    public let certified: Int  // images that certificates were tested on
    public let measured: Int  // images that the points' figures are of
    public let objectives: [String]
    public let costUnit: CostUnit
    public let costPerExit: [Double]  // cumulative
    public let costSource: String

    init(_ fields: Fields) throws(DvtEdgeError) {
        data = try fields["data"]
        dataSha256 = try fields["data_sha256"]
        artifactSha256 = try fields["artifact_sha256"]
        seed = try fields["seed"]
        searched = try fields["searched"]
        certified = try fields["certified"]
        measured = try fields["measured"]
        objectives = try fields["objectives"]
        costUnit = try fields["cost_unit"]
        costPerExit = try fields["cost_per_exit"]
        costSource = try fields["cost_source"]
    }
}

/// One exit of the chained artifacts against PyTorch in float32, on the same images.
public struct ExitQuality: Sendable, Equatable, FromFields {
    public let maxAbsError: Double
    public let sqnrDb: Double?  // nil: identical outputs
    public let cosine: Double
    public let top1Agreement: Double
    public let top1: Double?
    public let referenceTop1: Double?

    init(_ fields: Fields) throws(DvtEdgeError) {
        maxAbsError = try fields["max_abs_error"]
        sqnrDb = try fields["sqnr_db"]
        cosine = try fields["cosine"]
        top1Agreement = try fields["top1_agreement"]
        top1 = try fields["top1"]
        referenceTop1 = try fields["reference_top1"]
    }
}

/// `verified` is true only where the artifacts ran, on `backend`, and kept their recipe's bounds.
public struct Verification: Sendable, Equatable, FromFields {
    public let verified: Bool
    public let reason: String
    public let images: Int
    public let data: String
    public let machine: String
    public let exits: [ExitQuality]
    public let exitAgreement: Double?  // share of images that leave at the same exit as in PyTorch

    init(_ fields: Fields) throws(DvtEdgeError) {
        verified = try fields["verified"]
        reason = try fields["reason"]
        images = try fields["images"]
        data = try fields["data"]
        machine = try fields["machine"]
        exits = try fields["exits", default: []]
        exitAgreement = try fields["exit_agreement", default: nil]
    }
}

/// Raw little-endian arrays, first axis the images: per stage its uint8 pixels, per exit its float32 logits.
public struct Golden: Sendable, Equatable, FromFields {
    public enum Source: String, Sendable, OneOf {
        case artifact, pytorch
    }

    public let images: Int
    public let image: [String]  // a path for each stage, the same one again where its pixels are the same
    public let logits: [String]
    public let source: Source  // who computed the logits
    public let tolerance: Double

    init(_ fields: Fields) throws(DvtEdgeError) {
        images = try fields["images"]
        image = try fields["image"]
        logits = try fields["logits"]
        source = try fields["source"]
        tolerance = try fields["tolerance"]
        try fields.require(
            images >= 0 && tolerance >= 0, "images \(images), tolerance \(tolerance); expected 0 or more")
    }
}

public struct FileSpec: Sendable, Equatable, FromFields {
    public let sha256: String
    public let size: Int

    init(sha256: String, size: Int) {
        self.sha256 = sha256
        self.size = size
    }

    init(_ fields: Fields) throws(DvtEdgeError) {
        sha256 = try fields["sha256"]
        size = try fields["size"]
        try fields.require(isSHA256(sha256), "sha256 \(sha256.quoted)")
        try fields.require(size >= 0, "size \(size)")
    }
}
