import DVTEdge
import Foundation
import Observation

/// Whether this device computes what the bundle says: its golden images, and a log of them to take to `dvt-edge validate`.
@MainActor @Observable
public final class ValidateModel {
    public private(set) var running = false
    public private(set) var errors: [Float] = []  // the largest of a logit at each exit
    public private(set) var log: URL?
    public private(set) var failure: String?
    public var keepsPixels = false  // the user's own choice: the log then comes with the images
    public let tolerance: Double
    private let runtime: Runtime

    public init(_ runtime: Runtime) {
        self.runtime = runtime
        tolerance = runtime.bundle.manifest.golden.tolerance
    }

    /// Whether every logit is near the golden one; nil before a run.
    public var passed: Bool? { errors.isEmpty ? nil : errors.allSatisfy { Double($0) <= tolerance } }

    /// Runs every stage on the golden images, and writes a log of that into a new file in `folder`.
    public func run(_ device: String, _ os: String, app: String, engine: String, folder: URL, state: DeviceState) async
    {
        guard !running else { return }
        (running, errors, log, failure) = (true, [], nil, nil)
        defer { running = false }
        do {
            errors = try await runtime.goldenErrors()
            let file = folder.appendingPathComponent("dvt-edge-\(UUID().uuidString.prefix(8)).jsonl")
            let header = try await LogHeader(
                runtime, app: app, engine: engine, device: device, os: os, threads: 1,
                powerSource: state.charging ? .charger : state.knownLevel == nil ? .unknown : .battery,
                everyStage: true,
                data: "golden", pixels: keepsPixels ? "\(file.lastPathComponent).pixels" : nil)
            try await write(try LogWriter(file.path, header), state)
            log = file
        } catch is CancellationError {
            return
        } catch {
            failure = words(error)
        }
    }

    private func write(_ log: LogWriter, _ state: DeviceState) async throws {
        let clock = LogClock()
        let sample = StateRecord(
            timeS: clock.timeS, idle: true, screenOn: true, charging: state.charging, awakeS: clock.awakeS,
            batteryLevel: state.knownLevel, thermal: state.thermal, lowPower: state.lowPower)
        try await log.write(.state(sample))
        for (number, image) in try await goldenImages(runtime.bundle).enumerated() {
            let result = try await runtime.run(image, everyStage: true)
            let stored = try await log.writePixels(result.pixels)
            let record = ImageRecord(result, id: "\(number)", timeS: clock.timeS, image: stored)
            try await log.write(.image(record))
        }
    }
}
