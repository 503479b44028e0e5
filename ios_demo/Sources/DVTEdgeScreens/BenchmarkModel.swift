import DVTEdge
import Foundation
import Observation

/// The smallest of sorted or unsorted numbers that at least `share` of them do not exceed; nil of none.
public func percentile(_ numbers: [Double], _ share: Double) -> Double? {
    let sorted = numbers.sorted()
    let place = Int((share * Double(sorted.count)).rounded(.up)) - 1
    return sorted.isEmpty ? nil : sorted[max(0, min(place, sorted.count - 1))]
}

/// A sustained run over the bundle's golden images, after a warm-up.
@MainActor @Observable
public final class BenchmarkModel {
    public struct Summary: Equatable, Sendable {
        public let images: Int
        public let seconds: Double
        public let p50: Double  // ms an image, from pixels to the answer
        public let p95: Double
        public let p99: Double
        public let engineShare: Double  // of the time, inside the engine
        public let exits: [Int]
        public let hottest: Thermal
    }

    public private(set) var running = false
    public private(set) var done = 0
    public private(set) var summary: Summary?
    public private(set) var failure: String?
    private let runtime: Runtime

    public init(_ runtime: Runtime) { self.runtime = runtime }

    /// Runs for `seconds`. It does not begin while the device is serious or critical: its figures would be of another speed.
    ///
    /// `state` is asked before each image.
    public func run(seconds: Double, warmUp: Int = 5, state: @MainActor () -> DeviceState) async {
        guard !running else { return }
        (running, done, summary, failure) = (true, 0, nil, nil)
        defer { running = false }
        do {
            guard state().thermal < .serious else {
                throw DvtEdgeError(.data, "the device is hot: let it cool down")
            }
            let images = try await goldenImages(runtime.bundle)
            for _ in 0..<warmUp { _ = try await runtime.run(images[0]) }
            summary = try await measured(images, seconds, state)
        } catch is CancellationError {
            return
        } catch {
            failure = words(error)
        }
    }

    private func measured(
        _ images: [RGBImage], _ seconds: Double, _ state: @MainActor () -> DeviceState
    ) async throws -> Summary {
        let clock = LogClock()
        var total: [Double] = [], inEngine = 0.0, hottest = Thermal.nominal
        var exits = [Int](repeating: 0, count: runtime.bundle.manifest.stages.count)
        repeat {
            let now = state()
            hottest = max(hottest, now.thermal)
            let result = try await runtime.run(images[done % images.count], state: now)
            total.append(result.totalMs)
            inEngine += result.stageMs.reduce(0, +)
            exits[result.exit] += 1
            done += 1
        } while clock.timeS < seconds
        return Summary(
            images: total.count, seconds: clock.timeS, p50: percentile(total, 0.5)!, p95: percentile(total, 0.95)!,
            p99: percentile(total, 0.99)!, engineShare: inEngine / total.reduce(0, +), exits: exits, hottest: hottest)
    }
}

/// The bundle's golden images of stage 0.
func goldenImages(_ bundle: CascadeBundle) async throws -> [RGBImage] {
    try await Task.detached {
        let size = bundle.manifest.imageSize(0).size
        return try bundle.golden().images.map { try RGBImage(width: size, height: size, pixels: $0) }
    }.value
}
