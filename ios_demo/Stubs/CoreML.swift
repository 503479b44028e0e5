@_exported import CoreVideo

// coreml/mlcomputeunits
public enum MLComputeUnits: Int, Sendable {
    case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine
}

// coreml/mlmodelconfiguration
open class MLModelConfiguration: NSObject {
    public override init() {}
    open var computeUnits: MLComputeUnits = .all  // coreml/mlmodelconfiguration/computeunits
    @available(iOS 18, macOS 15, *)
    open var functionName: String? {  // coreml/mlmodelconfiguration/functionname
        get { fatalError() }
        set { fatalError() }
    }
}

// coreml/mlpredictionoptions
open class MLPredictionOptions: NSObject {
    public override init() {}
}

// coreml/mlmodel
open class MLModel: NSObject {
    // coreml/mlmodel/load(contentsof:configuration:)
    open class func load(
        contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()
    ) async throws -> MLModel { fatalError() }

    // coreml/mlmodel/compilemodel(at:)-3nea
    open class func compileModel(at modelURL: URL) async throws -> URL { fatalError() }

    // coreml/mlmodel/prediction(from:options:)-3vg03
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) async throws -> any MLFeatureProvider { fatalError() }
}

// coreml/mlfeatureprovider
public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

// coreml/mlfeaturevalue
open class MLFeatureValue: NSObject {
    public init(pixelBuffer value: CVPixelBuffer) {}  // coreml/mlfeaturevalue/init(pixelbuffer:)
    public init(multiArray value: MLMultiArray) {}  // coreml/mlfeaturevalue/init(multiarray:)
    open var multiArrayValue: MLMultiArray? { fatalError() }  // coreml/mlfeaturevalue/multiarrayvalue
}

// coreml/mldictionaryfeatureprovider
open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    public init(dictionary: [String: Any]) throws {}  // coreml/mldictionaryfeatureprovider/init(dictionary:)
    open var featureNames: Set<String> { fatalError() }
    open func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

// coreml/mlmultiarraydatatype
public enum MLMultiArrayDataType: Int, Sendable {
    case double, float32, float16, int32
}

// coreml/mlmultiarray
open class MLMultiArray: NSObject {
    // coreml/mlmultiarray/init(shape:datatype:)
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}
    open var dataType: MLMultiArrayDataType { fatalError() }  // coreml/mlmultiarray/datatype
    open var shape: [NSNumber] { fatalError() }  // coreml/mlmultiarray/shape
    open var strides: [NSNumber] { fatalError() }  // coreml/mlmultiarray/strides

    // coreml/mlmultiarray/withunsafebytes(_:)
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { fatalError() }

    // coreml/mlmultiarray/withunsafemutablebytes(_:)
    public func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R) rethrows -> R {
        fatalError()
    }
}

// coreml/mlcomputedevice; the associated values are of coreml/mlcpucomputedevice and its kin
@available(iOS 17, macOS 14, *)
public enum MLComputeDevice: Sendable {
    case cpu(MLCPUComputeDevice)
    case gpu(MLGPUComputeDevice)
    case neuralEngine(MLNeuralEngineComputeDevice)
}

public final class MLCPUComputeDevice: NSObject, @unchecked Sendable {}
public final class MLGPUComputeDevice: NSObject, @unchecked Sendable {}
public final class MLNeuralEngineComputeDevice: NSObject, @unchecked Sendable {}

// coreml/mlmodelstructure-swift.enum
@available(iOS 17.4, macOS 14.4, *)
public enum MLModelStructure: Sendable {
    public struct Program: Sendable {
        public var functions: [String: Function] { fatalError() }

        public struct Function: Sendable {
            public var block: Block { fatalError() }
        }

        public struct Block: Sendable {
            public var operations: [Operation] { fatalError() }
        }

        public struct Operation: Sendable {
            public var blocks: [Block] { fatalError() }
        }
    }

    case program(Program)
    case unsupported
}

// coreml/mlcomputeplan-1w21n
@available(iOS 17.4, macOS 14.4, *)
public final class MLComputePlan: Sendable {
    // coreml/mlcomputeplan-1w21n/load(contentsof:configuration:)
    public static func load(contentsOf url: URL, configuration: MLModelConfiguration) async throws -> MLComputePlan {
        fatalError()
    }

    public var modelStructure: MLModelStructure { fatalError() }  // coreml/mlcomputeplan-1w21n/modelstructure

    // coreml/mlcomputeplan-1w21n/deviceusage(for:)-9em1q
    public func deviceUsage(for operation: MLModelStructure.Program.Operation) -> DeviceUsage? { fatalError() }

    // coreml/mlcomputeplan-1w21n/deviceusage
    public struct DeviceUsage: Sendable {
        // coreml/mlcomputeplan-1w21n/deviceusage/preferred
        public var preferred: MLComputeDevice { fatalError() }
    }
}
