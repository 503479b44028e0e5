import Foundation
import Testing

@testable import DVTEdge

private func header(_ json: JSON) -> LogHeader {
    LogHeader(
        bundleSha256: json["bundle_sha256"].text!, artifactSha256: json["artifact_sha256"].text!,
        target: json["target"].text!, stages: json["stages"].int!, classes: json["classes"].int!,
        app: json["app"].text!,
        engine: json["engine"].text!, device: json["device"].text!, os: json["os"].text!,
        backends: json["backends"].list.map { $0.text! }, threads: json["threads"].int!,
        powerSource: PowerSource(rawValue: json["power_source"].text!)!,
        unitsChecked: json["units_checked"].list.map { $0.text! }, everyStage: json["every_stage"].bool!,
        data: json["data"].text, pixels: json["pixels"].text)
}

private func record(_ json: JSON) -> Record {
    let timeS = json["time_s"].double!
    switch json["event"].text! {
    case "image":
        return .image(
            ImageRecord(
                timeS: timeS, id: json["id"].text!, pixelsSha256: json["pixels_sha256"].text!, exit: json["exit"].int!,
                label: json["label"].int!, labelName: json["label_name"].text!, confidence: json["confidence"].doubles,
                stageMs: json["stage_ms"].doubles, preprocessMs: json["preprocess_ms"].double!,
                totalMs: json["total_ms"].double!, point: json["point"].text!, degraded: json["degraded"].bool!,
                uncertified: json["uncertified"].bool!, pixels: json["pixels"].int,
                logits: json["logits"].list.map(\.floats),
                top5Labels: json["top5_labels"].list.map { $0.list.map { $0.int! } },
                top5: json["top5"].list.map(\.floats),
                why: json["why"].text, maxStage: json["max_stage"].int))
    case "error":
        return .error(
            ErrorRecord(timeS: timeS, kind: json["kind"].text!, message: json["message"].text!, id: json["id"].text))
    case let event:
        return .state(
            StateRecord(
                timeS: timeS, idle: event == "idle", screenOn: json["screen_on"].bool!,
                charging: json["charging"].bool!,
                awakeS: json["awake_s"].double, batteryLevel: json["battery_level"].double,
                chargeUah: json["charge_uah"].int, currentUa: json["current_ua"].int, voltageMv: json["voltage_mv"].int,
                temperatureC: json["temperature_c"].double,
                thermal: json["thermal"].text.map { Thermal(rawValue: $0)! },
                headroom: json["headroom"].double, lowPower: json["low_power"].bool))
    }
}

/// The bytes that every language makes of one log.
@Test func deviceLog() async throws {
    let json = goldenJSON("device_log.json"), folder = TemporaryFolder()
    let log = try LogWriter(folder.path("x.jsonl"), header(json["header"]))
    for each in json["records"].list { try await log.write(record(each)) }
    #expect(try await log.writePixels([1, 2, 3]) == 0)
    #expect(try await log.writePixels([4, 5, 6]) == 1)
    #expect(
        [UInt8](try Data(contentsOf: folder.url.appendingPathComponent("x.jsonl"))) == goldenBytes("device_log.jsonl"))
    let pixels = try Data(contentsOf: folder.url.appendingPathComponent(json["header"]["pixels"].text!))
    #expect([UInt8](pixels) == [1, 2, 3, 4, 5, 6])
}

/// A log is never written over, and one that nobody reads is not begun.
@Test func logsThatAreRefused() async throws {
    let folder = TemporaryFolder()
    var good = header(goldenJSON("device_log.json")["header"])
    let refused = { (header: LogHeader) in kind { _ = try LogWriter(folder.path("log"), header) } == .log }
    for name in ["", ".", "..", "a/b", "/x", "a\\b", "a\0"] {
        good.pixels = name
        #expect(refused(good))
    }
    good.pixels = nil
    for (stages, classes) in [(0, 3), (65, 3), (1, 3), (2, 0), (2, (1 << 17) + 1)] {
        var bad = good
        (bad.stages, bad.classes) = (stages, classes)
        #expect(refused(bad))
    }
    for hash in [
        "", "x", String(good.bundleSha256.dropLast()), good.bundleSha256.uppercased(), good.bundleSha256 + "0",
    ] {
        for field in [\LogHeader.bundleSha256, \LogHeader.artifactSha256] {
            var bad = good
            bad[keyPath: field] = hash
            #expect(refused(bad))
        }
    }
    #expect(!FileManager.default.fileExists(atPath: folder.path("log")))
    folder.write("pixels", [7])
    good.pixels = "pixels"
    #expect(refused(good))
    good.pixels = "log"
    #expect(refused(good))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["pixels"])
    #expect([UInt8](try Data(contentsOf: folder.url.appendingPathComponent("pixels"))) == [7])
    good.pixels = nil
    folder.write("log", [])
    #expect(refused(good))
}

/// A record that has no form is an error, and leaves neither bytes nor a number behind.
@Test func recordsThatAreRefused() async throws {
    let folder = TemporaryFolder()
    var good = header(goldenJSON("device_log.json")["header"])
    good.pixels = nil
    let log = try LogWriter(folder.path("log"), good)
    for timeS in [Double.nan, .infinity] {
        await #expect(throws: DvtEdgeError.self) {
            try await log.write(.state(StateRecord(timeS: timeS, idle: true, screenOn: true, charging: false)))
        }
    }
    await #expect(throws: DvtEdgeError.self) {
        let long = String(repeating: "x", count: 1 << 20)
        try await log.write(.error(ErrorRecord(timeS: 0, kind: "x", message: long)))
    }
    try await log.write(.error(ErrorRecord(timeS: 0, kind: "x", message: "y")))
    let lines = try String(contentsOf: folder.url.appendingPathComponent("log"), encoding: .utf8).split(separator: "\n")
    #expect(lines.count == 2 && lines[1].contains("\"seq\":0"))
}

/// Of an error that is not ours only domain and code are written: its words have the file's name.
@Test func errorsNameNoFiles() {
    do {
        _ = try Data(contentsOf: URL(fileURLWithPath: "/nowhere/my holiday.jpg"))
    } catch {
        let record = ErrorRecord(error, id: "0", timeS: 0)
        #expect(record.message.hasPrefix("NSCocoaErrorDomain ") && !record.message.contains("holiday"))
    }
}

/// Of our own the words stay, but for paths and files' names.
@Test(arguments: [
    ("not a readable picture", "not a readable picture"),
    ("an image of 3x4 in 0.5 bytes", "an image of 3x4 in 0.5 bytes"),
    ("/a/my holiday.zip: 'stage0.bin' has 3 bytes", "...: '...' has 3 bytes"),
    ("'stage0': 'x/stage0.mlpackage' cannot be loaded", "'stage0': '...' cannot be loaded"),
    ("'stage0' did not run: no file at file:///a/my holiday.jpg", "'stage0' did not run: no file at ..."),
    ("'stage0' did not run (Path=/a/my holiday.jpg, x)", "'stage0' did not run ..."),
    ("a/b: c; d/e", "...: c; ..."),
    ("stage0.onnx, été.jpg, e\u{301}te\u{301}.jpg, 照片-1.图片, at.home.tar.gz", "..., ..., ..., ..., ..."),
    ("two\r\n\tlines\u{2028}or three", "two lines or three"),
])
func messagesWithoutFiles(_ message: String, _ expected: String) {
    #expect(ErrorRecord(DvtEdgeError(.engine, message), id: nil, timeS: 0).message == expected)
}

private struct EngineFailure: CustomNSError, CustomStringConvertible {
    static let errorDomain = "com.apple.CoreML"
    let errorCode = 7
    let description = "no weights in My secret model.onnx"
}

/// What an engine says may name files, and is the user's to read; a log has its domain and code alone.
@Test func enginesAreNotQuoted() async throws {
    let stage = try fakeBundle().manifest.stages[0], artifact = Artifact(name: "my stage.onnx", files: [])
    let load: LoadStage = { _, _, _, _ in throw EngineFailure() }
    do {
        _ = try await CheckedStage(load, artifact, stage, "", 1)
        Issue.record("it was loaded")
    } catch {
        #expect("\(error)".contains("weights"))
        let record = ErrorRecord(error, id: nil, timeS: 0)
        #expect(record.kind == "EngineError")
        #expect(record.message == "'stage0': '...' cannot be loaded (com.apple.CoreML 7)")
    }
}

/// A pipe is a file that is full when nobody reads it, and then has room again.
final class FullPipe: Sendable {
    private let reader: Int32
    let writer: LogFile

    init() {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0 && ends.allSatisfy { fcntl($0, F_SETFL, O_NONBLOCK) == 0 })
        (reader, writer) = (ends[0], LogFile(descriptor: ends[1]))
    }

    deinit { close(reader) }

    /// Bytes that were written since the last call.
    func drain() -> Int {
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        var total = 0
        while case let count = read(reader, &buffer, buffer.count), count > 0 { total += count }
        return total
    }
}

/// Nothing follows a torn line or half an image, also when there is room again.
@Test(arguments: [false, true])
func nothingFollowsAWriteThatFailed(_ pixelsAreTorn: Bool) async throws {
    let (lines, pixels) = (FullPipe(), FullPipe())
    let log = LogWriter(lines.writer, pixels: pixels.writer)
    let record = { Record.error(ErrorRecord(timeS: 0, kind: "x", message: String(repeating: "y", count: $0))) }
    try await log.write(record(1))
    #expect(try await log.writePixels([1, 2, 3]) == 0)
    #expect(lines.drain() > 1 && pixels.drain() == 3)
    let most = 900_000  // more than a pipe holds
    await #expect(throws: DvtEdgeError.self) {
        if pixelsAreTorn {
            _ = try await log.writePixels([UInt8](repeating: 0, count: most))
        } else {
            try await log.write(record(most))
        }
    }
    let torn = pixelsAreTorn ? pixels.drain() : lines.drain()
    #expect(0 < torn && torn < most)
    await #expect(throws: DvtEdgeError.self) { try await log.write(record(1)) }
    await #expect(throws: DvtEdgeError.self) { _ = try await log.writePixels([4, 5, 6]) }
    #expect(lines.drain() == 0 && pixels.drain() == 0)
}
