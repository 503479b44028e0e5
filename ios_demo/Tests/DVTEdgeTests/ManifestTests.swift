import Foundation
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
    #expect(hashOfArtifacts(json["artifacts"].list.map { ($0.text!, []) }, files) == json["artifacts_sha256"].text)
    #expect(sha256(json["hashed"].list.flatMap { Array($0.text!.utf8) }) == json["artifacts_sha256"].text)
}

/// A manifest of so many files, which all its stages have as compiled files; the artifact is a folder.
private func manifest(stages: Int, files: Int) -> [UInt8] {
    let tensors = { (role: String, dtype: String, shape: String) in
        #"[{"name": "\#(role)", "dtype": "\#(dtype)", "shape": \#(shape), "role": "\#(role)"}]"#
    }
    let hash = String(repeating: "0", count: 64)
    let compiled = (0..<files / stages).map { #"{"soc": "\#($0)", "backend": "x", "file": "compiled/\#($0)"}"# }
    let stage = """
        {"name": "s", "artifact": "artifact", "grid": 1, "macs": 1, "parameters": 1,
         "inputs": \(tensors("image", "uint8", "[1, 4, 4, 3]")), "outputs": \(tensors("logits", "float32", "[1, 2]")),
         "operators": {"delegated": 0, "undelegated": 0}, "compiled": [\(compiled.joined(separator: ", "))]}
        """
    let listed = (0..<files).map { #""compiled/\#($0)": {"sha256": "\#(hash)", "size": 0}"# }
    let each = { (value: String) in [String](repeating: value, count: stages).joined(separator: ", ") }
    return Array(
        """
        {"format": 2, "name": "x", "target": "x", "engine": "onnxruntime", "backend": "x",
         "model": {"name": "x", "config": {}, "checkpoint_sha256": null, "classes": 2},
         "preprocessing": {"size": 4, "resize": 4, "layout": "NHWC"}, "stages": [\(each(stage))],
         "confidence": {"measure": "margin", "temperature": [\(each("1"))]},
         "operating_points": [{"name": "x", "thresholds": [\(each("0"))], "exit_shares": [\(each("0"))],
          "mean_macs": 1, "agreement": 1, "top1": null, "images": 1, "data": "x"}],
         "default_operating_point": "x", "labels": "labels.json", "tools": {},
         "verification": {"verified": false, "reason": "", "images": 0, "data": "", "machine": ""},
         "golden": {"images": 0, "image": [], "logits": [], "source": "artifact", "tolerance": 0},
         "files": {\(listed.joined(separator: ", "))}}
        """.utf8)
}

/// The least processor time of this thread in a few tries, in nanoseconds.
private func processorTime(_ work: () -> Void) -> Double {
    let now = { () -> Double in
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
    }
    let times = (0..<3).map { _ -> Double in
        let began = now()
        work()
        return now() - began
    }
    return times.min()!
}

/// Eight times the bytes take about eight times as long, not 64 times, within the limits and beyond them.
@Test(arguments: [(1, 1200, ""), (250, 2000, " stages; expected 1 to 64")])
func manifestsOfManyFiles(_ stages: Int, _ files: Int, _ refused: String) {
    let times = [1, 8].map { (scale: Int) -> Double in
        let bytes = manifest(stages: stages > 1 ? stages * scale : 1, files: files * scale)
        return processorTime {
            do throws(DvtEdgeError) {
                let found = try parseManifest(bytes)
                #expect(refused.isEmpty && found.files.count == files * scale)
            } catch {
                #expect(!refused.isEmpty && error.message.hasSuffix(refused))
            }
        }
    }
    #expect(times[1] < 24 * times[0], "\(times) ns")
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
