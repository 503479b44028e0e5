import Foundation
import Testing

@testable import DVTEdge

private let index = goldenJSON("bundles/index.json")

@Test(arguments: index["cases"].list)
func zips(_ json: JSON) throws {
    let path = golden.appendingPathComponent("bundles/\(json["file"].text!)").path
    #expect(errorOfOpening(path) == json["error"].text)
    if json["error"] != .null { return }
    let bundle = try CascadeBundle.open(path)
    for (point, reason) in index["uncertified"].entries {
        #expect(try bundle.manifest.uncertified(point) == reason.text)
    }
    #expect(try bundle.labels() == ["cat", "dog", "ship"])
    #expect(try bundle.golden().images.map(\.count) == [4 * 4 * 3])
    #expect(try bundle.golden().logits.map { $0.map(\.count) } == [[3], [3], [3]])
    #expect(try bundle.artifact(0).content.count == bundle.manifest.files["stage0.bin"]!.size)
}

@Test(arguments: index["recipes"].list)
func zipsByRecipe(_ json: JSON) {
    let folder = TemporaryFolder()
    var zip = ZipMaker()
    for entry in json["entries"].list {
        let content = [UInt8](repeating: UInt8(entry["byte"].int!), count: entry["times"].int!)
        zip.add(entry["name"].text!, content, deflate: entry["method"].text == "deflate")
    }
    for number in 0..<(json["empty_entries"].int ?? 0) { zip.add("\(number)", []) }
    folder.write("x.zip", zip.bytes)
    #expect(errorOfOpening(folder.path("x.zip")) == "ArchiveError")
}

/// A bomb that says it is small is not unpacked further than it says.
@Test func zipThatLies() {
    let folder = TemporaryFolder()
    var zip = ZipMaker()
    zip.add("manifest.json", [UInt8](repeating: 48, count: 50_000_000), deflate: true, claimed: 1000)
    folder.write("x.zip", zip.bytes)
    #expect(errorOfOpening(folder.path("x.zip")) == "ArchiveError")
}

/// A stored file that is read in pieces which do not fit the file's own is whole.
@Test(arguments: [false, true], [1000, 700_001, 1 << 20, 3_000_000])
func entriesInPieces(_ deflate: Bool, _ size: Int) throws {
    let folder = TemporaryFolder(), content = (0..<2_500_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) }
    var zip = ZipMaker()
    zip.add("x", content, deflate: deflate)
    folder.write("x.zip", zip.bytes)
    let archive = try ZipArchive(folder.path("x.zip"), size: zip.bytes.count)
    let source = try archive.open(archive.members[0])
    var read: [UInt8] = []
    while case let piece = try source.next(size), !piece.isEmpty { read += piece }
    #expect(read == content)
}

/// The bundle of a golden .zip, as a folder.
func unpackedBundle() throws -> TemporaryFolder {
    let folder = TemporaryFolder()
    let path = golden.appendingPathComponent("bundles/good-stored.zip").path
    let archive = try ZipArchive(path, size: goldenBytes("bundles/good-stored.zip").count)
    for member in archive.members {
        folder.write("bundle/\(member.path!)", try archive.open(member).content(atMost: .max))
    }
    return folder
}

@Test func folders() throws {
    let folder = try unpackedBundle()
    let bundle = folder.path("bundle")
    #expect(errorOfOpening(bundle) == nil)
    #expect(
        try CascadeBundle.open(bundle).sha256
            == sha256([UInt8](Data(contentsOf: folder.url.appendingPathComponent("bundle/manifest.json")))))
    folder.write("bundle/.manifest.json.abcd_123", [])
    try FileManager.default.createDirectory(
        atPath: folder.path("bundle/empty/folders"), withIntermediateDirectories: true)
    #expect(errorOfOpening(bundle) == nil)
    let deep = [String](repeating: "a", count: 300).joined(separator: "/")
    try FileManager.default.createDirectory(atPath: folder.path("bundle/\(deep)"), withIntermediateDirectories: true)
    #expect(errorOfOpening(bundle) == nil)
    folder.write("bundle/\(deep)/beside", [1])
    #expect(errorOfOpening(bundle) == "MissingFileError")
}

/// What may not lie in a folder, each by the error that the document names.
@Test(arguments: [
    ("beside", "MissingFileError"), ("empty/beside", "MissingFileError"),
    ("golden/.manifest.json.abcd_123", "MissingFileError"),
])
func filesThatAreNotListed(_ name: String, _ error: String) throws {
    let folder = try unpackedBundle()
    folder.write("bundle/\(name)", [1])
    #expect(errorOfOpening(folder.path("bundle")) == error)
}

@Test(arguments: ["stage0.bin", "golden", "labels.json"])
func linksInAFolder(_ name: String) throws {
    let folder = try unpackedBundle()
    let files = FileManager.default
    try files.moveItem(atPath: folder.path("bundle/\(name)"), toPath: folder.path("elsewhere"))
    try files.createSymbolicLink(atPath: folder.path("bundle/\(name)"), withDestinationPath: folder.path("elsewhere"))
    #expect(errorOfOpening(folder.path("bundle")) == "UnsafePathError")
}

@Test func otherTrouble() throws {
    let folder = try unpackedBundle()
    let files = FileManager.default
    #expect(errorOfOpening(folder.path("nothing")) == "MissingFileError")
    #expect(errorOfOpening("/dev/null") == "ArchiveError")
    try files.createSymbolicLink(atPath: folder.path("bundle/linked"), withDestinationPath: "/etc")
    #expect(errorOfOpening(folder.path("bundle")) == "MissingFileError")
    try files.removeItem(atPath: folder.path("bundle/linked"))
    try files.removeItem(atPath: folder.path("bundle/stage1.bin"))
    #expect(errorOfOpening(folder.path("bundle")) == "MissingFileError")
    try files.createDirectory(atPath: folder.path("bundle/stage1.bin"), withIntermediateDirectories: true)
    #expect(errorOfOpening(folder.path("bundle")) == "MissingFileError")
    try files.moveItem(atPath: folder.path("bundle/manifest.json"), toPath: folder.path("manifest.json"))
    try files.createSymbolicLink(
        atPath: folder.path("bundle/manifest.json"), withDestinationPath: folder.path("manifest.json"))
    #expect(errorOfOpening(folder.path("bundle")) == "ManifestError")
}

/// What runs is what was verified: a file that changes after opening is not read.
@Test func aFileThatChangesLater() throws {
    let folder = try unpackedBundle()
    let bundle = try CascadeBundle.open(folder.path("bundle"))
    let before = try bundle.read("stage0.bin")
    folder.write("bundle/stage0.bin", before.map { $0 ^ 1 })
    #expect(kind { _ = try bundle.read("stage0.bin") } == .changedFile)
    folder.write("bundle/stage0.bin", before + [0])
    #expect(kind { _ = try bundle.artifact(0) } == .changedFile)
    let zip = folder.path("x.zip")
    try FileManager.default.copyItem(
        at: golden.appendingPathComponent("bundles/good-stored.zip"), to: URL(fileURLWithPath: zip))
    let packed = try CascadeBundle.open(zip)
    folder.write("x.zip", goldenBytes("bundles/good-stored.zip").dropLast(400))
    #expect(kind { _ = try packed.labels() } == .changedFile)
}
