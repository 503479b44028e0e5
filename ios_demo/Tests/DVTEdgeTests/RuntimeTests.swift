import Foundation
import Testing

@testable import DVTEdge

private let sure: [Float] = [9, 0, 0]
private let unsure: [Float] = [0, 0.1, 0]
private let broken: [Float] = [.nan, 0, 0]
private let image = try! RGBImage(width: 6, height: 5, pixels: [UInt8](repeating: 7, count: 90))

/// What does not run does not load, and a stage is loaded once.
@Test func stagesAreLazy() async throws {
    let engine = FakeEngine([unsure, sure, sure])
    let runtime = try Runtime(try fakeBundle(), operatingPoint: "accurate", load: engine.load)
    for _ in 0..<2 {
        let result = try await runtime.run(image)
        #expect(result.exit == 1 && result.label == 0 && result.labelName == "cat" && !result.degraded)
        #expect(result.skipped == ["stage2"] && result.confidences.count == 2 && result.stageMs.count == 2)
        #expect(result.pixels.count == 4 * 4 * 3 && result.glueMs >= 0)
    }
    #expect(await engine.loads == [0, 1])
    #expect(await engine.runs == [0, 1, 0, 1])
    #expect(await runtime.loaded == [true, true, false])
    #expect(await runtime.backends == ["fake CPUExecutionProvider", "fake CPUExecutionProvider", nil])
}

@Test func prewarmLoadsAndRunsAll() async throws {
    let engine = FakeEngine([sure, sure, sure])
    let runtime = try Runtime(try fakeBundle(), load: engine.load)
    let warm = Counter()
    try await runtime.prewarm { warm.add($0) }
    #expect(warm.all == [1, 2, 3])
    #expect(await engine.runs == [0, 1, 2])
}

/// What an engine plans is asked for when somebody wants to know: a load does not wait for it.
@Test func placementsAreLazy() async throws {
    let engine = FakeEngine([sure, sure, sure])
    let runtime = try Runtime(try fakeBundle(), load: engine.load)
    #expect(await runtime.placements == [nil, nil, nil])
    try await runtime.prewarm()
    #expect(await engine.planned == [])
    #expect(await runtime.placements == ["CPU 0", "CPU 1", "CPU 2"])
}

/// Images that come at once share one load of each stage.
@Test func oneLoadForMany() async throws {
    let engine = FakeEngine([unsure, unsure, sure])
    let runtime = try Runtime(try fakeBundle(), operatingPoint: "full", load: engine.load)
    let exits = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<20 { group.addTask { try await runtime.run(image).exit } }
        return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(exits == [Int](repeating: 2, count: 20))
    #expect(await engine.loads == [0, 1, 2])
}

/// An exit that is not finite is answered by the latest before it that is, and the answer says so.
@Test func degradedAnswers() async throws {
    let engine = FakeEngine([unsure, unsure, broken])
    let result = try await Runtime(try fakeBundle(), load: engine.load).run(image)
    #expect(result.degraded && result.exit == 1 && result.confidences[2].isNaN && result.stageMs.count == 3)
    let none = try Runtime(try fakeBundle(), load: FakeEngine([broken, broken, broken]).load)
    #expect(await kind { _ = try await none.run(image) } == .notFinite)
}

@Test func caps() async throws {
    let runtime = try Runtime(try fakeBundle(), operatingPoint: "full", load: FakeEngine([unsure, unsure, sure]).load)
    let capped = try await runtime.run(image, state: DeviceState(maxStage: 1))
    #expect(capped.exit == 1 && capped.maxStage == 1 && capped.uncertified)
    let open = try await runtime.run(image, state: DeviceState(maxStage: 7))
    #expect(open.exit == 2 && !open.uncertified)  // `full` has a certificate that holds
    let other = try await runtime.run(image, operatingPoint: "accurate")
    #expect(other.operatingPoint == "accurate" && other.uncertified)
    let own = try Runtime(try fakeBundle(), thresholds: [0.1, 0.1, 0], load: FakeEngine([sure, sure, sure]).load)
    let result = try await own.run(image)
    #expect(result.operatingPoint == "custom" && result.uncertified && result.exit == 0)
}

/// For a log every stage may run; the answer is still the exit's.
@Test func everyStage() async throws {
    let runtime = try Runtime(try fakeBundle(), load: FakeEngine([sure, unsure, broken]).load)
    let result = try await runtime.run(image, everyStage: true)
    #expect(result.exit == 0 && result.label == 0 && !result.degraded)
    #expect(result.logits.map(\.count) == [3, 3, 3] && result.skipped == [])
}

/// What an image took is what ran: all stages, where all of them do.
@Test func theJoulesAreThoseOfTheStagesThatRan() async throws {
    let bundle = try fakeBundle(), policy = try PowerPolicy(otherwise: "full", allowUncertified: true)
    let runtime = try Runtime(
        bundle, policy: policy, power: PowerTable(bundle.manifest.provedPoints, exitJ: [1, 10, 100]),
        load: FakeEngine([sure, unsure, sure]).load)
    _ = try await runtime.run(image, operatingPoint: "eager")
    #expect(await runtime.memory.usedJ == 1)
    let all = try await runtime.run(image, operatingPoint: "eager", everyStage: true)
    #expect(all.exit == 0 && all.stageMs.count == 3)
    #expect(await runtime.memory.usedJ == 101)
}

/// The policy chooses, is told what was used, and a point that is named comes before it.
@Test func policies() async throws {
    let policy = try PowerPolicy(
        json: Array(
            """
            {"otherwise": "full", "allow_uncertified": true, "dwell_s": 0, "cool_s": 0,
             "rules": [{"point": "eager", "max_stage": 0, "thermal_at_least": "serious"}]}
            """.utf8))
    let engine = FakeEngine([unsure, unsure, sure])
    let runtime = try Runtime(try fakeBundle(), policy: policy, load: engine.load)
    #expect(try await runtime.run(image).operatingPoint == "full")
    let hot = try await runtime.run(image, state: DeviceState(thermal: .critical))
    #expect(hot.operatingPoint == "eager" && hot.maxStage == 0 && hot.exit == 0 && hot.uncertified)
    #expect(try await runtime.run(image, operatingPoint: "accurate").operatingPoint == "accurate")
    let foreign = try PowerPolicy(json: Array(#"{"otherwise": "nowhere"}"#.utf8))
    #expect(kind { _ = try Runtime(try fakeBundle(), policy: foreign, load: engine.load) } == .manifest)
    let table = PowerTable(stages: 3, rows: [PointRow(name: "x", accuracy: 1, certified: true, exitShares: [0, 0, 1])])
    #expect(kind { _ = try Runtime(try fakeBundle(), power: table, load: engine.load) } == .manifest)
    #expect(kind { _ = try Runtime(try fakeBundle(), operatingPoint: "x", load: engine.load) } == .manifest)
    for thresholds in [[], [0, 0], [0, 0, .nan]] {
        #expect(kind { _ = try Runtime(try fakeBundle(), thresholds: thresholds, load: engine.load) } == .manifest)
    }
}

/// A load that fails is an EngineError, leaves nothing behind, and is tried again.
@Test func loadsThatFail() async throws {
    let engine = FakeEngine([unsure, sure, sure])
    await engine.failLoads(1, times: 1)
    let runtime = try Runtime(try fakeBundle(), load: engine.load)
    #expect(await kind { _ = try await runtime.run(image) } == .engine)
    #expect(await runtime.loaded == [true, false, false])
    #expect(try await runtime.run(image).exit == 1)
    #expect(await engine.loads == [0, 1, 1])
}

/// Stages that were unloaded are loaded again, one at a time or when an image needs them.
@Test func unloading() async throws {
    let engine = FakeEngine([unsure, sure, sure])
    let runtime = try Runtime(try fakeBundle(), load: engine.load)
    try await runtime.prewarm()
    await runtime.unload()
    #expect(await runtime.loaded == [false, false, false])
    try await runtime.load(2)
    #expect(await runtime.loaded == [false, false, true])
    #expect(try await runtime.run(image).exit == 1)
    #expect(await engine.loads == [0, 1, 2, 2, 0, 1])
}

/// What an engine gives is held against the manifest: count, dtype, shape and bytes; its own errors are ours.
@Test func enginesThatLie() async throws {
    let lies: [@Sendable (inout [Tensor]) throws -> Void] = [
        { $0 = [] },
        { $0[0] = Tensor(dtype: .float16, shape: $0[0].shape, bytes: $0[0].bytes) },
        { $0[0] = Tensor(dtype: .float32, shape: [3], bytes: $0[0].bytes) },
        { $0[0] = Tensor(dtype: .float32, shape: [1, 4], bytes: $0[0].bytes) },
        { $0[0] = Tensor(dtype: .float32, shape: $0[0].shape, bytes: Array($0[0].bytes.dropLast())) },
        { _ in throw FakeEngine.Failure() },
    ]
    for lie in lies {
        let engine = FakeEngine([unsure, unsure, sure])
        await engine.breakOutputs(lie)
        let runtime = try Runtime(try fakeBundle(), operatingPoint: "full", load: engine.load)
        #expect(await kind { _ = try await runtime.run(image) } == .engine)
    }
}

/// An image whose task is cancelled is given up, and the runtime goes on.
@Test func cancellation() async throws {
    let engine = FakeEngine([unsure, unsure, sure])
    let runtime = try Runtime(try fakeBundle(), operatingPoint: "full", load: engine.load)
    let task = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        return try await runtime.run(image)
    }
    await #expect(throws: CancellationError.self) { try await task.value }
    #expect(await engine.runs == [])
    #expect(try await runtime.run(image).exit == 2)
}

/// Engine and wiring are checked on the bundle's golden images; a NaN is no match.
@Test func goldenErrors() async throws {
    let right = try Runtime(try fakeBundle(), load: FakeEngine([[0, 0, 0], [0, 0.5, 0], broken]).load)
    let expected = try fakeBundle().golden().logits.map { $0[0] }
    let errors = try await right.goldenErrors()
    #expect(errors[0] == expected[0].map(abs).max())
    #expect(errors[1] == zip(expected[1], [0, 0.5, 0]).map { abs($0 - $1) }.max())
    #expect(errors[2] == .infinity)
}

/// A log of a run says what ran, in the form of the record.
@Test func recordsOfAnswers() async throws {
    let runtime = try Runtime(try fakeBundle(), load: FakeEngine([unsure, sure, sure]).load)
    do {
        _ = try await LogHeader(runtime, app: "a", engine: "e", device: "d", os: "o", threads: 1)
        Issue.record("a log began before the stages were loaded")
    } catch { #expect(error.kind == .engine) }
    try await runtime.prewarm()
    let header = try await LogHeader(runtime, app: "a", engine: "e", device: "d", os: "o", threads: 1)
    #expect(header.bundleSha256 == runtime.bundle.sha256 && header.backends.count == 3)
    let result = try await runtime.run(image)
    let record = ImageRecord(result, id: "7", timeS: 1, logits: .top5)
    #expect(record.top5Labels == [[1, 0, 2], [0, 1, 2]] && record.top5[1] == sure && record.logits == [])
    #expect(record.pixelsSha256 == sha256(result.pixels) && record.exit == 1)
}

private func kind(_ body: () async throws -> Void) async -> DvtEdgeError.Kind? {
    do { try await body() } catch { return (error as? DvtEdgeError)?.kind }
    return nil
}

private final class Counter: @unchecked Sendable {
    private let lock = NSLock()
    private var numbers: [Int] = []

    func add(_ number: Int) { lock.withLock { numbers.append(number) } }

    var all: [Int] { lock.withLock { numbers } }
}
