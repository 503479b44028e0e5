#if canImport(CoreML)
import CoreML
import CoreVideo
import DVTEdge
import Foundation

/// Loads a bundle's stages into Core ML.
///
/// A stage is one .mlpackage. Stages that share one are functions of it, named as the stages are (iOS 18).
public struct CoreMLEngine: Sendable {
    static let backend = "CoreML"

    private let computeUnits: MLComputeUnits
    private let shared: [String]  // artifacts of several stages

    public init(_ manifest: Manifest, computeUnits: MLComputeUnits = .all) {
        let artifacts = manifest.stages.map(\.artifact)
        shared = artifacts.filter { artifact in artifacts.filter { $0 == artifact }.count > 1 }
        self.computeUnits = computeUnits
    }

    /// A `LoadStage`. `threads` are Core ML's own choice.
    @Sendable public func load(
        _ artifact: Artifact, _ stage: StageSpec, _ backend: String, _ threads: Int
    ) async throws -> any StageRunner {
        guard backend == Self.backend else {
            throw DvtEdgeError(
                .engine, "\(stage.name): Core ML runs the backend \(Self.backend); the bundle says \(backend)")
        }
        let configuration = MLModelConfiguration()
        configuration.computeUnits = computeUnits
        if shared.contains(artifact.name) {
            guard #available(iOS 18, macOS 15, *) else {
                throw DvtEdgeError(.engine, "\(stage.name): packages that stages share need iOS 18 or macOS 15")
            }
            configuration.functionName = stage.name
        }
        return try await CoreMLStage(artifact, stage, configuration)
    }
}

/// A loaded stage. What Core ML reads is a private copy of the verified bytes, which goes with it.
final class CoreMLStage: StageRunner, @unchecked Sendable {
    let backend = CoreMLEngine.backend
    private let model: MLModel  // its asynchronous predictions may be in flight together
    private let stage: StageSpec
    private let files: PrivateFolder
    private let compiled: URL  // in `files`
    private let configuration: MLModelConfiguration

    init(_ artifact: Artifact, _ stage: StageSpec, _ configuration: MLModelConfiguration) async throws {
        (self.stage, self.configuration) = (stage, configuration)
        files = try PrivateFolder(artifact)
        let made = try await MLModel.compileModel(at: files.url(artifact.name))
        compiled = try files.replace(artifact.name, by: made)
        model = try await MLModel.load(contentsOf: compiled, configuration: configuration)
    }

    /// Core ML's plan, which takes it as long as a load.
    var placement: String? {
        get async { await Placement(compiled, configuration, stage.name)?.description }
    }

    func run(_ inputs: [Tensor]) async throws -> [Tensor] {
        var features: [String: MLFeatureValue] = [:]
        for (tensor, spec) in zip(inputs, stage.inputs) {
            features[spec.name] =
                spec.role == .image
                ? MLFeatureValue(pixelBuffer: try pixelBuffer(tensor))
                : MLFeatureValue(multiArray: try multiArray(tensor))
        }
        let provider = try MLDictionaryFeatureProvider(dictionary: features)
        let found = try await model.prediction(from: provider, options: MLPredictionOptions())
        return try stage.outputs.map { spec in
            guard let array = found.featureValue(for: spec.name)?.multiArrayValue else {
                throw DvtEdgeError(
                    .engine, "\(stage.name): Core ML gave \(found.featureNames.sorted()); \(spec.name) is missing")
            }
            return try tensor(array, spec)
        }
    }
}

/// (1, size, size, 3) uint8 RGB as an image.
private func pixelBuffer(_ tensor: Tensor) throws -> CVPixelBuffer {
    let height = tensor.shape[1], width = tensor.shape[2]
    var made: CVPixelBuffer?
    let status = CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, nil, &made)
    guard status == kCVReturnSuccess, let buffer = made else {
        throw DvtEdgeError(.engine, "no pixel buffer of \(width)x\(height) (\(status))")
    }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    let row = CVPixelBufferGetBytesPerRow(buffer)
    let bytes = UnsafeMutableRawBufferPointer(start: CVPixelBufferGetBaseAddress(buffer), count: row * height)
    fillBGRA(bytes, tensor.bytes, width: width, height: height, bytesPerRow: row)
    return buffer
}

private func multiArray(_ tensor: Tensor) throws -> MLMultiArray {
    let shape = tensor.shape.map { NSNumber(value: $0) }
    let array = try MLMultiArray(shape: shape, dataType: tensor.dtype == .float16 ? .float16 : .float32)
    array.withUnsafeMutableBytes { bytes, strides in
        scatter(tensor.bytes, into: bytes, tensor.shape, strides, tensor.dtype.size)
    }
    return array
}

/// A copy, in C order. Throws an `EngineError` for a number type that no bundle has.
private func tensor(_ array: MLMultiArray, _ spec: TensorSpec) throws -> Tensor {
    let dtypes: [MLMultiArrayDataType: Dtype] = [.float16: .float16, .float32: .float32]
    guard let dtype = dtypes[array.dataType] else {
        throw DvtEdgeError(.engine, "Core ML gave \(spec.name) of type \(array.dataType.rawValue)")
    }
    let shape = array.shape.map(\.intValue), strides = array.strides.map(\.intValue)
    let bytes = array.withUnsafeBytes { gathered($0, shape, strides, dtype.size) }
    return Tensor(dtype: dtype, shape: shape, bytes: bytes)
}

/// How many of a stage's operations Core ML plans to run where.
private struct Placement: CustomStringConvertible {
    private var counts: [String: Int] = [:]

    /// nil before iOS 17.4 and macOS 14.4, and where Core ML gives no plan.
    init?(_ compiled: URL, _ configuration: MLModelConfiguration, _ function: String) async {
        guard #available(iOS 17.4, macOS 14.4, *),
            let plan = try? await MLComputePlan.load(contentsOf: compiled, configuration: configuration),
            case .program(let program) = plan.modelStructure,
            let block = (program.functions[function] ?? program.functions["main"])?.block
        else { return nil }
        count(block, plan)
    }

    @available(iOS 17.4, macOS 14.4, *)
    private mutating func count(_ block: MLModelStructure.Program.Block, _ plan: MLComputePlan) {
        for operation in block.operations {
            switch plan.deviceUsage(for: operation)?.preferred {
            case .neuralEngine?: counts["neural engine", default: 0] += 1
            case .gpu?: counts["GPU", default: 0] += 1
            case .cpu?: counts["CPU", default: 0] += 1
            default: break  // constants run nowhere
            }
            for inner in operation.blocks { count(inner, plan) }
        }
    }

    var description: String {
        counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }
}
#endif
