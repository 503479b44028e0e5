import Foundation

@testable import DVTEdge

/// A bundle without any engine's file: the golden one of three stages and the points eager, accurate, full.
func fakeBundle() throws -> CascadeBundle {
    try CascadeBundle.open(golden.appendingPathComponent("bundles/good-stored.zip").path)
}

/// Plays stages by their logits, and records what was loaded and run. A state carries its stage's number.
actor FakeEngine {
    struct Failure: Error {}

    private let logits: [[Float]]
    private(set) var loads: [Int] = []
    private(set) var runs: [Int] = []
    private(set) var planned: [Int] = []  // stages whose placement was asked for
    private var failing: [Int: Int] = [:]  // loads of a stage that are still to fail
    private(set) var isStopped = false
    private var breaking: (@Sendable (inout [Tensor]) throws -> Void)?

    init(_ logits: [[Float]]) { self.logits = logits }

    func stop() { isStopped = true }

    func failLoads(_ stage: Int, times: Int) { failing[stage] = times }

    /// What becomes of the last stage's outputs.
    func breakOutputs(_ breaking: @escaping @Sendable (inout [Tensor]) throws -> Void) { self.breaking = breaking }

    nonisolated var load: LoadStage {
        { artifact, stage, backend, _ in try await self.loaded(artifact, stage, backend) }
    }

    private func loaded(_ artifact: Artifact, _ stage: StageSpec, _ backend: String) async throws -> any StageRunner {
        let index = Int(stage.name.dropFirst("stage".count))!
        loads.append(index)
        if try artifact.content.isEmpty { throw Failure() }
        if let left = failing[index], left > 0 {
            failing[index] = left - 1
            throw Failure()
        }
        return FakeStage(backend: "fake \(backend)", index: index, spec: stage, engine: self)
    }

    fileprivate func plan(_ index: Int) -> String {
        planned.append(index)
        return "CPU \(index)"
    }

    fileprivate func run(_ index: Int, _ spec: StageSpec, _ inputs: [Tensor]) throws -> [Tensor] {
        runs.append(index)
        for (tensor, input) in zip(inputs, spec.inputs) {
            precondition(tensor.shape == input.shape && tensor.dtype == input.dtype)
            if input.role == .state { precondition(tensor.floats[0] == Float(index - 1)) }
        }
        var outputs = spec.outputs.map { output in
            let values =
                output.role == .logits ? logits[index] : [Float](repeating: Float(index), count: output.byteCount! / 4)
            return Tensor(dtype: .float32, shape: output.shape, bytes: values.withUnsafeBytes { Array($0) })
        }
        if index == logits.count - 1 { try breaking?(&outputs) }
        return outputs
    }
}

private struct FakeStage: StageRunner {
    let backend: String
    let index: Int
    let spec: StageSpec
    let engine: FakeEngine

    var placement: String? { get async { await engine.plan(index) } }

    func run(_ inputs: [Tensor]) async throws -> [Tensor] { try await engine.run(index, spec, inputs) }
}
