import Testing

@testable import DVTEdge

/// What the manifest alone says, before any file is looked at.
@Test(arguments: goldenCases("manifests/index.json"))
func manifests(_ json: JSON) throws {
    let bytes = goldenBytes("manifests/\(json["file"].text!)")
    let folder = TemporaryFolder()
    folder.write("manifest.json", bytes)
    #expect(errorOfOpening(folder.url.path) == json["error"].text)
    if json["uncertified"] != .null || json["artifacts_sha256"] != .null {
        let manifest = try parseManifest(bytes)
        for (point, reason) in json["uncertified"].entries {
            #expect(try manifest.uncertified(point) == reason.text)
            let held = manifest.provedPoints.first { $0.name == point }!.certificate
            #expect((held == nil) == (reason != .null))
        }
        if let expected = json["artifacts_sha256"].text { #expect(manifest.artifactsSha256 == expected) }
    }
}

@Test func hashOfTheArtifacts() {
    let json = goldenJSON("artifacts_sha256.json")
    let files = ByName(json["files"].entries.map { ($0, FileSpec(sha256: $1.text!, size: 0)) })
    #expect(hashOfArtifacts(json["artifacts"].list.map { [$0.text!] }, files) == json["artifacts_sha256"].text)
    #expect(sha256(json["hashed"].list.flatMap { Array($0.text!.utf8) }) == json["artifacts_sha256"].text)
}

@Test func paths() {
    let json = goldenJSON("manifests/paths.json")
    for path in json["plain"].list { #expect(throws: Never.self) { try checkPath(path.text!) } }
    for path in json["not_plain"].list {
        #expect(kind { try checkPath(path.text!) } == .unsafePath, "\(path)")
    }
    for together in json["together"].list {
        let paths = together["paths"].list.map { $0.text! }
        for paths in [paths, paths.reversed()] {
            #expect(kind { try checkPaths(paths) } == (together["accepted"].bool! ? nil : .unsafePath), "\(paths)")
        }
    }
}
