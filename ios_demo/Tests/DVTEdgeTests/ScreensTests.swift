import Foundation
import Testing

@testable import DVTEdge
@testable import DVTEdgeScreens

private let sure: [Float] = [9, 0, 0]
private let unsure: [Float] = [0, 0.1, 0]
private let image = try! RGBImage(width: 4, height: 4, pixels: [UInt8](repeating: 7, count: 48))
private let bundlePath = golden.appendingPathComponent("bundles/good-stored.zip").path

/// A device profile that knows the golden bundle's target.
private let profile = """
    {"format": 1, "name": "made up", "battery": {"capacity_mah": 1000, "voltage_v": 4, "basis": "estimated", "source": "x"},
     "power": {"idle_w": 0.5, "screen_w": 1, "basis": "estimated", "source": "x"},
     "thermal": {"ambient_c": 25, "resistance_k_per_w": 12, "tau_s": 540, "limit_c": 42, "slowdown_per_k": 0.25,
      "max_slowdown": 2, "fair_c": 38, "serious_c": 42, "critical_c": 46, "basis": "estimated", "source": "x"},
     "estimated": [{"target": "TARGET", "gmacs_per_s": 1, "busy_w": 2, "call_ms": 100, "image_ms": 0, "source": "x"}]}
    """

private func ready(_ logits: [[Float]], profile json: String? = nil) throws -> Ready {
    let bundle = try fakeBundle()
    let text = json?.replacingOccurrences(of: "TARGET", with: bundle.manifest.target)
    let profile = try text.map { Result<DeviceProfile, DvtEdgeError>.success(try DeviceProfile(json: Array($0.utf8))) }
    return try Ready(bundle, profile: profile, load: FakeEngine(logits).load)
}

private func logging(_ folder: URL) -> Logging {
    Logging(app: "a", engine: "e", device: "phone", os: "iOS", folder: folder)
}

private func lines(_ log: URL?) throws -> [Substring] {
    try String(contentsOf: #require(log), encoding: .utf8).split(separator: "\n")
}

private func runtime(_ logits: [[Float]]) throws -> Runtime {
    try Runtime(try fakeBundle(), operatingPoint: "accurate", load: FakeEngine(logits).load)
}

@MainActor
struct Screens {
    /// A bundle is warm when it is ready; one that does not open says why, and leaves the one before.
    @Test func session() async throws {
        let engine = FakeEngine([sure, sure, sure])
        let session = Session { _ in engine.load }
        await session.open("/nowhere")
        guard case .failed(let why) = session.state else { throw DvtEdgeError(.data, "no failure") }
        #expect(why.contains("no such bundle"))
        await session.open(bundlePath)
        #expect(await session.ready?.runtime.loaded == [true, true, true])
        await session.open("/nowhere")
        #expect(session.ready != nil && session.failure!.contains("no such bundle"))
    }

    /// A profile that is none, or knows no such bundle, leaves energy out and says why.
    @Test func profilesThatDoNotFit() async throws {
        for (json, why) in [("{}", "'format' is missing"), (profile, "none estimated for"), (nil, nil)] {
            let session = Session(profile: json.map { Array($0.utf8) }) { _ in FakeEngine([sure, sure, sure]).load }
            await session.open(bundlePath)
            let ready = try #require(session.ready)
            #expect(ready.energy == nil && ready.noEnergy?.contains(why!) ?? (why == nil))
        }
    }

    @Test func live() async throws {
        let model = LiveModel(try runtime([unsure, sure, sure]))
        #expect(model.bars == [nil, nil, nil])
        await model.offer(DeviceState()) { image }
        #expect(
            model.result?.exit == 1 && model.histogram == [0, 1, 0] && model.bars[1] != nil && model.bars[2] == nil)
        await model.offer(DeviceState()) { throw DvtEdgeError(.data, "not a readable picture") }
        #expect(model.failure == "not a readable picture" && model.histogram == [0, 1, 0])
        await model.offer(DeviceState(), point: "eager") { image }
        #expect(model.failure == nil && model.histogram == [1, 1, 0])
    }

    /// A frame that comes while another is in work is dropped, and said.
    @Test func framesAreDropped() async throws {
        let model = LiveModel(try runtime([sure, sure, sure]))
        async let first: Void = model.offer(DeviceState()) {
            Thread.sleep(forTimeInterval: 0.2)
            return image
        }
        while !model.busy { await Task.yield() }
        await model.offer(DeviceState()) { image }
        await first
        #expect(model.dropped == 1 && model.histogram == [1, 0, 0])
    }

    @Test func power() async throws {
        let model = PowerModel(try ready([unsure, sure, sure], profile: profile))
        #expect(model.isCertified("full") && !model.isCertified("accurate"))
        await model.sample(DeviceState(batteryLevel: 0.5, thermal: .serious))
        #expect(model.plan?.point == "eager")
        #expect(model.reason == .rule(0, Rule(point: "eager", thermalAtLeast: .serious)))
        #expect(model.state.knownLevel == 0.5 && model.baseW == 1.5)
        let result = try await runtime([unsure, sure, sure]).run(image)
        let exits = try #require(model.ready.energy?.costs.exitJ)
        let without = PowerModel(try ready([sure, sure, sure]))
        #expect(model.energyJ(result) == exits[1] && without.energyJ(result) == nil)
    }

    /// Without a target the default point is taken; with one the queue decides, where a profile gives it joules.
    @Test func theQueueDecides() async throws {
        let model = PowerModel(try ready([sure, sure, sure], profile: profile))
        await model.sample(DeviceState(batteryLevel: 0.5, timeS: 0))
        #expect(model.reason == .otherwise && model.plan?.point == "accurate")
        model.lifetimeHours = 2
        await model.sample(DeviceState(batteryLevel: 0.5, timeS: 1))
        #expect(model.state.lifetimeS == 7200 && model.reason == .queue(nil))
        #expect(model.plan?.point == "eager")  // no point of the golden bundle gains accuracy
        let without = PowerModel(try ready([sure, sure, sure]))
        without.lifetimeHours = 2
        await without.sample(DeviceState(batteryLevel: 0.5, timeS: 1))
        #expect(without.reason == .otherwise && without.plan?.point == "accurate" && without.baseW == nil)
    }

    @Test func benchmark() async throws {
        let folder = TemporaryFolder()
        let runtime = try runtime([unsure, sure, sure])
        let model = BenchmarkModel(runtime)
        await model.run(seconds: 0.05, logging(folder.url)) { DeviceState(thermal: .fair) }
        let summary = try #require(model.summary)
        #expect(summary.images == model.done && summary.exits == [0, summary.images, 0] && summary.seconds >= 0.05)
        #expect(summary.p50 <= summary.p95 && summary.p95 <= summary.p99 && summary.thermalS == [.fair: 1])
        #expect(summary.engineShare > 0 && summary.engineShare <= 1 && summary.loadMs.count == 3)
        #expect(summary.peakBytes! > 1 << 20 && model.failure == nil)
        #expect(try lines(model.log).count == summary.images + 2)
    }

    /// A hot device is waited for, until somebody stops it.
    @Test func benchmarkWaitsUntilCool() async throws {
        let model = BenchmarkModel(try runtime([sure, sure, sure]))
        let run = Task {
            await model.run(seconds: 0.01, logging(TemporaryFolder().url)) { DeviceState(thermal: .critical) }
        }
        while !model.waiting { await Task.yield() }
        #expect(model.running)
        run.cancel()
        await run.value
        #expect(!model.running && !model.waiting && model.summary == nil && model.done == 0)
    }

    @Test func slowdowns() {
        let times =
            [Double](repeating: 2, count: 10) + [Double](repeating: 9, count: 80) + [Double](repeating: 3, count: 10)
        #expect(slowdown(times) == 1.5 && slowdown([1, 2, 3]) == nil)
    }

    @Test func percentiles() {
        let numbers = (1...100).map(Double.init).shuffled()
        #expect(percentile(numbers, 0.5) == 50 && percentile(numbers, 0.99) == 99 && percentile([], 0.5) == nil)
        #expect(percentile([3], 0.01) == 3)
    }

    /// Wrong numbers fail; the log has every stage, and pixels only where they are wanted.
    @Test func validate() async throws {
        let folder = TemporaryFolder()
        let model = ValidateModel(try runtime([unsure, sure, sure]))
        #expect(model.passed == nil)
        for keeps in [false, true] {
            model.keepsPixels = keeps
            await model.run(logging(folder.url), state: DeviceState())
            #expect(model.passed == false && model.failure == nil && model.logged == 1 && model.unread == 0)
            let lines = try lines(model.log)
            #expect(lines.count == 3 && lines[0].contains("\"every_stage\":true") && lines[2].contains("\"exit\":1"))
            #expect((model.pixels != nil) == keeps)
        }
        await model.run(logging(URL(fileURLWithPath: "/nowhere")), state: DeviceState())
        #expect(model.log == nil && model.failure != nil)
    }

    /// Every file of a folder in the order of their names, through every stage; what is no picture is a record of its own.
    @Test func validateAFolder() async throws {
        let (folder, logs) = (TemporaryFolder(), TemporaryFolder())
        for name in ["b", "a", "c"] { try Data(name.utf8).write(to: folder.url.appendingPathComponent(name)) }
        try Data("x".utf8).write(to: folder.url.appendingPathComponent(".hidden"))
        let model = ValidateModel(try runtime([unsure, sure, sure]))
        await model.run(logging(logs.url), state: DeviceState()) {
            try pictures(in: folder.url) { data in
                if data == Data("b".utf8) { throw DvtEdgeError(.data, "not a readable picture") }
                return image
            }
        }
        #expect(model.failure == nil && model.logged == 2 && model.unread == 1 && model.errors.count == 3)
        let lines = try lines(model.log)
        #expect(lines.count == 5 && !lines[0].contains("\"data\""))
        #expect(lines[2].contains("\"id\":\"0\"") && lines[3].contains("not a readable picture"))
        #expect(lines[3].contains("\"id\":\"1\"") && lines[4].contains("\"id\":\"2\""))
        await model.run(logging(logs.url), state: DeviceState()) {
            try pictures(in: URL(fileURLWithPath: "/nowhere")) { _ in image }
        }
        #expect(model.failure != nil && model.log == nil)
    }
}
