@_exported import AppleFoundation

// compression/compression_stream
public struct compression_stream {
    public var dst_ptr: UnsafeMutablePointer<UInt8>
    public var dst_size: Int
    public var src_ptr: UnsafePointer<UInt8>
    public var src_size: Int
    public var state: UnsafeMutableRawPointer?
}

public struct compression_status: Equatable, Sendable {  // compression/compression_status
    public let rawValue: Int32
}
public let COMPRESSION_STATUS_OK = compression_status(rawValue: 0)  // compression/compression_status_ok
public let COMPRESSION_STATUS_ERROR = compression_status(rawValue: -1)  // compression/compression_status_error
public let COMPRESSION_STATUS_END = compression_status(rawValue: 1)  // compression/compression_status_end

public struct compression_stream_operation: Sendable {}  // compression/compression_stream_operation
public let COMPRESSION_STREAM_DECODE = compression_stream_operation()  // compression/compression_stream_decode

public struct compression_algorithm: Sendable {}  // compression/compression_algorithm
public let COMPRESSION_ZLIB = compression_algorithm()  // compression/compression_zlib

// compression/compression_stream_init(_:_:_:)
public func compression_stream_init(
    _ stream: UnsafeMutablePointer<compression_stream>, _ operation: compression_stream_operation,
    _ algorithm: compression_algorithm
) -> compression_status { fatalError() }

// compression/compression_stream_process(_:_:)
public func compression_stream_process(
    _ stream: UnsafeMutablePointer<compression_stream>, _ flags: Int32
) -> compression_status { fatalError() }

// compression/compression_stream_destroy(_:)
@discardableResult
public func compression_stream_destroy(_ stream: UnsafeMutablePointer<compression_stream>) -> compression_status {
    fatalError()
}
