#if canImport(Compression)
import Compression

/// A deflate stream (RFC 1951) that is unpacked piece by piece.
final class Inflater {
    private let stream = UnsafeMutablePointer<compression_stream>.allocate(capacity: 1)
    private(set) var ended = false

    init?() {
        guard compression_stream_init(stream, COMPRESSION_STREAM_DECODE, COMPRESSION_ZLIB) == COMPRESSION_STATUS_OK
        else {
            stream.deallocate()
            return nil
        }
    }

    deinit {
        compression_stream_destroy(stream)
        stream.deallocate()
    }

    /// At most `count` bytes of what `packed` unpacks to, and how many bytes of it were taken; nil of a damaged stream.
    func unpack(_ packed: ArraySlice<UInt8>, _ count: Int) -> (bytes: [UInt8], taken: Int)? {
        var taken = 0
        var ok = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            packed.withUnsafeBufferPointer { input in
                stream.pointee.src_ptr = input.baseAddress ?? UnsafePointer(buffer.baseAddress!)  // of none
                stream.pointee.src_size = input.count
                stream.pointee.dst_ptr = buffer.baseAddress!
                stream.pointee.dst_size = count
                let status = compression_stream_process(stream, 0)
                ok = status != COMPRESSION_STATUS_ERROR
                ended = status == COMPRESSION_STATUS_END
                taken = input.count - stream.pointee.src_size
                initialized = count - stream.pointee.dst_size
            }
        }
        return ok ? (bytes, taken) : nil
    }
}
#else
import CZlib

/// A deflate stream (RFC 1951) that is unpacked piece by piece.
final class Inflater {
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    private(set) var ended = false

    init?() {
        stream.initialize(to: z_stream())
        let raw = -MAX_WBITS  // without a header
        guard inflateInit2_(stream, raw, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            stream.deallocate()
            return nil
        }
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    /// At most `count` bytes of what `packed` unpacks to, and how many bytes of it were taken; nil of a damaged stream.
    func unpack(_ packed: ArraySlice<UInt8>, _ count: Int) -> (bytes: [UInt8], taken: Int)? {
        var taken = 0
        var ok = false
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            packed.withUnsafeBufferPointer { input in
                stream.pointee.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
                stream.pointee.avail_in = uInt(input.count)
                stream.pointee.next_out = buffer.baseAddress
                stream.pointee.avail_out = uInt(count)
                let status = inflate(stream, Z_NO_FLUSH)
                ok = [Z_OK, Z_STREAM_END, Z_BUF_ERROR].contains(status)
                ended = status == Z_STREAM_END
                taken = input.count - Int(stream.pointee.avail_in)
                initialized = count - Int(stream.pointee.avail_out)
            }
        }
        return ok ? (bytes, taken) : nil
    }
}
#endif

/// CRC-32 of bytes that come in pieces, as a .zip has it (ISO 3309).
struct CRC32 {
    private var rest: UInt32 = .max
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { word, _ in word & 1 == 0 ? word >> 1 : word >> 1 ^ 0xEDB8_8320 }
    }

    mutating func update(_ bytes: [UInt8]) {
        rest = bytes.reduce(rest) { Self.table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ $0 >> 8 }
    }

    var value: UInt32 { ~rest }
}
