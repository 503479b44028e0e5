import Foundation

// What a bundle says about itself: manifest.json. Normative: docs/manifest.md.

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
        try Self.checkLimits(fields, stages: stages.count, files: files.count)
        artifactsSha256 = hashOfArtifacts(stages.map { ($0.artifact, $0.compiled.map(\.file)) }, files)
        try checkCounts(fields)
        try checkPoints(fields)
        try checkTensors(fields)
    }

    /// What bounds the time that the hash of the artifacts takes.
    private static func checkLimits(_ fields: Fields, stages: Int, files: Int) throws(DvtEdgeError) {
        try fields.require(1...maxStages ~= stages, "\(stages) stages; expected 1 to \(maxStages)")
        try fields.require(files < maxFiles, "\(files) files; expected at most \(maxFiles - 1)")
    }

    private func checkCounts(_ fields: Fields) throws(DvtEdgeError) {
        let exits = stages.count
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

    /// Every path of a file that the manifest names outside `files`, but artifacts, which may be folders.
    var neededFiles: [String] { [labels] + golden.image + golden.logits + stages.flatMap { $0.compiled.map(\.file) } }

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
    let folder = path + "/"
    return names.filter { $0.same(as: path) || $0.utf8.starts(with: folder.utf8) }
}

/// The hash of the artifacts, docs/bundle.md: `stages` has each stage's artifact, a file or a folder, and compiled files.
func hashOfArtifacts(_ stages: [(artifact: String, compiled: [String])], _ files: ByName<FileSpec>) -> String {
    let names = files.names
    var digest = SHA256Digest()
    for stage in stages {
        let compiled = stage.compiled.filter { files[$0] != nil }
        let run = Set((filesAt(stage.artifact, names) + compiled).map(Exact.init))
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
