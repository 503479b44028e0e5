import Foundation

/// How an exit's confidence is computed of its logits: docs/exit-rule.md.
public enum Measure: String, Sendable, OneOf {
    case maxSoftmax = "max_softmax"
    case margin
    case entropy
}

/// What was proved of a point on `n` images that its thresholds were not searched on: docs/calibration.md.
///
/// It is bound to what it was proved of (`Manifest.uncertified`). The risk is at most `epsilon` with probability
/// 1 - `delta` over the draw of the images; in expectation over it where `delta` is nil.
public struct Certificate: Sendable, Equatable, FromFields {
    public enum Risk: String, Sendable, OneOf {
        case accuracyLoss = "accuracy_loss"
        case disagreement
    }

    public enum Method: String, Sendable, OneOf {
        case hoeffdingBentkus = "hoeffding-bentkus"
        case wsr
        case binomial
        case crc
        case alwaysLast = "always-last"
    }

    public let risk: Risk  // against always running the last exit
    public let method: Method
    public let epsilon: Double
    public let delta: Double?
    public let n: Int
    public let artifactSha256: String  // Manifest.artifactsSha256
    public let dataSha256: String  // of the calibration images and their labels
    public let thresholds: [Double]  // one an exit
    public let measure: Measure
    public let temperature: [Double]  // one an exit
    public let attempts: Int  // calibrations of these artifacts on this data, this one included

    init(_ fields: Fields) throws(DvtEdgeError) {
        risk = try fields["risk"]
        method = try fields["method"]
        epsilon = try fields["epsilon"]
        delta = try fields["delta"]
        n = try fields["n"]
        artifactSha256 = try fields["artifact_sha256"]
        dataSha256 = try fields["data_sha256"]
        thresholds = try fields["thresholds"]
        measure = try fields["measure"]
        temperature = try fields["temperature"]
        attempts = try fields["attempts"]
        try fields.require(0 <= epsilon && epsilon < 1, "epsilon \(epsilon); expected 0 <= epsilon < 1")
        let level = delta ?? 0
        try fields.require(0 <= level && level < 1, "delta \(level); expected 0 <= delta < 1 or null")
        try fields.require((delta == nil) == (method == .crc), "a delta does not go with the method \(method.rawValue)")
        try fields.require(n >= 0 && attempts >= 1, "n \(n), attempts \(attempts); expected at least 0 and 1")
    }
}

/// Thresholds per exit and what they gave on `images` images of `data`, run through the shipped artifacts.
public struct OperatingPoint: Sendable, Equatable, FromFields {
    public let name: String
    public let thresholds: [Double]  // one an exit; above 1 never exits there, the last one is not used
    public let exitShares: [Double]
    public let meanMacs: Double
    public let agreement: Double  // share of images whose label is the last exit's
    public let top1: Double?  // nil where the data has no labels
    public let images: Int
    public let data: String
    public let top1Interval: [Double]?  // of top1, 95 %, Wilson: low, high
    public let expectedTop1: Double?  // the same, steadied; for policies
    public let meanCost: Double?  // in `calibration.costUnit`, where that is not MACs
    public internal(set) var certificate: Certificate?  // it holds only where `Manifest.uncertified` finds nothing

    init(_ fields: Fields) throws(DvtEdgeError) {
        name = try fields["name"]
        thresholds = try fields["thresholds"]
        exitShares = try fields["exit_shares"]
        meanMacs = try fields["mean_macs"]
        agreement = try fields["agreement"]
        top1 = try fields["top1"]
        images = try fields["images"]
        data = try fields["data"]
        top1Interval = try fields["top1_interval", default: nil]
        expectedTop1 = try fields["expected_top1", default: nil]
        meanCost = try fields["mean_cost", default: nil]
        certificate = try fields["certificate", default: nil]
        try fields.require(thresholds.allSatisfy(\.isFinite), "\(name.quoted): thresholds \(thresholds)")
        let bounds = top1Interval?.count ?? 2
        try fields.require(bounds == 2, "\(name.quoted): top1_interval of \(bounds) numbers; expected two")
    }
}
