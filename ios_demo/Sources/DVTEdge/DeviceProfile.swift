// What a device draws, and how fast it is: docs/energy-model.md. Each section says whether it was measured or estimated.

private let profileFormat = 1
private let least = 1e-9, most = 1e9  // of any number here, in its unit

extension Fields {
    fileprivate func positive(_ name: String, _ value: Double) throws(DvtEdgeError) {
        try require(least <= value && value <= most, "\(name) \(value); expected above 0: \(least) to \(most)")
    }

    fileprivate func notNegative(_ name: String, _ value: Double) throws(DvtEdgeError) {
        try require(0 <= value && value <= most, "\(name) \(value); expected 0 or more, at most \(most)")
    }
}

/// Where a figure comes from.
public enum Basis: String, Sendable, OneOf {
    case measured, estimated
}

public struct Battery: Sendable, Equatable, FromFields {
    public let capacityMah: Double
    public let voltageV: Double  // nominal
    public let basis: Basis
    public let source: String

    init(_ fields: Fields) throws(DvtEdgeError) {
        capacityMah = try fields["capacity_mah"]
        voltageV = try fields["voltage_v"]
        basis = try fields["basis"]
        source = try fields["source"]
        try fields.positive("capacity_mah", capacityMah)
        try fields.positive("voltage_v", voltageV)
    }

    /// In a full one.
    public var joules: Double { capacityMah * 3.6 * voltageV }
}

/// What the device draws beside inference, in watts: awake and waiting, and the screen on top of it.
public struct BasePower: Sendable, Equatable, FromFields {
    public let idleW: Double
    public let screenW: Double
    public let basis: Basis
    public let source: String

    init(_ fields: Fields) throws(DvtEdgeError) {
        idleW = try fields["idle_w"]
        screenW = try fields["screen_w"]
        basis = try fields["basis"]
        source = try fields["source"]
        try fields.notNegative("idle_w", idleW)
        try fields.notNegative("screen_w", screenW)
    }
}

/// For simulations: docs/energy-model.md. A phone has its own thermal state.
public struct ThermalModel: Sendable, Equatable, FromFields {
    public let ambientC: Double
    public let resistanceKPerW: Double
    public let tauS: Double
    public let limitC: Double
    public let slowdownPerK: Double
    public let maxSlowdown: Double
    public let fairC: Double
    public let seriousC: Double
    public let criticalC: Double
    public let basis: Basis
    public let source: String

    init(_ fields: Fields) throws(DvtEdgeError) {
        ambientC = try fields["ambient_c"]
        resistanceKPerW = try fields["resistance_k_per_w"]
        tauS = try fields["tau_s"]
        limitC = try fields["limit_c"]
        slowdownPerK = try fields["slowdown_per_k"]
        maxSlowdown = try fields["max_slowdown"]
        fairC = try fields["fair_c"]
        seriousC = try fields["serious_c"]
        criticalC = try fields["critical_c"]
        basis = try fields["basis"]
        source = try fields["source"]
        for celsius in [ambientC, limitC, fairC, seriousC, criticalC] {
            try fields.require(abs(celsius) <= most, "\(celsius) C; expected a temperature")
        }
        try fields.positive("resistance_k_per_w", resistanceKPerW)
        try fields.positive("tau_s", tauS)
        try fields.notNegative("slowdown_per_k", slowdownPerK)
        try fields.require(1 <= maxSlowdown && maxSlowdown <= most, "max_slowdown \(maxSlowdown); expected 1 or more")
        try fields.require(fairC <= seriousC && seriousC <= criticalC, "fair_c, serious_c, critical_c; expected rising")
    }
}

/// Stage costs from MACs, for any cascade of the target: MACs / rate + call, at `busyW` above the base power.
public struct ComputeEstimate: Sendable, Equatable, FromFields {
    public let target: String  // a recipe's name, such as coreml-fp16
    public let gmacsPerS: Double
    public let busyW: Double
    public let callMs: Double  // of each stage's call
    public let imageMs: Double  // of each image: preprocessing, copying, the decision
    public let source: String

    init(_ fields: Fields) throws(DvtEdgeError) {
        target = try fields["target"]
        gmacsPerS = try fields["gmacs_per_s"]
        busyW = try fields["busy_w"]
        callMs = try fields["call_ms"]
        imageMs = try fields["image_ms"]
        source = try fields["source"]
        try fields.positive("gmacs_per_s", gmacsPerS)
        try fields.positive("busy_w", busyW)
        try fields.notNegative("call_ms", callMs)
        try fields.notNegative("image_ms", imageMs)
    }
}

/// Stage costs of one artifact, medians and means of a device's log: `dvt-edge profile`.
public struct MeasuredStages: Sendable, Equatable, FromFields {
    public let target: String
    public let artifactSha256: String
    public let stageMs: [Double]
    public let stageMj: [Double]
    public let imageMs: Double
    public let imageMj: Double
    public let images: Int
    public let source: String

    init(_ fields: Fields) throws(DvtEdgeError) {
        target = try fields["target"]
        artifactSha256 = try fields["artifact_sha256"]
        stageMs = try fields["stage_ms"]
        stageMj = try fields["stage_mj"]
        imageMs = try fields["image_ms"]
        imageMj = try fields["image_mj"]
        images = try fields["images"]
        source = try fields["source"]
        try fields.require(
            stageMs.count == stageMj.count && !stageMs.isEmpty,
            "stage_ms and stage_mj; expected one value a stage in each")
        for (k, ms) in stageMs.enumerated() { try fields.positive("stage_ms[\(k)]", ms) }
        for (k, mj) in stageMj.enumerated() { try fields.notNegative("stage_mj[\(k)]", mj) }
        try fields.notNegative("image_ms", imageMs)
        try fields.notNegative("image_mj", imageMj)
        try fields.require(images > 0, "images \(images); expected above 0")
    }
}

/// Seconds and joules of each stage and of each image beside the stages, for one artifact on one device.
public struct StageCosts: Sendable, Equatable {
    public let stageS: [Double]
    public let stageJ: [Double]
    public let imageS: Double
    public let imageJ: Double
    public let basis: Basis
    public let source: String

    /// Seconds of an image that leaves at each exit.
    public var exitS: [Double] { sums(stageS).map { imageS + $0 } }

    /// Joules of an image that leaves at each exit.
    public var exitJ: [Double] { sums(stageJ).map { imageJ + $0 } }
}

private func sums(_ values: [Double]) -> [Double] {
    var total = 0.0
    return values.map { value in
        total += value
        return total
    }
}

public struct DeviceProfile: Sendable, Equatable, FromFields {
    public let format: Int
    public let name: String
    public let battery: Battery
    public let power: BasePower
    public let thermal: ThermalModel
    public let estimated: [ComputeEstimate]
    public let measured: [MeasuredStages]
    public let lowPowerBelow: Double?

    init(_ fields: Fields) throws(DvtEdgeError) {
        format = try fields["format"]
        name = try fields["name"]
        battery = try fields["battery"]
        power = try fields["power"]
        thermal = try fields["thermal"]
        estimated = try fields["estimated", default: []]
        measured = try fields["measured", default: []]
        lowPowerBelow = try fields["low_power_below", default: nil]
        try fields.require(format == profileFormat, "format \(format); this reads \(profileFormat)")
        try fields.require(
            !estimated.isEmpty || !measured.isEmpty, "no stage costs; expected `estimated` or `measured` ones")
        let level = lowPowerBelow ?? 0
        try fields.require(0 <= level && level <= 1, "low_power_below \(level); expected 0 to 1 or null")
    }

    /// A profile from its JSON; `place` names it in errors. Throws a `SchemaError`.
    public init(json: [UInt8], _ place: String = "profile") throws(DvtEdgeError) {
        self = try DeviceProfile.read(try parseJSON(json, place), place)
    }

    /// Of an artifact: measured ones if the profile has them for exactly these files, else an estimate.
    ///
    /// `stageMacs` has each stage's own MACs. Throws a `SchemaError` where the profile has neither.
    public func costs(
        _ stageMacs: [Int], _ artifactSha256: String, _ target: String
    ) throws(DvtEdgeError) -> StageCosts {
        for one in measured where one.artifactSha256.same(as: artifactSha256) && one.stageMs.count == stageMacs.count {
            return StageCosts(
                stageS: one.stageMs.map { $0 / 1e3 }, stageJ: one.stageMj.map { $0 / 1e3 }, imageS: one.imageMs / 1e3,
                imageJ: one.imageMj / 1e3, basis: .measured, source: one.source)
        }
        for one in estimated where one.target.same(as: target) {
            let seconds = stageMacs.map { Double($0) / (one.gmacsPerS * 1e9) + one.callMs / 1e3 }
            let imageS = one.imageMs / 1e3
            return StageCosts(
                stageS: seconds, stageJ: seconds.map { $0 * one.busyW }, imageS: imageS, imageJ: imageS * one.busyW,
                basis: .estimated, source: one.source)
        }
        throw DvtEdgeError(
            .schema,
            "the profile \(name.quoted) has no costs measured for the artifacts \(artifactSha256.prefix(12))... "
                + "and none estimated for \(target.quoted); estimated: \(estimated.map(\.target))")
    }

    /// Watts beside inference with the screen on for a share `screen` of the time.
    public func baseW(_ screen: Double) -> Double { power.idleW + screen * power.screenW }

    /// What the power policy knows of this device and a bundle's points.
    public func powerTable(_ points: [OperatingPoint], _ costs: StageCosts, screen: Double = 0) -> PowerTable {
        PowerTable(points, exitJ: costs.exitJ, capacityJ: battery.joules, baseW: baseW(screen))
    }
}
