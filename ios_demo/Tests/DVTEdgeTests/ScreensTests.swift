import DVTEdgeScreens
import Foundation
import Testing

@testable import DVTEdge

private let sure: [Float] = [9, 0, 0]
private let unsure: [Float] = [0, 0.1, 0]
private let image = try! RGBImage(width: 4, height: 4, pixels: [UInt8](repeating: 7, count: 48))
private let bundlePath = golden.appendingPathComponent("bundles/good-stored.zip").path

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
        #expect(await session.runtime?.loaded == [true, true, true])
        await session.open("/nowhere")
        #expect(session.runtime != nil && session.failure!.contains("no such bundle"))
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
        let bundle = try fakeBundle()
        let model = PowerModel(bundle.manifest, exitJ: [0.1, 0.2, 0.3])
        model.lifetimeHours = 2
        model.sample(DeviceState(batteryLevel: 0.5))
        #expect(model.state.lifetimeS == 7200 && model.state.knownLevel == 0.5)
        #expect(model.isCertified("full") && !model.isCertified("accurate"))
        let result = try await runtime([unsure, sure, sure]).run(image)
        #expect(model.energyJ(result) == 0.2 && PowerModel(bundle.manifest).energyJ(result) == nil)
    }

    @Test func benchmark() async throws {
        let model = BenchmarkModel(try runtime([unsure, sure, sure]))
        await model.run(seconds: 0.05) { DeviceState(thermal: .fair) }
        let summary = try #require(model.summary)
        #expect(summary.images == model.done && summary.exits == [0, summary.images, 0] && summary.seconds >= 0.05)
        #expect(summary.p50 <= summary.p95 && summary.p95 <= summary.p99 && summary.hottest == .fair)
        #expect(summary.engineShare > 0 && summary.engineShare <= 1)
        await model.run(seconds: 0.05) { DeviceState(thermal: .critical) }
        #expect(model.summary == nil && model.failure!.contains("cool"))
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
            await model.run("phone", "iOS", app: "a", engine: "e", folder: folder.url, state: DeviceState())
            #expect(model.passed == false && model.failure == nil)
            let log = try #require(model.log)
            let lines = try String(contentsOf: log, encoding: .utf8).split(separator: "\n")
            #expect(lines.count == 3 && lines[0].contains("\"every_stage\":true") && lines[2].contains("\"exit\":1"))
            #expect(FileManager.default.fileExists(atPath: log.path + ".pixels") == keeps)
        }
        await model.run(
            "phone", "iOS", app: "a", engine: "e", folder: URL(fileURLWithPath: "/nowhere"), state: DeviceState())
        #expect(model.log == nil && model.failure != nil)
    }
}
