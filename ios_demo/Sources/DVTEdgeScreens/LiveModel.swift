import DVTEdge
import Foundation
import Observation

/// The camera's answers. A frame that comes while another is in work is dropped, and counted.
@MainActor @Observable
public final class LiveModel {
    public private(set) var result: CascadeResult?
    public private(set) var failure: String?
    public private(set) var histogram: [Int]  // answers by exit
    public private(set) var dropped = 0
    public private(set) var busy = false
    public let stages: [String]
    private let runtime: Runtime

    public init(_ runtime: Runtime) {
        self.runtime = runtime
        stages = runtime.bundle.manifest.stages.map(\.name)
        histogram = [Int](repeating: 0, count: stages.count)
    }

    /// Answers an image, unless another is in work. `image` is made outside the main actor.
    public func offer(
        _ state: DeviceState, point: String? = nil, _ image: @escaping @Sendable () throws -> RGBImage
    ) async {
        if busy {
            dropped += 1
            return
        }
        busy = true
        defer { busy = false }
        do {
            let decoded = try await Task.detached(operation: image).value
            let answer = try await runtime.run(decoded, state: state, operatingPoint: point)
            result = answer
            histogram[answer.exit] += 1
            failure = nil
        } catch is CancellationError {
            return
        } catch {
            failure = words(error)
        }
    }

    /// The largest number of the histogram, 1 at least.
    public var most: Int { max(1, histogram.max() ?? 1) }

    /// Milliseconds of each stage; nil of those that did not run.
    public var bars: [Double?] {
        stages.indices.map { stage in result.flatMap { stage < $0.stageMs.count ? $0.stageMs[stage] : nil } }
    }
}
