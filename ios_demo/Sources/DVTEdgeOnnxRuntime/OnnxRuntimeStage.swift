import COnnxRuntime
import DVTEdge
import Foundation

private let cpu = "CPUExecutionProvider"

/// ONNX Runtime's C interface in a shared library that is opened at run time: for tests on Linux.
public final class OnnxRuntime: @unchecked Sendable {
    fileprivate let api: UnsafePointer<OrtApi>
    fileprivate let environment: OpaquePointer
    public let version: String

    /// Throws an `EngineError` where the library at `path` is not ONNX Runtime, or older than the header.
    public init(_ path: String) throws(DvtEdgeError) {
        setenv("ORT_DISABLE_TELEMETRY", "1", 1)  // before the library is there: it starts an uploader otherwise
        typealias Base = @convention(c) () -> UnsafePointer<OrtApiBase>?
        guard let library = dlopen(path, RTLD_NOW | RTLD_LOCAL), let symbol = dlsym(library, "OrtGetApiBase"),
            let base = unsafeBitCast(symbol, to: Base.self)(), let api = base.pointee.GetApi(UInt32(ORT_API_VERSION))
        else {
            throw DvtEdgeError(.engine, "\(path): no ONNX Runtime of API \(ORT_API_VERSION) or later")
        }
        self.api = api
        version = String(cString: base.pointee.GetVersionString()!)
        var made: OpaquePointer?
        try check(api, api.pointee.CreateEnv(ORT_LOGGING_LEVEL_ERROR, "dvt-edge", &made))
        environment = made!
    }

    /// A `LoadStage` of this library.
    @Sendable public func load(
        _ artifact: Artifact, _ stage: StageSpec, _ backend: String, _ threads: Int
    ) async throws -> any StageRunner {
        try OnnxRuntimeStage(self, artifact, stage, backend, threads)
    }
}

/// A session on the CPU, whose tensors are the manifest's.
final class OnnxRuntimeStage: StageRunner, @unchecked Sendable {
    let backend = cpu
    private let runtime: OnnxRuntime
    private let stage: StageSpec
    private let session: OpaquePointer
    private let memory: OpaquePointer

    init(
        _ runtime: OnnxRuntime, _ artifact: Artifact, _ stage: StageSpec, _ backend: String, _ threads: Int
    ) throws(DvtEdgeError) {
        (self.runtime, self.stage) = (runtime, stage)
        guard backend == cpu else {
            throw DvtEdgeError(.engine, "\(stage.name): this engine runs \(cpu); the bundle says \(backend)")
        }
        let api = runtime.api
        var options: OpaquePointer?
        var made: OpaquePointer?
        try check(api, api.pointee.CreateSessionOptions(&options))
        defer { api.pointee.ReleaseSessionOptions(options) }
        try check(api, api.pointee.SetIntraOpNumThreads(options, Int32(threads)))
        try check(api, api.pointee.SetInterOpNumThreads(options, 1))
        let content = try artifact.content
        try check(api, api.pointee.CreateSessionFromArray(runtime.environment, content, content.count, options, &made))
        session = made!
        try check(api, api.pointee.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &made))
        memory = made!
        try checkNames()
    }

    deinit {
        runtime.api.pointee.ReleaseMemoryInfo(memory)
        runtime.api.pointee.ReleaseSession(session)
    }

    func run(_ inputs: [Tensor]) async throws -> [Tensor] { try runNow(inputs) }

    private func runNow(_ inputs: [Tensor]) throws(DvtEdgeError) -> [Tensor] {
        let api = runtime.api
        var given: [OpaquePointer?] = []
        var results = [OpaquePointer?](repeating: nil, count: stage.outputs.count)
        let buffers = inputs.map { tensor in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: tensor.bytes.count, alignment: 64)
            buffer.copyBytes(from: tensor.bytes)
            return buffer
        }
        defer {
            for value in given + results { api.pointee.ReleaseValue(value) }
            for buffer in buffers { buffer.deallocate() }
        }
        for (tensor, buffer) in zip(inputs, buffers) {
            var value: OpaquePointer?
            let shape = tensor.shape.map(Int64.init)
            try check(
                api,
                api.pointee.CreateTensorWithDataAsOrtValue(
                    memory, buffer.baseAddress, buffer.count, shape, shape.count, tensor.dtype.onnx, &value))
            given.append(value)
        }
        let names = Names(stage.inputs.map(\.name)), outputs = Names(stage.outputs.map(\.name))
        try check(
            api,
            api.pointee.Run(
                session, nil, names.pointers, given, given.count, outputs.pointers, results.count, &results))
        var tensors: [Tensor] = []
        for value in results { tensors.append(try tensor(value!)) }
        return tensors
    }

    /// A copy of what a value holds.
    private func tensor(_ value: OpaquePointer) throws(DvtEdgeError) -> Tensor {
        let api = runtime.api
        var info: OpaquePointer?
        var type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED
        var (sides, count) = (0, 0)
        var start: UnsafeMutableRawPointer?
        try check(api, api.pointee.GetTensorTypeAndShape(value, &info))
        defer { api.pointee.ReleaseTensorTypeAndShapeInfo(info) }
        try check(api, api.pointee.GetTensorElementType(info, &type))
        try check(api, api.pointee.GetDimensionsCount(info, &sides))
        try check(api, api.pointee.GetTensorShapeElementCount(info, &count))
        var shape = [Int64](repeating: 0, count: sides)
        try check(api, api.pointee.GetDimensions(info, &shape, sides))
        try check(api, api.pointee.GetTensorMutableData(value, &start))
        guard let dtype = Dtype.allCases.first(where: { $0.onnx == type }) else {
            throw DvtEdgeError(.engine, "\(stage.name): an output of an element type that no bundle has")
        }
        let bytes = [UInt8](UnsafeRawBufferPointer(start: start, count: count * dtype.size))
        return Tensor(dtype: dtype, shape: shape.map(Int.init), bytes: bytes)
    }

    private func checkNames() throws(DvtEdgeError) {
        let api = runtime.api
        var allocator: UnsafeMutablePointer<OrtAllocator>?
        try check(api, api.pointee.GetAllocatorWithDefaultOptions(&allocator))
        var (inputs, outputs) = (0, 0)
        try check(api, api.pointee.SessionGetInputCount(session, &inputs))
        try check(api, api.pointee.SessionGetOutputCount(session, &outputs))
        var found: [String] = []
        for index in 0..<inputs + outputs {
            let ask = index < inputs ? api.pointee.SessionGetInputName! : api.pointee.SessionGetOutputName!
            var name: UnsafeMutablePointer<CChar>?
            try check(api, ask(session, index < inputs ? index : index - inputs, allocator, &name))
            found.append(String(cString: name!))
            try check(api, api.pointee.AllocatorFree(allocator, name))
        }
        let expected = (stage.inputs + stage.outputs).map(\.name)
        if found != expected {
            throw DvtEdgeError(
                .engine, "\(stage.name): the model has the tensors \(found); the manifest says \(expected)")
        }
    }
}

extension Dtype {
    fileprivate var onnx: ONNXTensorElementDataType {
        switch self {
        case .uint8: ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
        case .float16: ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
        case .float32: ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
        }
    }
}

/// Names as C takes them, for as long as this lives.
private final class Names {
    let pointers: [UnsafePointer<CChar>?]

    init(_ names: [String]) { pointers = names.map { UnsafePointer(strdup($0)) } }

    deinit { for pointer in pointers { free(UnsafeMutablePointer(mutating: pointer)) } }
}

private func check(_ api: UnsafePointer<OrtApi>, _ status: OpaquePointer?) throws(DvtEdgeError) {
    guard let status else { return }
    defer { api.pointee.ReleaseStatus(status) }
    let failure = OrtFailure(
        errorCode: Int(api.pointee.GetErrorCode(status).rawValue),
        description: String(cString: api.pointee.GetErrorMessage(status)!))
    throw DvtEdgeError(.engine, "onnxruntime failed", because: failure)
}

/// What ONNX Runtime says of itself.
private struct OrtFailure: CustomNSError, CustomStringConvertible {
    static let errorDomain = "OrtStatus"
    let errorCode: Int
    let description: String
}
