import Foundation

// What a device log takes from a bundle, its runtime and its answers.

/// The clock of a log, in seconds since it was made: `timeS` goes on while the device is suspended, `awakeS` stops.
public struct LogClock: Sendable {
    private let start = ContinuousClock.now
    private let awakeStart = SuspendingClock.now

    public init() {}

    public var timeS: Double { (ContinuousClock.now - start) / .seconds(1) }
    public var awakeS: Double { (SuspendingClock.now - awakeStart) / .seconds(1) }
}

/// How much of an image's logits a log keeps.
public enum LoggedLogits: String, Sendable, CaseIterable {
    case none, top5, all
}

extension LogHeader {
    /// Of a runtime's bundle. Throws an `EngineError` unless every stage is loaded: a log says what really runs each.
    public init(
        _ runtime: Runtime, app: String, engine: String, device: String, os: String, threads: Int,
        powerSource: PowerSource = .unknown, everyStage: Bool = false, data: String? = nil, pixels: String? = nil
    ) async throws(DvtEdgeError) {
        let bundle = runtime.bundle, manifest = bundle.manifest
        let backends = await runtime.backends.compactMap { $0 }
        guard backends.count == manifest.stages.count else {
            throw DvtEdgeError(.engine, "a log begins when every stage is loaded: prewarm first")
        }
        self.init(
            bundleSha256: bundle.sha256, artifactSha256: manifest.artifactsSha256, target: manifest.target,
            stages: manifest.stages.count, classes: manifest.model.classes, app: app, engine: engine, device: device,
            os: os, backends: backends, threads: threads, powerSource: powerSource, everyStage: everyStage, data: data,
            pixels: pixels)
    }
}

extension ImageRecord {
    /// Of an answer. `image` is the number of its pixels in the pixels file, if there is one.
    public init(_ result: CascadeResult, id: String, timeS: Double, logits kept: LoggedLogits = .all, image: Int? = nil)
    {
        let best = kept == .top5 ? result.logits.map(largest) : []
        self.init(
            timeS: timeS, id: id, pixelsSha256: sha256(result.pixels), exit: result.exit, label: result.label,
            labelName: result.labelName, confidence: result.confidences.map(Double.init), stageMs: result.stageMs,
            preprocessMs: result.preprocessMs, totalMs: result.totalMs, point: result.operatingPoint,
            degraded: result.degraded, uncertified: result.uncertified, pixels: image,
            logits: kept == .all ? result.logits : [], top5Labels: best.map { $0.map(\.label) },
            top5: best.map { $0.map(\.logit) }, maxStage: result.maxStage)
    }
}

extension ErrorRecord {
    /// Of an image that was not answered. Of an error that is not ours, whose words may name files, stand domain and code.
    public init(_ error: any Error, id: String?, timeS: Double) {
        let own = error as? DvtEdgeError
        self.init(
            timeS: timeS, kind: own?.name ?? "\(type(of: error))", message: own?.logged ?? domainAndCode(error), id: id)
    }
}

/// The five largest of (classes,) logits and their classes, largest first; of equal ones the lower class first.
private func largest(_ logits: [Float]) -> [(label: Int, logit: Float)] {
    let order = logits.indices.sorted { logits[$0] > logits[$1] || (logits[$0] == logits[$1] && $0 < $1) }
    return order.prefix(5).map { ($0, logits[$0]) }
}
