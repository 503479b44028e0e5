import Foundation

/// Bytes that are read from a place on: a file, or a file of a .zip.
protocol ByteSource: AnyObject {
    /// At most `count` bytes, none at the end.
    func next(_ count: Int) throws(DvtEdgeError) -> [UInt8]
}

let chunk = 1 << 20  // bytes that are read at a time

extension ByteSource {
    /// Bytes and SHA-256 of all that comes, in constant memory.
    func digest() throws(DvtEdgeError) -> FileSpec {
        var total = 0
        var digest = SHA256Digest()
        while true {
            let piece = try next(chunk)
            if piece.isEmpty { return FileSpec(sha256: digest.hex(), size: total) }
            total += piece.count
            digest.update(piece)
        }
    }

    /// All that comes, but at most `limit` bytes.
    func content(atMost limit: Int) throws(DvtEdgeError) -> [UInt8] {
        var content: [UInt8] = []
        while content.count < limit {
            let piece = try next(min(chunk, limit - content.count))
            if piece.isEmpty { break }
            content += piece
        }
        return content
    }
}

/// An open file, closed when the last one lets go of it.
final class File: ByteSource {
    private let descriptor: Int32
    private let path: String

    /// Throws a `BundleError`.
    init(_ path: String) throws(DvtEdgeError) {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { throw unreadable(path) }
    }

    deinit { close(descriptor) }

    func next(_ count: Int) throws(DvtEdgeError) -> [UInt8] {
        var got = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            got = read(descriptor, buffer.baseAddress, count)
            initialized = max(0, got)
        }
        if got < 0 { throw unreadable(path) }
        return bytes
    }

    /// Exactly these bytes; nil where the file ends before.
    func bytes(_ range: Range<Int>) throws(DvtEdgeError) -> [UInt8]? {
        guard range.lowerBound >= 0, lseek(descriptor, off_t(range.lowerBound), SEEK_SET) >= 0 else { return nil }
        let content = try content(atMost: range.count)
        return content.count == range.count ? content : nil
    }
}

func unreadable(_ path: String) -> DvtEdgeError {
    DvtEdgeError(.bundle, "\(path): cannot be read (\(String(cString: strerror(errno))))")
}

/// What is at a path.
enum Entry: Equatable {
    case file(size: Int)
    case folder
    case link
    case other

    /// nil where there is nothing. A link is not followed, unless asked for.
    init?(_ path: String, following: Bool = false) {
        var found = stat()
        guard (following ? stat(path, &found) : lstat(path, &found)) == 0 else { return nil }
        switch found.st_mode & S_IFMT {
        case S_IFREG: self = .file(size: Int(found.st_size))
        case S_IFDIR: self = .folder
        case S_IFLNK: self = .link
        default: self = .other
        }
    }
}

/// Which file or folder is at a path, and when it last changed: inodes are used again.
struct Identity: Equatable {
    private let device: UInt64
    private let inode: UInt64
    private let mode: UInt64
    private let changedS: Int
    private let changedNs: Int

    /// nil where there is nothing. A link is followed.
    init?(_ path: String) {
        var found = stat()
        guard stat(path, &found) == 0 else { return nil }
        #if canImport(Darwin)
        let changed = found.st_ctimespec
        #else
        let changed = found.st_ctim
        #endif
        (device, inode, mode) = (UInt64(truncatingIfNeeded: found.st_dev), UInt64(found.st_ino), UInt64(found.st_mode))
        (changedS, changedNs) = (Int(changed.tv_sec), Int(changed.tv_nsec))
    }
}

/// The names in a folder. One that is not UTF-8 comes with what can be read of it. Throws a `BundleError`.
func names(in folder: String) throws(DvtEdgeError) -> [String] {
    guard let opened = opendir(folder) else { throw unreadable(folder) }
    defer { closedir(opened) }
    var found: [String] = []
    while let entry = readdir(opened) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) { start in
            start.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: start.pointee)) {
                String(cString: $0)
            }
        }
        if name != "." && name != ".." { found.append(name) }
    }
    return found.sorted { Exact($0) < Exact($1) }
}
