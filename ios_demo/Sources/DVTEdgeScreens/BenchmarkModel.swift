import DVTEdge
import Foundation
import Observation

/// The smallest of sorted or unsorted numbers that at least `share` of them do not exceed; nil of none.
public func percentile(_ numbers: [Double], _ share: Double) -> Double? {
    let sorted = numbers.sorted()
    let place = Int((share * Double(sorted.count)).rounded(.up)) - 1
    return sorted.isEmpty ? nil : sorted[max(0, min(place, sorted.count - 1))]
}

/// Bytes that the process had in memory at its peak, since it began; nil where the system does not tell.
public func peakBytes() -> Int? {
    #if canImport(Darwin)
    var usage = rusage()
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss : nil
    #else
    let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = status?.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    return line.flatMap { Int($0.filter(\.isNumber)) }.map { $0 * 1024 }
    #endif
}

/// What was measured of each bundle since the app began, one row an artifact; int8 is not always the faster one.
@MainActor @Observable
public final class Comparison {
    public struct Row: Sendable {
        public let id: String  // hash of the artifacts
        public let name: String  // model and target
        public let p50: Double  // ms an image
    }

    public private(set) var rows: [Row] = []  // the fastest first

    public init() {}

    /// A second run of a bundle takes the place of the first.
    func add(_ row: Row) { rows = (rows.filter { $0.id != row.id } + [row]).sorted { $0.p50 < $1.p50 } }

    /// How many times as long as the fastest bundle one takes, by the medians.
    public func times(_ row: Row) -> Double { row.p50 / rows[0].p50 }
}

/// A sustained run over the bundle's golden images with their real mix of exits, after cold loads and a warm-up.
@MainActor @Observable
public final class BenchmarkModel {
    public struct Summary: Equatable, Sendable {
        public let loadMs: [Double]  // of each stage, the median of three cold loads
        public let images: Int
        public let seconds: Double
        public let p50: Double  // ms an image, from pixels to the answer
        public let p95: Double
        public let p99: Double
        public let engineShare: Double  // of the time, inside the engine
        public let slowdown: Double?  // median of the last tenth of the images to that of the first
        public let exits: [Int]
        public let thermalS: [Thermal: Int]  // seconds in each state
        public let peakBytes: Int?
    }

    public private(set) var running = false
    public private(set) var waiting = false  // until the device is cool
    public private(set) var stopped = false  // the last run, before its end: nothing of it is kept but its log
    public private(set) var done = 0
    public private(set) var summary: Summary?
    public private(set) var log: URL?
    public private(set) var failure: String?
    public let comparison: Comparison
    private let runtime: Runtime

    public init(_ runtime: Runtime, _ comparison: Comparison) {
        (self.runtime, self.comparison) = (runtime, comparison)
    }

    /// Runs for `seconds`, once the device is not hotter than fair, into a new log.
    ///
    /// `state` is asked before each image. Ends soon when its task is cancelled: after an image, or a stage's load.
    public func run(
        seconds: Double, _ logging: Logging, warmUp: Int = 20, state: @MainActor () -> DeviceState
    ) async {
        guard !running else { return }
        (running, stopped, done, summary, log, failure) = (true, false, 0, nil, nil, nil)
        defer { (running, waiting) = (false, false) }
        do {
            while state().thermal > .fair {
                waiting = true
                try await Task.sleep(for: .seconds(1))
            }
            waiting = false
            let images = try await goldenImages(runtime.bundle)
            let loads = try await coldLoads()
            for number in 0..<warmUp { _ = try await runtime.run(images[number % images.count], state: state()) }
            let (url, writer) = try await logging.begin(runtime, state(), everyStage: false)
            let found = try await measured(loads, images, seconds, writer, state)
            let manifest = runtime.bundle.manifest
            comparison.add(
                Comparison.Row(
                    id: manifest.artifactsSha256, name: "\(manifest.name), \(manifest.target)", p50: found.p50))
            (summary, log) = (found, url)
        } catch let error where error is CancellationError || Task.isCancelled {
            stopped = true
        } catch {
            failure = words(error)
        }
    }

    /// Milliseconds of each stage's load in a runtime that had none loaded, three times.
    private func coldLoads() async throws -> [[Double]] {
        var loads: [[Double]] = []
        for _ in 0..<3 {
            await runtime.unload()
            var times: [Double] = []
            for stage in runtime.bundle.manifest.stages.indices {
                try Task.checkCancellation()
                let began = ContinuousClock.now
                try await runtime.load(stage)
                times.append((ContinuousClock.now - began) / .milliseconds(1))
            }
            loads.append(times)
        }
        return loads
    }

    private func measured(
        _ loads: [[Double]], _ images: [RGBImage], _ seconds: Double, _ log: LogWriter,
        _ state: @MainActor () -> DeviceState
    ) async throws -> Summary {
        let clock = LogClock()
        var total: [Double] = [], inEngine = 0.0, thermalS: [Thermal: Int] = [:], samples = 0
        var exits = [Int](repeating: 0, count: runtime.bundle.manifest.stages.count)
        repeat {
            let now = state()
            if Double(samples) <= clock.timeS {
                samples += 1
                thermalS[now.thermal, default: 0] += 1
                try await log.write(.state(StateRecord(now, clock, idle: false)))
            }
            let result = try await runtime.run(images[done % images.count], state: now)
            try await log.write(.image(ImageRecord(result, id: "\(done % images.count)", timeS: clock.timeS)))
            total.append(result.totalMs)
            inEngine += result.stageMs.reduce(0, +)
            exits[result.exit] += 1
            done += 1
        } while clock.timeS < seconds
        return Summary(
            loadMs: loads[0].indices.map { stage in percentile(loads.map { $0[stage] }, 0.5)! }, images: total.count,
            seconds: clock.timeS, p50: percentile(total, 0.5)!, p95: percentile(total, 0.95)!,
            p99: percentile(total, 0.99)!, engineShare: inEngine / total.reduce(0, +), slowdown: slowdown(total),
            exits: exits, thermalS: thermalS, peakBytes: peakBytes())
    }
}

/// nil where a tenth is too few to say.
func slowdown(_ times: [Double]) -> Double? {
    let tenth = times.count / 10
    guard tenth >= 10 else { return nil }
    return percentile(Array(times.suffix(tenth)), 0.5)! / percentile(Array(times.prefix(tenth)), 0.5)!
}

/// The bundle's golden images of stage 0.
func goldenImages(_ bundle: CascadeBundle) async throws -> [RGBImage] {
    try await Task.detached {
        let size = bundle.manifest.imageSize(0).size
        return try bundle.golden().images.map { try RGBImage(width: size, height: size, pixels: $0) }
    }.value
}
