import Foundation

// A bundle on disk: manifest.json and the files that it lists, in a folder or in one .zip of it. Normative: docs/bundle.md.

private let maxManifest = 16 << 20  // bytes
private let maxLabels = 1 << 20  // bytes
private let maxUnpacked = 4 << 30  // bytes that a .zip may unpack to
private let maxRatio = 200  // of unpacked to packed bytes; weights hardly compress, so a larger one is a bomb
private let maxLine = 300  // characters of an error, its path aside
private let tries = 50  // of a bundle that another process replaces meanwhile

/// A verified bundle, a folder or a .zip. What is read later is verified again: what runs is what was verified.
public struct CascadeBundle: Sendable {
    public let path: String
    public let manifest: Manifest
    /// SHA-256 of the bytes of manifest.json.
    public let sha256: String

    /// Open and verify a bundle's folder or .zip: every path, size and SHA-256. Nothing is unpacked.
    ///
    /// Takes time linear in its bytes. Throws a `ManifestError`, `OldFormatError`, `NewerFormatError`, `MissingFileError`,
    /// `ChangedFileError`, `UnsafePathError`, `ArchiveError` or, for what cannot be read, a `BundleError`.
    public static func open(_ path: String) throws(DvtEdgeError) -> CascadeBundle {
        for attempt in 1...tries {
            let before = Identity(path)
            do {
                let (manifest, sha256) = try verify(path)
                return CascadeBundle(path: path, manifest: manifest, sha256: sha256)
            } catch let error {
                if Identity(path) != before && attempt < tries { continue }  // replaced by another bundle meanwhile
                throw located(error, path)
            }
        }
        fatalError("every attempt returns or throws")
    }

    /// A listed file, verified anew. Throws a `ChangedFileError` where it is not what the manifest says any more.
    public func read(_ name: String) throws(DvtEdgeError) -> [UInt8] {
        guard let spec = manifest.files[name] else {
            throw DvtEdgeError(.missingFile, "\(path): the file \(name.quoted) is not in the manifest")
        }
        let content: [UInt8]
        do {
            content = try readAtMost(spec.size + 1, name)
        } catch let error {
            throw DvtEdgeError(.changedFile, "\(path): \(name.quoted) cannot be read any more (\(cause(error)))")
        }
        do {
            try check(name, FileSpec(sha256: DVTEdge.sha256(content), size: content.count), spec)
        } catch let error {
            throw located(error, path)
        }
        return content
    }

    private func readAtMost(_ limit: Int, _ name: String) throws(DvtEdgeError) -> [UInt8] {
        if Entry(path, following: true) == .folder {
            guard case .file? = Entry("\(path)/\(name)") else { throw DvtEdgeError(.bundle, "no plain file any more") }
            return try File("\(path)/\(name)").content(atMost: limit)
        }
        let archive = try ZipArchive(path, size: try fileSize(path))
        guard let member = archive.members.first(where: { $0.name.elementsEqual(name.utf8) }) else {
            throw DvtEdgeError(.archive, "it is not there any more")
        }
        return try archive.open(member).content(atMost: limit)
    }

    /// Class names, one for each logit. Throws a `ManifestError`.
    public func labels() throws(DvtEdgeError) -> [String] {
        let name = manifest.labels, count = manifest.model.classes
        let content = try read(name)
        do {
            let names = try [String].read(try parseJSON(content, name), name)
            if names.count == count { return names }
        } catch let error where error.kind == .schema {
            throw DvtEdgeError(.manifest, "\(path): \(error.message)")
        }
        throw DvtEdgeError(.manifest, "\(path): \(name): expected a list of \(count) names")
    }

    /// The pixels (n, size, size, 3) uint8 of one stage and, for each exit, logits (n, classes), image by image.
    ///
    /// Throws a `ManifestError` for files of another length, and where there are none.
    public func golden(_ stage: Int = 0) throws(DvtEdgeError) -> (images: [[UInt8]], logits: [[[Float]]]) {
        let golden = manifest.golden, size = manifest.imageSize(stage).size
        if golden.images == 0 { throw DvtEdgeError(.manifest, "\(path): no golden images in it") }
        let images = try rows(golden.image[stage], [size, size, 3])
        var logits: [[[Float]]] = []
        for name in golden.logits {
            logits.append(try rows(name, [manifest.model.classes, 4]).map(floats))
        }
        return (images, logits)
    }

    /// A golden file cut into its images, each of `shape` bytes.
    private func rows(_ name: String, _ shape: [Int]) throws(DvtEdgeError) -> [[UInt8]] {
        let content = try read(name)
        guard let each = product(shape), product([each, manifest.golden.images]) == content.count else {
            throw DvtEdgeError(
                .manifest, "\(path): \(name): \(content.count) bytes; expected \([manifest.golden.images] + shape)")
        }
        return stride(from: 0, to: content.count, by: each).map { Array(content[$0..<$0 + each]) }
    }

    /// Bytes of all listed files.
    public var size: Int { manifest.files.all.reduce(0) { $0 + $1.size } }

    /// What a stage runs, verified.
    public func artifact(_ stage: Int) throws(DvtEdgeError) -> Artifact {
        var files: [(String, [UInt8])] = []
        for name in manifest.artifactFiles(stage) { files.append((name, try read(name))) }
        return Artifact(name: manifest.stages[stage].artifact, files: files)
    }
}

/// What a stage runs: the files at and below `name`, by their paths in the bundle.
public struct Artifact: Sendable {
    public let name: String
    public let files: [(path: String, content: [UInt8])]

    public init(name: String, files: [(String, [UInt8])]) {
        self.name = name
        self.files = files.map { (path: $0.0, content: $0.1) }
    }

    /// Of an artifact that is one file. Throws an `EngineError` of a folder.
    public var content: [UInt8] {
        get throws(DvtEdgeError) {
            guard let file = files.first, file.path.same(as: name) else {
                throw DvtEdgeError(.engine, "\(name): a folder; expected a file")
            }
            return file.content
        }
    }
}

/// Little-endian float32.
func floats(_ bytes: [UInt8]) -> [Float] {
    stride(from: 0, to: bytes.count, by: 4).map { at in
        Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << (8 * $1) })
    }
}

// MARK: folders

/// The manifest of a verified bundle, and its SHA-256.
private func verify(_ path: String) throws(DvtEdgeError) -> (Manifest, String) {
    switch Entry(path, following: true) {
    case nil:
        throw DvtEdgeError(.missingFile, "no such bundle; expected a folder with \(Manifest.file), or a .zip of it")
    case .folder: return try verifyFolder(path)
    case .file(let size): return try verifyZip(path, size)
    default: throw DvtEdgeError(.archive, "neither a folder nor a .zip")
    }
}

private func verifyFolder(_ folder: String) throws(DvtEdgeError) -> (Manifest, String) {
    guard case .file? = Entry("\(folder)/\(Manifest.file)") else {
        throw DvtEdgeError(.manifest, "no \(Manifest.file); not a bundle")
    }
    let (manifest, sha256) = try parse(try File("\(folder)/\(Manifest.file)"))
    let paths = manifest.files.names
    try checkPaths(paths)
    try checkNeeded(manifest)
    var scan = FolderScan(folder, Set(paths.map(Exact.init)))
    try scan.run()
    for name in paths {
        let spec = manifest.files[name]!
        guard let size = scan.found[Exact(name)] else { throw missing(name) }
        try check(name, size, spec.size)
        try check(name, try File("\(folder)/\(name)").digest(), spec)
    }
    if let unlisted = scan.unlisted {
        throw DvtEdgeError(.missingFile, "the file \(unlisted.quoted) is not in the manifest")
    }
    return (manifest, sha256)
}

/// Bytes of every listed file that is there, by its path, and the first file or link that is not listed.
private struct FolderScan {
    private let root: String
    private let listed: Set<Exact>
    private let folders: Set<Exact>  // of listed files
    var found: [Exact: Int] = [:]
    var unlisted: String?

    init(_ root: String, _ listed: Set<Exact>) {
        (self.root, self.listed) = (root, listed)
        folders = Set(
            listed.flatMap { path in
                path.text.utf8.indices.filter { path.text.utf8[$0] == UInt8(ascii: "/") }.map {
                    Exact(String(path.text[..<$0]))
                }
            })
    }

    /// Throws an `UnsafePathError` for a link where a listed file or its folder should be.
    mutating func run() throws(DvtEdgeError) {
        var waiting = [""]  // folders, however deep: no recursion
        while let below = waiting.popLast() {
            for entry in try names(in: "\(root)/\(below)") {
                let name = below + entry, path = Exact(name)
                switch Entry("\(root)/\(name)") {
                case .link? where listed.contains(path) || folders.contains(path):
                    throw DvtEdgeError(.unsafePath, "\(name.quoted) is a link; a bundle holds plain files only")
                case .folder? where !listed.contains(path): waiting.append(name + "/")
                case .file(let size)? where listed.contains(path): found[path] = size
                case .folder?: continue  // where a file should be: that is missing
                default: if !belongs(name) { unlisted = unlisted ?? name }
                }
            }
        }
    }
}

/// Whether a file that is not listed may lie in a folder: the manifest, and what a killed writer of 0.1.0 left.
private func belongs(_ name: String) -> Bool {
    name.same(as: Manifest.file) || name.wholeMatch(of: #/\.manifest\.json\.[A-Za-z0-9_]{8}/#) != nil
}

// MARK: a .zip of one

private func verifyZip(_ path: String, _ size: Int) throws(DvtEdgeError) -> (Manifest, String) {
    let archive = try ZipArchive(path, size: size)
    var members = try checkMembers(archive)
    guard let member = members.removeValue(forKey: Exact(Manifest.file)) else {
        throw DvtEdgeError(.manifest, "no \(Manifest.file) at its root; not a bundle")
    }
    let (manifest, sha256) = try parse(try archive.open(member))
    let paths = manifest.files.names
    try checkPaths(paths)
    try checkNeeded(manifest)
    for name in paths {
        let spec = manifest.files[name]!
        guard let member = members.removeValue(forKey: Exact(name)) else { throw missing(name) }
        try check(name, member.size, spec.size)
        try check(name, try archive.open(member).digest(), spec)
    }
    if let unlisted = members.keys.min() {
        throw DvtEdgeError(.missingFile, "the file \(unlisted.text.quoted) is not in the manifest")
    }
    return (manifest, sha256)
}

/// The files of a .zip by name; folders are passed over. Throws an `ArchiveError` or `UnsafePathError`.
private func checkMembers(_ archive: ZipArchive) throws(DvtEdgeError) -> [Exact: ZipMember] {
    let total = archive.members.reduce(0) { $0 + $1.size }
    if total > min(maxUnpacked, maxRatio * archive.size) {
        throw DvtEdgeError(.archive, "\(archive.members.count) files that unpack to \(total) bytes; refused")
    }
    var found: [Exact: ZipMember] = [:]
    for member in archive.members {
        guard let name = member.path else {
            throw DvtEdgeError(.unsafePath, "a name in it is not plain UTF-8 without NUL")
        }
        if name.utf8.last == UInt8(ascii: "/") {
            try checkPath(String(name.dropLast()))
            continue
        }
        if !name.same(as: Manifest.file) { try checkPath(name) }
        if member.isLink {
            throw DvtEdgeError(.unsafePath, "\(name.quoted) is a link; a bundle holds plain files only")
        }
        if member.flags & 1 != 0 || ![0, 8].contains(member.method) {
            throw DvtEdgeError(
                .archive, "\(name.quoted) is encrypted or packed by a method other than stored and deflate")
        }
        if found.updateValue(member, forKey: Exact(name)) != nil {
            throw DvtEdgeError(.archive, "\(name.quoted) stands in it twice")
        }
    }
    try checkPaths(found.keys.map(\.text).filter { !$0.same(as: Manifest.file) })
    return found
}

// MARK: what both share

/// An error of a bundle's as one printable line that names the bundle, whatever its manifest quotes.
private func located(_ error: DvtEdgeError, _ path: String) -> DvtEdgeError {
    let text = error.message.hasPrefix("\(path): ") ? String(error.message.dropFirst(path.count + 2)) : error.message
    return DvtEdgeError(error.kind, "\(path.printable(1024)): \(text.printable(maxLine))")
}

private func parse(_ source: some ByteSource) throws(DvtEdgeError) -> (Manifest, String) {
    let content = try source.content(atMost: maxManifest + 1)
    if content.count > maxManifest {
        throw DvtEdgeError(.manifest, "\(Manifest.file) has over \(maxManifest) bytes; refused")
    }
    return (try parseManifest(content), sha256(content))
}

private func fileSize(_ path: String) throws(DvtEdgeError) -> Int {
    guard case .file(let size)? = Entry(path, following: true) else { throw DvtEdgeError(.archive, "no file any more") }
    return size
}

private func missing(_ name: String) -> DvtEdgeError {
    DvtEdgeError(.missingFile, "the file \(name.quoted) of the manifest is missing")
}

/// Throws a `ManifestError` where the manifest names a path that is not among its files; an artifact may be a folder.
private func checkNeeded(_ manifest: Manifest) throws(DvtEdgeError) {
    let missing =
        manifest.neededFiles.filter { manifest.files[$0] == nil }
        + manifest.stages.indices.filter { manifest.artifactFiles($0).isEmpty }.map { manifest.stages[$0].artifact }
    if let name = missing.first {
        throw DvtEdgeError(.manifest, "the manifest needs \(name.quoted), which is not among its files")
    }
    if let size = manifest.files[manifest.labels]?.size, size > maxLabels {
        throw DvtEdgeError(.manifest, "\(manifest.labels.quoted) has \(size) bytes; at most \(maxLabels) are read")
    }
}

private func check(_ name: String, _ size: Int, _ expected: Int) throws(DvtEdgeError) {
    if size != expected {
        throw DvtEdgeError(.changedFile, "\(name.quoted) has \(size) bytes; the manifest says \(expected)")
    }
}

private func check(_ name: String, _ found: FileSpec, _ spec: FileSpec) throws(DvtEdgeError) {
    try check(name, found.size, spec.size)
    if found.sha256 != spec.sha256 {
        throw DvtEdgeError(
            .changedFile,
            "\(name.quoted) has SHA-256 \(found.sha256.prefix(16))...; the manifest says \(spec.sha256.prefix(16))...")
    }
}
