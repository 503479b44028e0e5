import Foundation

// The device log: what an app writes while it runs a bundle, one JSON object a line. Normative: docs/device-log.md.

let logVersion = 2
private let maxLine = 1 << 20  // bytes
private let maxClasses = 1 << 17  // a line holds no more of them

public enum PowerSource: String, Sendable {
    case battery, charger, unknown
}

/// The first line of a log.
public struct LogHeader: Sendable {
    public var bundleSha256: String
    public var artifactSha256: String
    public var target: String
    public var stages: Int
    public var classes: Int
    public var app: String
    public var engine: String
    public var device: String
    public var os: String
    public var backends: [String]  // what really ran each stage
    public var threads: Int
    public var powerSource: PowerSource
    public var unitsChecked: [String]
    public var everyStage: Bool
    public var data: String?
    public var pixels: String?  // name of the pixels file beside the log

    public init(
        bundleSha256: String, artifactSha256: String, target: String, stages: Int, classes: Int, app: String,
        engine: String, device: String, os: String, backends: [String], threads: Int,
        powerSource: PowerSource = .unknown,
        unitsChecked: [String] = [], everyStage: Bool = false, data: String? = nil, pixels: String? = nil
    ) {
        self.bundleSha256 = bundleSha256
        self.artifactSha256 = artifactSha256
        self.target = target
        self.stages = stages
        self.classes = classes
        self.app = app
        self.engine = engine
        self.device = device
        self.os = os
        self.backends = backends
        self.threads = threads
        self.powerSource = powerSource
        self.unitsChecked = unitsChecked
        self.everyStage = everyStage
        self.data = data
        self.pixels = pixels
    }
}

/// One answered image. `logits` or `top5` have one array an exit that ran; both are empty where not logged.
public struct ImageRecord: Sendable {
    public var timeS: Double
    public var id: String
    public var pixelsSha256: String
    public var exit: Int
    public var label: Int
    public var labelName: String
    public var confidence: [Double]  // NaN where it was not finite
    public var stageMs: [Double]
    public var preprocessMs: Double
    public var totalMs: Double
    public var point: String
    public var degraded: Bool
    public var uncertified: Bool
    public var pixels: Int?  // which image of the pixels file these are
    public var logits: [[Float]]
    public var top5Labels: [[Int]]
    public var top5: [[Float]]
    public var why: String?
    public var maxStage: Int?

    public init(
        timeS: Double, id: String, pixelsSha256: String, exit: Int, label: Int, labelName: String, confidence: [Double],
        stageMs: [Double], preprocessMs: Double, totalMs: Double, point: String, degraded: Bool, uncertified: Bool,
        pixels: Int? = nil, logits: [[Float]] = [], top5Labels: [[Int]] = [], top5: [[Float]] = [], why: String? = nil,
        maxStage: Int? = nil
    ) {
        self.timeS = timeS
        self.id = id
        self.pixelsSha256 = pixelsSha256
        self.exit = exit
        self.label = label
        self.labelName = labelName
        self.confidence = confidence
        self.stageMs = stageMs
        self.preprocessMs = preprocessMs
        self.totalMs = totalMs
        self.point = point
        self.degraded = degraded
        self.uncertified = uncertified
        self.pixels = pixels
        self.logits = logits
        self.top5Labels = top5Labels
        self.top5 = top5
        self.why = why
        self.maxStage = maxStage
    }
}

/// A sample of the device; `idle` where no image was in work since the record before. nil is what the system does not tell.
public struct StateRecord: Sendable {
    public var timeS: Double
    public var idle: Bool
    public var screenOn: Bool
    public var charging: Bool
    public var awakeS: Double?
    public var batteryLevel: Double?
    public var chargeUah: Int?
    public var currentUa: Int?
    public var voltageMv: Int?
    public var temperatureC: Double?
    public var thermal: Thermal?
    public var headroom: Double?
    public var lowPower: Bool?

    public init(
        timeS: Double, idle: Bool, screenOn: Bool, charging: Bool, awakeS: Double? = nil, batteryLevel: Double? = nil,
        chargeUah: Int? = nil, currentUa: Int? = nil, voltageMv: Int? = nil, temperatureC: Double? = nil,
        thermal: Thermal? = nil, headroom: Double? = nil, lowPower: Bool? = nil
    ) {
        self.timeS = timeS
        self.idle = idle
        self.screenOn = screenOn
        self.charging = charging
        self.awakeS = awakeS
        self.batteryLevel = batteryLevel
        self.chargeUah = chargeUah
        self.currentUa = currentUa
        self.voltageMv = voltageMv
        self.temperatureC = temperatureC
        self.thermal = thermal
        self.headroom = headroom
        self.lowPower = lowPower
    }
}

/// An image that was not answered.
public struct ErrorRecord: Sendable {
    public var timeS: Double
    public var kind: String
    public var message: String  // one line, without names of files
    public var id: String?

    public init(timeS: Double, kind: String, message: String, id: String? = nil) {
        self.timeS = timeS
        self.kind = kind
        self.message = message
        self.id = id
    }
}

public enum Record: Sendable {
    case image(ImageRecord)
    case state(StateRecord)
    case error(ErrorRecord)
}

// MARK: values

/// A line of JSON in the making: fields in the order in which they are put, those without a value left out.
private struct Line {
    private var fields: [String] = []

    mutating func put(_ name: String, _ value: String?) {
        if let value { fields.append("\"\(name)\":\(value)") }
    }

    /// Throws a `LogError` where it is too long.
    func encoded() throws(DvtEdgeError) -> [UInt8] {
        let bytes = Array("{\(fields.joined(separator: ","))}\n".utf8)
        if bytes.count > maxLine {
            throw DvtEdgeError(.log, "a line of \(bytes.count) bytes; expected at most \(maxLine)")
        }
        return bytes
    }
}

private func text(_ value: String) -> String {
    let escaped = value.unicodeScalars.reduce(into: "") { out, scalar in
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case "\u{8}": out += "\\b"
        case "\u{c}": out += "\\f"
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case "\0"..<" ": out += String(format: "\\u%04x", scalar.value)
        default: out.unicodeScalars.append(scalar)
        }
    }
    return "\"\(escaped)\""
}

/// The exact value of the float64 rounded to so many decimals, halves to even, never -0.
private func decimals(_ value: Double, _ places: Int) throws(DvtEdgeError) -> String {
    guard value.isFinite else { throw DvtEdgeError(.log, "\(value) has no place in JSON") }
    let rounded = String(format: "%.\(places)f", value)
    let isZero = rounded.utf8.allSatisfy { [UInt8(ascii: "-"), UInt8(ascii: "0"), UInt8(ascii: ".")].contains($0) }
    return isZero && rounded.hasPrefix("-") ? String(rounded.dropFirst()) : rounded
}

private func decimals(known value: Double?, _ places: Int) throws(DvtEdgeError) -> String? {
    guard let value else { return nil }
    return try decimals(value, places)
}

private func list<T>(_ values: [T], _ write: (T) throws(DvtEdgeError) -> String) throws(DvtEdgeError) -> String {
    var parts: [String] = []
    for value in values { parts.append(try write(value)) }
    return "[\(parts.joined(separator: ","))]"
}

/// nil of an empty list, which is left out.
private func listed<T>(_ values: [T], _ write: (T) throws(DvtEdgeError) -> String) throws(DvtEdgeError) -> String? {
    values.isEmpty ? nil : try list(values, write)
}

/// Base64 of little-endian float32; one NaN of the many.
private func f32(_ values: [Float]) -> String {
    let words = values.map { ($0.isNaN ? 0x7FC0_0000 : $0.bitPattern).littleEndian }
    return "\"\(words.withUnsafeBytes { Data($0) }.base64EncodedString())\""
}

// MARK: lines

/// A header as the bytes of its line. Throws a `LogError`.
public func encode(_ header: LogHeader) throws(DvtEdgeError) -> [UInt8] {
    var line = Line()
    line.put("log", "\(logVersion)")
    line.put("bundle_sha256", text(header.bundleSha256))
    line.put("artifact_sha256", text(header.artifactSha256))
    line.put("target", text(header.target))
    line.put("stages", "\(header.stages)")
    line.put("classes", "\(header.classes)")
    line.put("app", text(header.app))
    line.put("engine", text(header.engine))
    line.put("device", text(header.device))
    line.put("os", text(header.os))
    line.put("backends", try list(header.backends, text))
    line.put("threads", "\(header.threads)")
    line.put("power_source", text(header.powerSource.rawValue))
    line.put("units_checked", try list(header.unitsChecked, text))
    line.put("every_stage", "\(header.everyStage)")
    line.put("data", header.data.map(text))
    line.put("pixels", header.pixels.map(text))
    return try line.encoded()
}

/// The record number `seq` as the bytes of its line. Throws a `LogError` where a number is not finite.
public func encode(_ record: Record, seq: Int) throws(DvtEdgeError) -> [UInt8] {
    switch record {
    case .image(let image): try encode(image, seq)
    case .state(let state): try encode(state, seq)
    case .error(let error): try encode(error, seq)
    }
}

private func started(_ event: String, _ seq: Int, _ timeS: Double) throws(DvtEdgeError) -> Line {
    var line = Line()
    line.put("event", text(event))
    line.put("seq", "\(seq)")
    line.put("time_s", try decimals(timeS, 6))
    return line
}

private func encode(_ image: ImageRecord, _ seq: Int) throws(DvtEdgeError) -> [UInt8] {
    let milliseconds = { (ms: Double) throws(DvtEdgeError) in try decimals(ms, 3) }
    var line = try started("image", seq, image.timeS)
    line.put("id", text(image.id))
    line.put("pixels_sha256", text(image.pixelsSha256))
    line.put("pixels", image.pixels.map { "\($0)" })
    line.put("exit", "\(image.exit)")
    line.put("label", "\(image.label)")
    line.put("label_name", text(image.labelName))
    line.put(
        "confidence",
        try list(image.confidence) { (value) throws(DvtEdgeError) in
            value.isNaN ? "null" : try decimals(value, 9)
        })
    line.put("logits", try listed(image.logits, f32))
    line.put(
        "top5_labels", try listed(image.top5Labels) { (labels) throws(DvtEdgeError) in try list(labels) { "\($0)" } })
    line.put("top5", try listed(image.top5, f32))
    line.put("stage_ms", try list(image.stageMs, milliseconds))
    line.put("preprocess_ms", try milliseconds(image.preprocessMs))
    line.put("total_ms", try milliseconds(image.totalMs))
    line.put("point", text(image.point))
    line.put("why", image.why.map(text))
    line.put("max_stage", image.maxStage.map { "\($0)" })
    line.put("degraded", "\(image.degraded)")
    line.put("uncertified", "\(image.uncertified)")
    return try line.encoded()
}

private func encode(_ state: StateRecord, _ seq: Int) throws(DvtEdgeError) -> [UInt8] {
    var line = try started(state.idle ? "idle" : "state", seq, state.timeS)
    line.put("screen_on", "\(state.screenOn)")
    line.put("charging", "\(state.charging)")
    line.put("awake_s", try decimals(known: state.awakeS, 6))
    line.put("battery_level", try decimals(known: state.batteryLevel, 4))
    line.put("charge_uah", state.chargeUah.map { "\($0)" })
    line.put("current_ua", state.currentUa.map { "\($0)" })
    line.put("voltage_mv", state.voltageMv.map { "\($0)" })
    line.put("temperature_c", try decimals(known: state.temperatureC, 2))
    line.put("thermal", state.thermal.map { text($0.rawValue) })
    line.put("headroom", try decimals(known: state.headroom, 3))
    line.put("low_power", state.lowPower.map { "\($0)" })
    return try line.encoded()
}

private func encode(_ error: ErrorRecord, _ seq: Int) throws(DvtEdgeError) -> [UInt8] {
    var line = try started("error", seq, error.timeS)
    line.put("id", error.id.map(text))
    line.put("kind", text(error.kind))
    line.put("message", text(error.message))
    return try line.encoded()
}

// MARK: writing

/// Writes a log, each line at once; `write` numbers the records.
///
/// With `header.pixels` a file of that name beside it takes what `writePixels` is given. Both are new files. After a write that
/// failed nothing is written any more: a line or an image may be torn, and what follows one cannot be read.
public actor LogWriter {
    private let file: LogFile
    private let pixels: LogFile?
    private var seq = 0
    private var images = 0
    private var failure: DvtEdgeError?

    /// Throws a `LogError` for a header that no reader takes, and where a file is there already or cannot be made: then
    /// neither is left.
    public init(_ path: String, _ header: LogHeader) throws(DvtEdgeError) {
        try check(header)
        let line = try encode(header)
        var begun = [try LogFile(path)]
        do throws(DvtEdgeError) {
            if let name = header.pixels {
                let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
                begun.append(try LogFile(folder.appendingPathComponent(name).path))
            }
            try begun[0].append(line)
        } catch {
            for each in begun { each.discard() }
            throw error
        }
        (file, pixels) = (begun[0], begun.dropFirst().first)
    }

    /// Into files that are open, behind a header.
    init(_ file: LogFile, pixels: LogFile? = nil) { (self.file, self.pixels) = (file, pixels) }

    /// `record` as the next one. Throws a `LogError`; a record that has no form is not written, and has no number.
    public func write(_ record: Record) throws(DvtEdgeError) {
        try append(try encode(record, seq: seq), to: file)
        seq += 1
    }

    /// Append an image's (size, size, 3) pixels; its number for the record, nil where the log keeps none.
    public func writePixels(_ content: [UInt8]) throws(DvtEdgeError) -> Int? {
        guard let pixels else { return nil }
        try append(content, to: pixels)
        images += 1
        return images - 1
    }

    private func append(_ bytes: [UInt8], to file: LogFile) throws(DvtEdgeError) {
        if let failure { throw failure }
        do throws(DvtEdgeError) {
            try file.append(bytes)
        } catch {
            failure = error
            throw error
        }
    }
}

/// What a reader takes. Throws a `LogError`.
private func check(_ header: LogHeader) throws(DvtEdgeError) {
    guard 1...Manifest.maxStages ~= header.stages, header.backends.count == header.stages,
        1...maxClasses ~= header.classes
    else {
        throw DvtEdgeError(
            .log, "\(header.stages) stages, \(header.backends.count) backends, \(header.classes) classes of a log")
    }
    for (name, hash) in [("bundle_sha256", header.bundleSha256), ("artifact_sha256", header.artifactSha256)]
    where !isSHA256(hash) {
        throw DvtEdgeError(.log, "\(name) \(hash.quoted); expected a hash")
    }
    if let name = header.pixels,
        ["", ".", ".."].contains(name) || name.utf8.contains(where: Array("/\\\0".utf8).contains)
    {
        throw DvtEdgeError(.log, "pixels \(name.quoted); expected a file's name, without folders")
    }
}

/// A file that was not there before, closed when nobody holds it any more.
final class LogFile: Sendable {
    private let path: String?
    private let descriptor: Int32

    /// What is open for writing.
    init(descriptor: Int32) { (path, self.descriptor) = (nil, descriptor) }

    init(_ path: String) throws(DvtEdgeError) {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        if descriptor < 0 { throw failed() }
    }

    deinit { close(descriptor) }

    func discard() { if let path { unlink(path) } }

    func append(_ bytes: [UInt8]) throws(DvtEdgeError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if written < 0 && errno != EINTR { throw failed() }
            rest = rest.dropFirst(max(0, written))
        }
    }
}

private func failed() -> DvtEdgeError {
    DvtEdgeError(.log, "the log cannot be written (\(String(cString: strerror(errno))))")
}
