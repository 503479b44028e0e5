import DVTEdge
import Foundation
import Observation

/// The camera's answers, or a photo's. A frame that comes while another is in work is dropped, and counted.
@MainActor @Observable
public final class LiveModel {
    public private(set) var result: CascadeResult?
    public private(set) var failure: String?
    public private(set) var histogram: [Int]  // answers by exit
    public private(set) var dropped = 0
    public private(set) var busy = false  // with a frame
    public private(set) var showsPhoto = false  // until `resume`; no frame is taken meanwhile
    public let stages: [String]
    private let runtime: Runtime
    private var turn = 0  // of camera and photos: what was begun in another is not shown

    public init(_ runtime: Runtime) {
        self.runtime = runtime
        stages = runtime.bundle.manifest.stages.map(\.name)
        histogram = [Int](repeating: 0, count: stages.count)
    }

    /// Counts a frame that was not taken.
    public func drop() { dropped += 1 }

    /// Answers a camera's frame, unless another is in work or a photo is shown. `frame` makes its image, outside the main
    /// actor, which counts as preprocessing.
    public func offer(_ state: DeviceState, point: String? = nil, _ frame: @escaping Picture) async {
        if showsPhoto { return }
        if busy { return drop() }
        busy = true
        defer { busy = false }
        await show { [runtime] in
            let began = ContinuousClock.now
            let image = try frame()
            let ms = (ContinuousClock.now - began) / .milliseconds(1)
            return try await runtime.run(image, state: state, operatingPoint: point).converted(ms)
        }
    }

    /// Answers a photo, at once, and stays with it. `photo` reads and decodes it, outside the main actor.
    public func answer(
        photo: @escaping @Sendable () async throws -> RGBImage, _ state: DeviceState, point: String? = nil
    ) async {
        begin(photo: true)
        await show { [runtime] in try await runtime.run(try await photo(), state: state, operatingPoint: point) }
    }

    /// Back to the camera.
    public func resume() { begin(photo: false) }

    private func begin(photo: Bool) {
        (showsPhoto, result, failure) = (photo, nil, nil)
        turn += 1
    }

    /// Shows what an image's work gives, unless its turn is over by then.
    private func show(_ work: @escaping @Sendable () async throws -> CascadeResult) async {
        let turn = turn
        do {
            let answer = try await work()
            guard turn == self.turn else { return }
            (result, failure) = (answer, nil)
            histogram[answer.exit] += 1
        } catch is CancellationError {
            return
        } catch {
            if turn == self.turn { failure = words(error) }
        }
    }

    /// The largest number of the histogram, 1 at least.
    public var most: Int { max(1, histogram.max() ?? 1) }

    /// Milliseconds of each stage; nil of those that did not run.
    public var bars: [Double?] {
        stages.indices.map { stage in result.flatMap { stage < $0.stageMs.count ? $0.stageMs[stage] : nil } }
    }
}
