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

    /// The stage that is warming is said from 1 on.
    @Test func warmingIsSaid() async throws {
        let engine = FakeEngine([sure, sure, sure])
        let session = Session { _ in engine.load }
        let opening = Task { await session.open(bundlePath) }
        var said: [Int] = []
        while session.ready == nil {
            if case .warming(let stage, of: 3) = session.state, said.last != stage { said.append(stage) }
            await Task.yield()
        }
        await opening.value
        #expect(said.first == 1 && said == said.sorted() && said.last! <= 3)
    }

    /// What was picked may be gone at once: its copy is read, and goes when another takes its place.
    @Test func pickedBundles() async throws {
        let (folder, copies) = (TemporaryFolder(), TemporaryFolder())
        let copied = { try FileManager.default.contentsOfDirectory(atPath: copies.url.path) }
        let session = Session { _ in FakeEngine([sure, sure, sure]).load }
        folder.write("mine.zip", goldenBytes("bundles/good-stored.zip"))
        folder.write("bad.zip", [1, 2, 3])
        let picked = folder.url.appendingPathComponent("mine.zip")
        await session.open(picked: picked, copyingInto: copies.url)
        let first = try copied()
        try FileManager.default.removeItem(at: picked)
        let runtime = try #require(session.ready).runtime
        #expect(first.count == 1 && runtime.bundle.path.hasSuffix("/mine.zip"))
        await runtime.unload()
        _ = try await runtime.goldenErrors()
        for other in ["bad.zip", "mine.zip"] {  // a damaged one, and one that is not there
            await session.open(picked: folder.url.appendingPathComponent(other), copyingInto: copies.url)
            #expect(session.failure != nil && session.ready?.runtime.bundle.path == runtime.bundle.path)
            #expect(try copied() == first)
        }
        folder.write("mine.zip", goldenBytes("bundles/good-stored.zip"))
        await session.open(picked: picked, copyingInto: copies.url)
        #expect(try session.failure == nil && copied().count == 1 && copied() != first)
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

    @Test func power() async throws {
        let model = PowerModel(try ready([unsure, sure, sure], profile: profile))
        #expect(model.isCertified("full") && !model.isCertified("accurate"))
        await model.sample(DeviceState(batteryLevel: 0.5, thermal: .serious))
        #expect(model.plan?.point == "eager")
        #expect(try model.reason == .rule(0, Rule(point: "eager", thermalAtLeast: .serious)))
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
        #expect(model.reason == .queue(nil))
        #expect(model.plan?.point == "eager")  // no point of the golden bundle gains accuracy
        let without = PowerModel(try ready([sure, sure, sure]))
        without.lifetimeHours = 2
        await without.sample(DeviceState(batteryLevel: 0.5, timeS: 1))
        #expect(without.reason == .otherwise && without.plan?.point == "accurate" && without.baseW == nil)
    }

    /// A target comes nearer, and ends.
    @Test func lifetimes() async throws {
        let model = PowerModel(try ready([sure, sure, sure], profile: profile))
        model.lifetimeHours = 2
        for (passed, left) in [(0.0, 7200.0), (3600, 3600), (7000, 200)] {
            await model.sample(DeviceState(), at: .now + .seconds(passed))
            #expect(abs(try #require(model.state.lifetimeS) - left) < 5)
        }
        await model.sample(DeviceState(), at: .now + .seconds(7201))
        #expect(model.state.lifetimeS == nil && model.lifetimeHours == nil)
    }

    @Test func benchmark() async throws {
        let folder = TemporaryFolder()
        let runtime = try runtime([unsure, sure, sure])
        let model = BenchmarkModel(runtime, Comparison())
        await model.run(seconds: 0.05, logging(folder.url)) { DeviceState(thermal: .fair) }
        let summary = try #require(model.summary)
        #expect(summary.images == model.done && summary.exits == [0, summary.images, 0] && summary.seconds >= 0.05)
        #expect(summary.p50 <= summary.p95 && summary.p95 <= summary.p99 && summary.thermalS == [.fair: 1])
        #expect(summary.engineShare > 0 && summary.engineShare <= 1 && summary.loadMs.count == 3)
        #expect(summary.peakBytes! > 1 << 20 && model.failure == nil)
        #expect(try lines(model.log).count == summary.images + 2)
    }

    /// A bundle that is measured again takes the place of what was found before; another one is set beside it.
    @Test func benchmarksAreCompared() async throws {
        let folder = TemporaryFolder(), comparison = Comparison()
        let first = BenchmarkModel(try runtime([unsure, sure, sure]), comparison)
        for _ in 0..<2 { await first.run(seconds: 0.02, logging(folder.url)) { DeviceState() } }
        let row = try #require(comparison.rows.first)
        #expect(comparison.rows.count == 1 && row.p50 == first.summary?.p50 && comparison.times(row) == 1)
        #expect(row.name == "fake, onnx-fp32")
        comparison.add(Comparison.Row(id: "another", name: "slower", p50: 3 * row.p50))
        #expect(comparison.rows.map(\.name) == ["fake, onnx-fp32", "slower"])
        #expect(abs(comparison.times(comparison.rows[1]) - 3) < 1e-9)
    }

    /// The policy sees the device from the first image of the warm-up on: no costlier point has to wait.
    @Test func measuredAtThePolicysPoint() async throws {
        let folder = TemporaryFolder()
        let benchmark = BenchmarkModel(try ready([sure, sure, sure]).runtime, Comparison())
        await benchmark.run(seconds: 0.01, logging(folder.url)) { DeviceState(charging: true) }
        let validate = ValidateModel(try ready([sure, sure, sure]).runtime)
        await validate.run(logging(folder.url), state: { DeviceState(charging: true) })
        for log in [benchmark.log, validate.log] {
            let images = try lines(log).filter { $0.contains("\"event\":\"image\"") }
            #expect(!images.isEmpty && images.allSatisfy { $0.contains("\"point\":\"full\"") })
        }
    }

    /// A hot device is waited for, until somebody stops it.
    @Test func benchmarkWaitsUntilCool() async throws {
        let model = BenchmarkModel(try runtime([sure, sure, sure]), Comparison())
        let run = Task {
            await model.run(seconds: 0.01, logging(TemporaryFolder().url)) { DeviceState(thermal: .critical) }
        }
        while !model.waiting { await Task.yield() }
        #expect(model.running)
        run.cancel()
        await run.value
        #expect(!model.running && !model.waiting && model.summary == nil && model.done == 0)
    }

    /// One that is stopped says so, keeps no figures, and is followed by a whole one.
    @Test func benchmarkIsStopped() async throws {
        let folder = TemporaryFolder(), comparison = Comparison()
        let model = BenchmarkModel(try runtime([sure, sure, sure]), comparison)
        let run = Task { await model.run(seconds: 600, logging(folder.url)) { DeviceState() } }
        while model.done < 3 { await Task.yield() }
        run.cancel()
        await run.value
        #expect(model.stopped && !model.running && model.summary == nil && model.log == nil && model.failure == nil)
        #expect(comparison.rows.isEmpty)
        await model.run(seconds: 0.01, logging(folder.url)) { DeviceState() }
        #expect(!model.stopped && model.summary != nil && comparison.rows.count == 1)
    }

    /// Loads are not waited for when nobody wants them: of nine only the one that has begun ends.
    @Test func benchmarkIsStoppedWhileItLoads() async throws {
        let engine = FakeEngine([sure, sure, sure])
        let runtime = try Runtime(try fakeBundle()) { artifact, stage, backend, threads in
            let loaded = try await engine.load(artifact, stage, backend, threads)
            try await Task.sleep(for: .milliseconds(100))
            return loaded
        }
        let model = BenchmarkModel(runtime, Comparison())
        let run = Task { await model.run(seconds: 0.01, logging(TemporaryFolder().url)) { DeviceState() } }
        while await engine.loads.isEmpty { await Task.yield() }
        run.cancel()
        await run.value
        #expect(await engine.loads == [0])
        #expect(model.stopped && !model.running && model.summary == nil)
    }

    /// What an engine throws because it was stopped is no failure.
    @Test func benchmarkIsStoppedInAnEngine() async throws {
        let engine = FakeEngine([sure, sure, sure])
        let runtime = try Runtime(try fakeBundle()) { artifact, stage, backend, threads in
            _ = try await engine.load(artifact, stage, backend, threads)
            while await !engine.isStopped { await Task.yield() }
            throw FakeEngine.Failure()
        }
        let model = BenchmarkModel(runtime, Comparison())
        let run = Task { await model.run(seconds: 0.01, logging(TemporaryFolder().url)) { DeviceState() } }
        while await engine.loads.isEmpty { await Task.yield() }
        run.cancel()
        await engine.stop()
        await run.value
        #expect(model.stopped && model.failure == nil)
    }

    /// A full disk ends a run, which says so: it is no image that could not be read.
    @Test func logsThatBecomeFull() async throws {
        let disk = FullPipe()
        var full = logging(URL(fileURLWithPath: "/nowhere"))
        full.create = { _, _ in LogWriter(disk.writer) }
        let validate = ValidateModel(try runtime([unsure, sure, sure]))
        await validate.run(full) {
            DeviceState()
        } pictures: {
            [Picture](repeating: { image }, count: 10_000)
        }
        let why = try #require(validate.failure)
        #expect(why.hasPrefix("the log cannot be written") && validate.log == nil && !validate.running)
        #expect(0 < validate.logged && validate.logged < 10_000 && validate.unread == 0)
        _ = disk.drain()
        let benchmark = BenchmarkModel(try runtime([unsure, sure, sure]), Comparison())
        await benchmark.run(seconds: 600, full) { DeviceState() }
        #expect(benchmark.failure == why && benchmark.summary == nil)
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
            await model.run(logging(folder.url)) { DeviceState() }
            #expect(model.passed == false && model.failure == nil && model.logged == 1 && model.unread == 0)
            let lines = try lines(model.log)
            #expect(lines.count == 3 && lines[0].contains("\"every_stage\":true") && lines[2].contains("\"exit\":1"))
            #expect((model.pixels != nil) == keeps)
        }
        await model.run(logging(URL(fileURLWithPath: "/nowhere"))) { DeviceState() }
        #expect(model.log == nil && model.failure != nil)
    }

    /// Every file of a folder in the order of their names, through every stage; what is no picture is a record of its own.
    @Test func validateAFolder() async throws {
        let (folder, logs) = (TemporaryFolder(), TemporaryFolder())
        for name in ["b", "a", "c"] { try Data(name.utf8).write(to: folder.url.appendingPathComponent(name)) }
        try Data("x".utf8).write(to: folder.url.appendingPathComponent(".hidden"))
        let model = ValidateModel(try runtime([unsure, sure, sure]))
        await model.run(logging(logs.url)) {
            DeviceState()
        } pictures: {
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
        await model.run(logging(logs.url)) {
            DeviceState()
        } pictures: {
            try pictures(in: URL(fileURLWithPath: "/nowhere")) { _ in image }
        }
        #expect(model.failure != nil && model.log == nil)
    }

    /// A bundle without golden images is not checked, and logs pictures all the same.
    @Test func validateWithoutGoldenImages() async throws {
        let folder = try unpackedBundle(), logs = TemporaryFolder(),
            file = folder.url.appendingPathComponent("bundle/manifest.json")
        let manifest = try String(contentsOf: file, encoding: .utf8)
        let golden = try #require(manifest.firstRange(of: #/"golden": *\{[^}]*\}/#))
        folder.write(
            "bundle/manifest.json",
            manifest.replacingCharacters(
                in: golden,
                with: #""golden": {"images": 0, "image": [], "logits": [], "source": "artifact", "tolerance": 0.0}"#
            ).utf8)
        let bundle = try CascadeBundle.open(folder.path("bundle"))
        let model = ValidateModel(try Runtime(bundle, load: FakeEngine([sure, sure, sure]).load))
        await model.run(logging(logs.url)) {
            DeviceState()
        } pictures: {
            [{ image }]
        }
        #expect(model.failure == nil && model.passed == nil && model.logged == 1 && model.log != nil)
        await model.run(logging(logs.url)) { DeviceState() }
        #expect(model.failure!.contains("no golden images") && model.log == nil)
    }

    /// Not the word that every device of a maker has.
    @Test func machines() {
        #expect(!machineName().isEmpty && !machineName().contains("\0") && machineName() != "iPhone")
    }
}
