/// One input or output of a stage: little-endian numbers in C order.
public struct Tensor: Sendable, Equatable {
    public let dtype: Dtype
    public let shape: [Int]
    public let bytes: [UInt8]

    public init(dtype: Dtype, shape: [Int], bytes: [UInt8]) {
        (self.dtype, self.shape, self.bytes) = (dtype, shape, bytes)
    }

    /// As float32; of a float32 tensor only.
    var floats: [Float] { bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) } }
}

/// A loaded stage. Safe to call from several tasks.
public protocol StageRunner: Sendable {
    /// What really runs it, as the engine says.
    var backend: String { get }

    /// What the engine plans to run where, in words; nil where it does not tell. May take long.
    var placement: String? { get async }

    /// Inputs and outputs are in the manifest's order. What an engine throws becomes an `EngineError`.
    func run(_ inputs: [Tensor]) async throws -> [Tensor]
}

extension StageRunner {
    public var placement: String? { get async { nil } }
}

/// Loads a stage into an engine: an artifact, its part of the manifest, what must run it, and how many threads it may use.
public typealias LoadStage = @Sendable (Artifact, StageSpec, _ backend: String, _ threads: Int) async throws ->
    any StageRunner

/// A stage whose outputs are held against the manifest. It throws own errors and CancellationError only.
struct CheckedStage: Sendable {
    let runner: any StageRunner
    private let stage: StageSpec

    init(_ load: LoadStage, _ artifact: Artifact, _ stage: StageSpec, _ backend: String, _ threads: Int) async throws {
        self.stage = stage
        runner = try await own("\(stage.name.quoted): \(artifact.name.quoted) cannot be loaded") {
            try await load(artifact, stage, backend, threads)
        }
    }

    func run(_ inputs: [Tensor]) async throws -> [Tensor] {
        let outputs = try await own("\(stage.name.quoted): \(stage.artifact.quoted) did not run") {
            try await runner.run(inputs)
        }
        guard outputs.count == stage.outputs.count else {
            throw DvtEdgeError(
                .engine, "\(stage.name.quoted): \(outputs.count) outputs; expected \(stage.outputs.count)")
        }
        for (output, spec) in zip(outputs, stage.outputs)
        where output.dtype != spec.dtype || output.shape != spec.shape || output.bytes.count != spec.byteCount {
            throw DvtEdgeError(
                .engine,
                "\(stage.name.quoted): \(output.dtype.rawValue) \(output.shape) of \(output.bytes.count) bytes "
                    + "as \(spec.name.quoted); expected \(spec.dtype.rawValue) \(spec.shape)")
        }
        return outputs
    }
}

private func own<T>(_ what: String, _ body: () async throws -> T) async throws -> T {
    do {
        return try await body()
    } catch let error where error is DvtEdgeError || error is CancellationError {
        throw error
    } catch {
        throw DvtEdgeError(.engine, what, because: error)
    }
}
