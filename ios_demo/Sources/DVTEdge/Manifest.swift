import Foundation

// What a bundle says about itself: manifest.json. Normative: docs/manifest.md.

public enum Dtype: String, Sendable, OneOf {
    case uint8, float16, float32

    /// Bytes of one number.
    public var size: Int { self == .uint8 ? 1 : self == .float16 ? 2 : 4 }
}

public enum Role: String, Sendable, OneOf {
    case image, state, logits
}

public enum Engine: String, Sendable, OneOf {
    case onnxruntime, executorch, coreml
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

    /// What it runs: its artifact, a file or a folder, and what is compiled of it.
    var files: [String] { [artifact] + compiled.map(\.file) }

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
        let digits = sha256.utf8.allSatisfy {
            UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "f") ~= $0
        }
        try fields.require(sha256.utf8.count == 64 && digits, "sha256 \(sha256.quoted)")
        try fields.require(size >= 0, "size \(size)")
    }
}

public struct Manifest: Sendable, Equatable, FromFields {
    static let file = "manifest.json"
    static let format = 2
    static let maxStages = 64
    static let maxFiles = 10_000  // with the manifest

    public let format: Int
    public let name: String
    public let target: String  // the recipe's name
    public let engine: Engine
    public let backend: String  // what must run the stages: a provider or delegate
    public let model: ModelSpec
    public let preprocessing: Preprocessing
    public let stages: [StageSpec]
    public let confidence: ConfidenceSpec
    public let operatingPoints: [OperatingPoint]  // by rising cost
    public let defaultOperatingPoint: String
    public let verification: Verification
    public let labels: String  // path of a JSON list of class names
    public let golden: Golden
    public let tools: ByName<String>
    public let files: ByName<FileSpec>
    public let calibration: CalibrationRecord?
    public let policy: PowerPolicy?  // docs/power-policy.md; nil: the default operating point, always
    public let attempts: ByName<Int>  // calibrations of these artifacts, by dataSha256
    /// One hash of all that the stages run: what thresholds, logits and certificates are bound to. docs/bundle.md
    public let artifactsSha256: String

    init(_ fields: Fields) throws(DvtEdgeError) {
        format = try fields["format"]
        name = try fields["name"]
        target = try fields["target"]
        engine = try fields["engine"]
        backend = try fields["backend"]
        model = try fields["model"]
        preprocessing = try fields["preprocessing"]
        stages = try fields["stages"]
        confidence = try fields["confidence"]
        operatingPoints = try fields["operating_points"]
        defaultOperatingPoint = try fields["default_operating_point"]
        verification = try fields["verification"]
        labels = try fields["labels"]
        golden = try fields["golden"]
        tools = try fields["tools"]
        files = try fields["files"]
        calibration = try fields["calibration", default: nil]
        policy = try fields["policy", default: nil]
        attempts = try fields["attempts", default: ByName()]
        artifactsSha256 = hashOfArtifacts(stages.map(\.files), files)
        try checkCounts(fields)
        try checkPoints(fields)
        try checkTensors(fields)
    }

    private func checkCounts(_ fields: Fields) throws(DvtEdgeError) {
        let exits = stages.count
        try fields.require(1...Self.maxStages ~= exits, "\(exits) stages; expected 1 to \(Self.maxStages)")
        try fields.require(files.count < Self.maxFiles, "\(files.count) files; expected at most \(Self.maxFiles - 1)")
        try fields.require(attempts.all.allSatisfy { $0 >= 1 }, "attempts below 1; expected at least 1")
        let temperatures = confidence.temperature.count
        try fields.require(
            temperatures == exits, "\(temperatures) temperatures; expected one for each of \(exits) exits")
        let expected = golden.images > 0 ? exits : 0
        for (what, count) in [("logits", golden.logits.count), ("images", golden.image.count)] {
            try fields.require(count == expected, "\(count) files of golden \(what); expected \(expected)")
        }
    }

    private func checkPoints(_ fields: Fields) throws(DvtEdgeError) {
        let exits = stages.count
        try fields.require(!operatingPoints.isEmpty, "no operating points")
        for point in operatingPoints {
            try fields.require(
                point.thresholds.count == exits && point.exitShares.count == exits,
                "\(point.name.quoted): a threshold and a share for each of \(exits) exits is expected")
        }
        let names = Set(operatingPoints.map { Exact($0.name) })
        try fields.require(names.count == operatingPoints.count, "two operating points of one name")
        for name in [defaultOperatingPoint] + (policy?.points ?? []) {
            try fields.require(
                names.contains(Exact(name)), "no operating point \(name.quoted); the bundle has: \(known)")
        }
    }

    private func checkTensors(_ fields: Fields) throws(DvtEdgeError) {
        var before: [TensorSpec] = []
        for (index, stage) in stages.enumerated() {
            let size = imageSize(index).size
            for tensor in stage.inputs + stage.outputs where tensor.role != .state {
                let shape = tensor.role == .image ? [1, size, size, 3] : [1, model.classes]
                try fields.require(
                    tensor.shape == shape,
                    "\(stage.name.quoted): \(tensor.name.quoted) of shape \(tensor.shape); expected \(shape)")
            }
            for state in stage.inputs where state.role == .state {
                try fields.require(
                    before.contains(where: state.takes),
                    "\(stage.name.quoted): the stage before does not give the state \(state.name.quoted) "
                        + "of \(state.dtype.rawValue) \(state.shape)")
            }
            before = stage.outputs
        }
    }

    /// Every path that the manifest names outside `files`; an artifact alone may be a folder of them.
    var neededFiles: [String] { [labels] + golden.image + golden.logits + stages.flatMap(\.files) }

    /// Of the pixels that a stage takes.
    public func imageSize(_ stage: Int) -> ImageSize { stages[stage].image ?? preprocessing.imageSize }

    /// The paths in `files` of a stage's artifact: itself, or all below its folder.
    public func artifactFiles(_ stage: Int) -> [String] {
        filesAt(stages[stage].artifact, files.names)
    }

    /// Why no certificate covers an operating point, in words; nil where one holds. Throws a `ManifestError`.
    public func uncertified(_ name: String) throws(DvtEdgeError) -> String? {
        whyUncertified(try operatingPoint(name))
    }

    private func whyUncertified(_ point: OperatingPoint) -> String? {
        guard let proved = point.certificate else { return "no certificate" }
        if !proved.artifactSha256.same(as: artifactsSha256) { return "other artifacts" }
        if proved.thresholds != point.thresholds { return "other thresholds" }
        if proved.measure != confidence.measure { return "another measure" }
        if proved.temperature != confidence.temperature { return "other temperatures" }
        return nil
    }

    /// The operating points, each with its certificate only where it holds: what a policy sees.
    public var provedPoints: [OperatingPoint] {
        operatingPoints.map { point in
            var proved = point
            if whyUncertified(point) != nil { proved.certificate = nil }
            return proved
        }
    }

    /// Multiply-accumulates spent when leaving at each exit (cumulative).
    public var macs: [Int] {
        var total = 0
        return stages.map { stage in
            total += stage.macs
            return total
        }
    }

    /// Throws a `ManifestError` where the bundle has no point of that name.
    public func operatingPoint(_ name: String) throws(DvtEdgeError) -> OperatingPoint {
        guard let point = operatingPoints.first(where: { $0.name.same(as: name) }) else {
            throw DvtEdgeError(.manifest, "no operating point \(name.quoted); the bundle has: \(known)")
        }
        return point
    }

    private var known: String { operatingPoints.map(\.name.quoted).joined(separator: ", ") }
}

/// nil where it is beyond 64 bits.
func product(_ factors: [Int]) -> Int? {
    factors.reduce(1) { total, factor in
        guard let (value, overflow) = total?.multipliedReportingOverflow(by: factor), !overflow else { return nil }
        return value
    }
}

/// The paths among sorted `names` that are `path`, or lie below it.
func filesAt(_ path: String, _ names: [String]) -> [String] {
    names.filter { $0.same(as: path) || $0.utf8.starts(with: (path + "/").utf8) }
}

/// The hash of the artifacts, docs/bundle.md: `stages` has the paths that each stage runs, files or folders of them.
func hashOfArtifacts(_ stages: [[String]], _ files: ByName<FileSpec>) -> String {
    let names = files.names
    var digest = SHA256Digest()
    for paths in stages {
        let run = Set(paths.flatMap { filesAt($0, names) }.map(Exact.init))
        for path in run.sorted() {
            digest.update(Array("\(path.text)\0\(files[path.text]!.sha256)\n".utf8))
        }
    }
    return digest.hex()
}

/// Throws a `NewerFormatError` for a later format, an `OldFormatError` for format 1, and a `ManifestError` for anything
/// else that is not a manifest.
public func parseManifest(_ bytes: [UInt8]) throws(DvtEdgeError) -> Manifest {
    do {
        let value = try parseJSON(bytes, Manifest.file)
        if case .object(let object) = value, case .integer(let format)? = object["format"] {
            try checkFormat(format)
        }
        return try Manifest.read(value, Manifest.file)
    } catch let error where error.kind == .schema {
        throw DvtEdgeError(.manifest, error.message)
    }
}

private func checkFormat(_ format: Int) throws(DvtEdgeError) {
    if format > Manifest.format {
        throw DvtEdgeError(
            .newerFormat, "\(Manifest.file): format \(format); this reads \(Manifest.format): update the app")
    }
    if format == 1 { throw DvtEdgeError(.oldFormat, "\(Manifest.file): format 1; run `dvt-edge upgrade BUNDLE`") }
    if format < 1 { throw DvtEdgeError(.manifest, "\(Manifest.file): format \(format); expected \(Manifest.format)") }
}
