import Foundation
import Testing

@testable import DVTEdge

private let artifact = Artifact(
    name: "a.mlpackage", files: [("a.mlpackage/Data/model", [1, 2]), ("a.mlpackage/x", [3])])

/// What is made of an artifact takes its place, and goes with the folder.
@Test func privateFolders() throws {
    let made = TemporaryFolder(), files = FileManager.default
    made.write("a.mlmodelc/model", [4])
    var folder: PrivateFolder? = try PrivateFolder(artifact)
    let package = try #require(folder).url(artifact.name)
    #expect([UInt8](try Data(contentsOf: package.appendingPathComponent("Data/model"))) == [1, 2])
    let place = try #require(folder).replace(artifact.name, by: made.url.appendingPathComponent("a.mlmodelc"))
    #expect([UInt8](try Data(contentsOf: place.appendingPathComponent("model"))) == [4])
    #expect(!files.fileExists(atPath: package.path) && files.fileExists(atPath: place.path))
    folder = nil
    #expect(!files.fileExists(atPath: place.deletingLastPathComponent().path))
}

/// Folders of processes that were ended go; those of others, and what else is there, stay.
@Test func foldersThatAreLeft() throws {
    let folder = TemporaryFolder()
    let alive = "\(ProcessInfo.processInfo.processIdentifier)-A"
    for name in ["\(Int32.max)-B", alive, "other"] { folder.write("\(name)/x", [1]) }
    PrivateFolder.clear(folder.url)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted() == [alive, "other"].sorted())
    PrivateFolder.clear(folder.url.appendingPathComponent("nowhere"))
}
