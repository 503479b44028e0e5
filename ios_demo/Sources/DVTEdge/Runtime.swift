// What an app does with a bundle:
//
//     preprocess -> stage 0 -> leave? -> stage 1 -> leave? -> ... -> answer
//
// Stages run in order, each is loaded when it is first needed, and the rule for leaving is ExitRule.

/// One image's answer. Times are milliseconds; the lists have one entry for each stage that ran.
public struct CascadeResult: Sendable, Equatable {
    public let exit: Int
    public let label: Int
    public let labelName: String
    public let confidence: Float
    public let degraded: Bool  // a later stage ran and its logits were not finite
    public let confidences: [Float]  // NaN where it was not finite
    public let logits: [[Float]]  // of all classes
    public let stageMs: [Double]
    public private(set) var preprocessMs: Double
    public private(set) var totalMs: Double
    public let skipped: [String]  // names of the stages that did not run
    public let operatingPoint: String
    public let maxStage: Int?  // the cap, of the device or of the power policy, whichever is lower
    public let uncertified: Bool  // no certificate covers the answer: an uncertified point, own thresholds, or a cap
    public let pixels: [UInt8]  // (size, size, 3) that went into stage 0

    /// Everything but the stages and the preprocessing.
    public var glueMs: Double { totalMs - preprocessMs - stageMs.reduce(0, +) }

    /// The answer to a camera's frame that took so long to become an upright image: docs/device-log.md counts from the frame on.
    public func converted(_ ms: Double) -> CascadeResult {
        var result = self
        result.preprocessMs += ms
        result.totalMs += ms
        return result
    }
}

/// The point to use now: its thresholds, the cap on stages, and whether no certificate covers it.
public struct Plan: Sendable, Equatable {
    public let point: String
    public let thresholds: [Double]
    public let cap: Int?
    public let uncertified: Bool
}

/// Runs a bundle. Several images may be in work at once; an image is given up between two stages when its task is cancelled.
///
/// `operatingPoint` names one of the bundle's, by default its own default; `thresholds`, one an exit, replace it.
/// `threads` is how many a stage may use. `policy` (by default the bundle's) chooses the point from the device's state for
/// each image, unless a point or thresholds are given here or for the image; an energy queue needs the device's `power`.
public actor Runtime {
    public nonisolated let bundle: CascadeBundle
    public nonisolated let labels: [String]
    private let defaultPoint: OperatingPoint
    private let thresholds: [Double]?
    private let threads: Int
    public nonisolated let policy: PowerPolicy?
    public nonisolated let power: PowerTable
    private let proved: Set<Exact>  // points whose certificates hold
    private let load: LoadStage
    private let clock = ContinuousClock()
    private let start = ContinuousClock.now
    /// What the policy remembers.
    public private(set) var memory = Memory()
    private var stages: [CheckedStage?]
    private var loading: [Int: Task<CheckedStage, any Error>] = [:]

    /// Throws a `ManifestError` for a point that the bundle has not, thresholds that do not fit, or such a policy or table.
    public init(
        _ bundle: CascadeBundle, operatingPoint: String? = nil, thresholds: [Double]? = nil, threads: Int = 1,
        policy: PowerPolicy? = nil, power: PowerTable? = nil, load: @escaping LoadStage
    ) throws(DvtEdgeError) {
        let manifest = bundle.manifest, exits = manifest.stages.count
        (self.bundle, self.thresholds, self.threads, self.load) = (bundle, thresholds, threads, load)
        labels = try bundle.labels()
        defaultPoint = try manifest.operatingPoint(operatingPoint ?? manifest.defaultOperatingPoint)
        if let thresholds, thresholds.count != exits || !thresholds.allSatisfy(\.isFinite) {
            throw DvtEdgeError(.manifest, "thresholds \(thresholds); expected \(exits) finite ones, one for each exit")
        }
        self.policy = operatingPoint != nil || thresholds != nil ? nil : policy ?? manifest.policy
        self.power = power ?? PowerTable(manifest.provedPoints)
        for name in self.policy?.points ?? [] { _ = try manifest.operatingPoint(name) }
        guard self.power.rows.map({ Exact($0.name) }) == manifest.operatingPoints.map({ Exact($0.name) }),
            ([self.power.stages] + self.power.rows.map(\.exitShares.count)).allSatisfy({ $0 == exits }),
            self.power.exitJ?.count ?? exits == exits
        else {
            throw DvtEdgeError(.manifest, "a power table of other points or exits than the bundle's")
        }
        proved = Set(manifest.provedPoints.filter { $0.certificate != nil }.map { Exact($0.name) })
        stages = [CheckedStage?](repeating: nil, count: exits)
    }

    /// Which stages are loaded.
    public var loaded: [Bool] { stages.map { $0 != nil } }

    /// What really runs each stage; nil of one that is not loaded.
    public var backends: [String?] { stages.map { $0?.runner.backend } }

    /// What the engine plans of each stage; nil where it does not tell, or the stage is not loaded. May take as long as loads.
    public var placements: [String?] {
        get async {
            var found: [String?] = []
            for stage in stages { found.append(await stage?.runner.placement) }
            return found
        }
    }

    /// Load stage `index`, unless it is: what `run` does where it first needs it.
    public func load(_ index: Int) async throws { _ = try await loadedStage(index) }

    /// Let go of every stage; images in work keep theirs, a later image loads them again. For an app short of memory.
    public func unload() {
        stages = [CheckedStage?](repeating: nil, count: stages.count)
        loading = [:]
    }

    /// Load every stage and run each once on a grey image, so that no later image pays for it.
    ///
    /// `progress` is told how many stages are warm.
    public func prewarm(_ progress: @Sendable (Int) -> Void = { _ in }) async throws {
        var state: [(TensorSpec, Tensor)] = []
        for stage in stages.indices {
            let size = bundle.manifest.imageSize(stage).size
            _ = try await step(stage, [UInt8](repeating: 128, count: 3 * size * size), &state)
            progress(stage + 1)
        }
    }

    /// Classify one upright image.
    ///
    /// `state` caps the stages and is what the policy sees; `operatingPoint` replaces the policy's choice or the runtime's
    /// point for this image. With `everyStage` those after the exit run too, for a log, and the answer is the exit's.
    /// Throws a `DvtEdgeError` (a `NotFiniteError` when no exit that ran is finite) or a `CancellationError`.
    public func run(
        _ image: RGBImage, state: DeviceState = DeviceState(), operatingPoint: String? = nil, everyStage: Bool = false
    ) async throws -> CascadeResult {
        let began = clock.now, manifest = bundle.manifest, spec = manifest.confidence
        var pixels = StagePixels(image, manifest)
        _ = try pixels.of(0)
        let plan = try plan(state, operatingPoint)
        let last = ExitRule.lastStage(plan.cap, stages.count)

        var tensors: [(TensorSpec, Tensor)] = []
        var logits: [[Float]] = [], values: [Float] = [], stageMs: [Double] = []
        var ran: Int?  // stages until the rule said to leave
        for stage in stages.indices {
            let (found, elapsed) = try await step(stage, try pixels.of(stage), &tensors)
            logits.append(found)
            stageMs.append(elapsed)
            values.append(Confidence.of(found, temperature: spec.temperature[stage], measure: spec.measure))
            if ran == nil && ExitRule.leaves(values[stage], stage, plan.thresholds, last) { ran = stage + 1 }
            if ran != nil && !everyStage { break }
        }
        let exits = ran ?? values.count
        if policy != nil { memory = memory.used(1, power.exitJ?[values.count - 1] ?? 0) }
        let decision = try ExitRule.decide(Array(values[..<exits]), logits[..<exits].map(ExitRule.label))
        return CascadeResult(
            exit: decision.exit, label: decision.label, labelName: labels[decision.label],
            confidence: decision.confidence, degraded: decision.degraded, confidences: values, logits: logits,
            stageMs: stageMs, preprocessMs: pixels.ms, totalMs: milliseconds(clock.now - began),
            skipped: manifest.stages[values.count...].map(\.name), operatingPoint: plan.point, maxStage: plan.cap,
            uncertified: plan.uncertified || last < stages.count - 1, pixels: try pixels.of(0))
    }

    /// The largest error of a logit at each exit, on the bundle's golden images: a check of engine and wiring.
    ///
    /// Infinite where one is NaN. Right are those of at most `manifest.golden.tolerance`.
    public func goldenErrors() async throws -> [Float] {
        var images: [[[UInt8]]] = []
        for stage in stages.indices { images.append(try bundle.golden(stage).images) }
        let expected = try bundle.golden().logits
        var errors = [Float](repeating: 0, count: stages.count)
        for image in images[0].indices {
            var state: [(TensorSpec, Tensor)] = []
            for stage in stages.indices {
                let logits = try await step(stage, images[stage][image], &state).logits
                for (a, b) in zip(logits, expected[stage][image]) {
                    errors[stage] = max(errors[stage], (a - b).isNaN ? .infinity : abs(a - b))
                }
            }
        }
        return errors
    }

    /// What the runtime would use in `state` now: this counts as a call of the policy. Throws a `ManifestError`.
    public func plan(_ state: DeviceState, _ name: String? = nil) throws(DvtEdgeError) -> Plan {
        if name == nil, let thresholds {
            return Plan(point: "custom", thresholds: thresholds, cap: state.maxStage, uncertified: true)
        }
        guard name == nil, let policy else {
            let point =
                try name.map { (name) throws(DvtEdgeError) in try bundle.manifest.operatingPoint(name) } ?? defaultPoint
            return Plan(
                point: point.name, thresholds: point.thresholds, cap: state.maxStage,
                uncertified: !proved.contains(Exact(point.name)))
        }
        var timed = state
        timed.timeS = state.timeS ?? milliseconds(clock.now - start) / 1e3
        let choice: Choice
        (choice, memory) = policy.choose(power, timed, memory)
        let point = try bundle.manifest.operatingPoint(choice.point)
        return Plan(
            point: point.name, thresholds: point.thresholds,
            cap: [state.maxStage, choice.maxStage].compactMap { $0 }.min(),
            uncertified: choice.uncertified)
    }

    /// Run one stage on its pixels and `state`, replace the latter; its (classes,) logits and milliseconds.
    private func step(
        _ index: Int, _ pixels: [UInt8], _ state: inout [(TensorSpec, Tensor)]
    ) async throws -> (logits: [Float], ms: Double) {
        try Task.checkCancellation()
        let spec = bundle.manifest.stages[index], stage = try await loadedStage(index)
        let inputs = spec.inputs.map { input in
            input.role == .image
                ? Tensor(dtype: .uint8, shape: input.shape, bytes: pixels) : state.first { input.takes($0.0) }!.1
        }
        let began = clock.now
        let outputs = try await stage.run(inputs)
        let elapsed = milliseconds(clock.now - began)
        state = Array(zip(spec.outputs, outputs))
        return (outputs[spec.logits].floats, elapsed)
    }

    /// Stage `index`, loaded on first use, once; a load that failed is tried again.
    private func loadedStage(_ index: Int) async throws -> CheckedStage {
        if let stage = stages[index] { return stage }
        let task = loading[index] ?? loadingStage(index)
        loading[index] = task
        do {
            let stage = try await task.value
            if loading[index] == task { stages[index] = stage }  // unless it was unloaded meanwhile
            return stage
        } catch {
            if loading[index] == task { loading[index] = nil }
            throw error
        }
    }

    private func loadingStage(_ index: Int) -> Task<CheckedStage, any Error> {
        Task.detached { [bundle, load, threads] in
            let artifact = try bundle.artifact(index)
            return try await CheckedStage(
                load, artifact, bundle.manifest.stages[index], bundle.manifest.backend, threads)
        }
    }
}

/// An image's pixels for each stage, preprocessed once for each of their sizes, when first asked for.
private struct StagePixels {
    private let image: RGBImage
    private let manifest: Manifest
    private var made: [ImageSize: [UInt8]] = [:]
    private(set) var ms = 0.0  // spent on preprocessing so far

    init(_ image: RGBImage, _ manifest: Manifest) { (self.image, self.manifest) = (image, manifest) }

    /// (size, size, 3) uint8 RGB. Throws a `DataError`.
    mutating func of(_ stage: Int) throws(DvtEdgeError) -> [UInt8] {
        let spec = manifest.imageSize(stage)
        if let pixels = made[spec] { return pixels }
        let began = ContinuousClock.now
        let pixels = try preprocess(image, size: spec.size, resize: spec.resize)
        ms += milliseconds(ContinuousClock.now - began)
        made[spec] = pixels
        return pixels
    }
}

func milliseconds(_ duration: Duration) -> Double { duration / .milliseconds(1) }
