import Foundation

// Plain paths: docs/bundle.md.

private let maxBytes = 1024
private let maxParts = 32

/// Throws an `UnsafePathError` for a path that is not plain, and for two that some file system takes for one.
func checkPaths(_ paths: [String]) throws(DvtEdgeError) {
    let root = Folder()
    for path in paths {
        try checkPath(path)
        var parts = path.utf8.split(separator: UInt8(ascii: "/")).map { String($0)! }
        let last = parts.removeLast()
        var folder = root
        for part in parts { folder = try folder.enter(part, path) }
        try folder.add(last, path)
    }
}

/// The parts in one folder of a bundle.
private final class Folder {
    private var folders: [Exact: Folder] = [:]
    private var files: Set<Exact> = []
    private var folded: [Exact: Exact] = [:]  // as a file system may see them

    func enter(_ part: String, _ path: String) throws(DvtEdgeError) -> Folder {
        try see(part, path)
        if files.contains(Exact(part)) { throw DvtEdgeError(.unsafePath, "the path \(path.quoted) lies in a file") }
        let below = folders[Exact(part)] ?? Folder()
        folders[Exact(part)] = below
        return below
    }

    func add(_ part: String, _ path: String) throws(DvtEdgeError) {
        try see(part, path)
        guard folders[Exact(part)] == nil, files.insert(Exact(part)).inserted else {
            throw DvtEdgeError(.unsafePath, "the path \(path.quoted) is a folder too, or stands twice")
        }
    }

    /// Throws an `UnsafePathError` where another part of this folder differs by case or normal form only.
    private func see(_ part: String, _ path: String) throws(DvtEdgeError) {
        let key = Exact(part.precomposedStringWithCanonicalMapping.uppercased().lowercased())
        if let other = folded.updateValue(Exact(part), forKey: key), other != Exact(part) {
            throw DvtEdgeError(
                .unsafePath, "the path \(path.quoted) is the same as one with \(other.text.quoted) on some file systems"
            )
        }
    }
}

/// Throws an `UnsafePathError` unless `path` is plain: relative, inside, and a file's name on every system.
func checkPath(_ path: String) throws(DvtEdgeError) {
    if !isPlain(path) {
        throw DvtEdgeError(
            .unsafePath, "the path \(path.quoted) leaves the bundle or is not plain; expected relative/with/slashes")
    }
}

private func isPlain(_ path: String) -> Bool {
    let parts = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map { String($0)! }
    return path.utf8.count <= maxBytes && parts.count <= maxParts
        && !path.lowercased().same(as: Manifest.file)
        && !path.unicodeScalars.contains {
            $0.value < 0x20 || $0.value == 0x7F || "\\:<>\"|?*".unicodeScalars.contains($0)
        }
        && parts.allSatisfy(isPlainPart)
        && path.precomposedStringWithCanonicalMapping.same(as: path)
}

private func isPlainPart(_ part: String) -> Bool {
    guard let last = part.unicodeScalars.last, last != ".", last != " " else { return false }  // `.` and `..` as well
    let stem = part.unicodeScalars.prefix { $0 != "." }
    return !reserved.contains(String(String.UnicodeScalarView(stem)).lowercased())
}

/// Names of devices on Windows.
private let reserved: Set<String> = Set(
    ["con", "prn", "aux", "nul"] + ["com", "lpt"].flatMap { name in "0123456789¹²³".map { "\(name)\($0)" } })
