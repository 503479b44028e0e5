import Foundation

@testable import DVTEdge

#if canImport(CZlib)
import CZlib
#endif

/// Makes a .zip of whatever names and contents.
struct ZipMaker {
    private var files: [UInt8] = []
    private var directory: [UInt8] = []
    private var count = 0

    /// `claimed` is the size that the headers say, where that is not the content's.
    mutating func add(_ name: String, _ content: [UInt8], deflate: Bool = false, claimed: Int? = nil) {
        var crc = CRC32()
        crc.update(content)
        let packed = deflate ? deflated(content) : content
        let fields: [(Int, Int)] = [
            (20, 2), (0x800, 2), (deflate ? 8 : 0, 2), (0x21 << 16, 4), (Int(crc.value), 4), (packed.count, 4),
            (claimed ?? content.count, 4), (name.utf8.count, 2), (0, 2),
        ]
        let shared = fields.flatMap(little)
        directory += [0x50, 0x4B, 1, 2, 20, 0]
        directory += shared
        directory += [UInt8](repeating: 0, count: 10)
        directory += little(files.count, 4)
        directory += name.utf8
        files += [0x50, 0x4B, 3, 4]
        files += shared
        files += name.utf8
        files += packed
        count += 1
    }

    var bytes: [UInt8] {
        let fields: [(Int, Int)] = [
            (0x0605_4B50, 4), (0, 4), (count & 0xFFFF, 2), (count & 0xFFFF, 2), (directory.count, 4), (files.count, 4),
            (0, 2),
        ]
        return files + directory + fields.flatMap(little)
    }
}

private func little(_ value: Int, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

private func deflated(_ content: [UInt8]) -> [UInt8] {
    #if canImport(CZlib)
    var size = compressBound(uLong(content.count))
    var packed = [UInt8](repeating: 0, count: Int(size))
    compress2(&packed, &size, content, uLong(content.count), 6)
    return Array(packed[2..<Int(size) - 4])  // without zlib's header and checksum
    #else
    return [UInt8](try! (Data(content) as NSData).compressed(using: .zlib) as Data)
    #endif
}
