import Foundation
import Testing

@testable import DVTEdge

// The golden vectors of the repository, which every language runs: found from this file, never copied.

let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()
let golden = repository.appendingPathComponent("tests/golden")

func goldenBytes(_ path: String) -> [UInt8] {
    [UInt8](try! Data(contentsOf: golden.appendingPathComponent(path)))
}

func goldenJSON(_ path: String) -> JSON { try! parseJSON(goldenBytes(path), path) }

/// The cases of a golden file.
func goldenCases(_ path: String) -> [JSON] { goldenJSON(path)["cases"].list }

extension JSON: CustomTestStringConvertible {
    /// A field; null where there is none.
    subscript(key: String) -> JSON {
        guard case .object(let object) = self else { return .null }
        return object[key] ?? .null
    }

    var list: [JSON] {
        guard case .list(let items) = self else { return [] }
        return items
    }

    var entries: [(String, JSON)] {
        guard case .object(let object) = self else { return [] }
        return object.keys.map { ($0, object[$0]!) }
    }

    var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    var int: Int? {
        guard case .integer(let value) = self else { return nil }
        return value
    }

    var bool: Bool? {
        guard case .bool(let value) = self else { return nil }
        return value
    }

    /// What JSON has no number for stands as a string.
    var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        case .string(let text): Double(text.lowercased().replacingOccurrences(of: "infinity", with: "inf"))
        default: nil
        }
    }

    var doubles: [Double] { list.map { $0.double! } }
    var floats: [Float] { list.map { Float($0.double!) } }

    public var testDescription: String { self["name"].text ?? self["file"].text ?? "\(self)" }
}

/// The bytes of a case as `text`, `hex`, or `pieces`: [text, times], joined.
func content(of json: JSON) -> [UInt8] {
    if let text = json["text"].text { return Array(text.utf8) }
    if let hex = json["hex"].text { return bytes(hex: hex) }
    return json["pieces"].list.flatMap { piece in
        [[UInt8]](repeating: Array(piece.list[0].text!.utf8), count: piece.list[1].int!).joined()
    }
}

func bytes(hex: String) -> [UInt8] {
    let digits = Array(hex.utf8)
    return stride(from: 0, to: digits.count, by: 2).map {
        UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)!
    }
}

/// A folder of a test's own, removed when the test lets go of it.
final class TemporaryFolder: Sendable {
    let url: URL

    init() {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("dvt-edge-\(UUID().uuidString)")
        try! FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func write(_ name: String, _ content: some Sequence<UInt8>) {
        let file = url.appendingPathComponent(name)
        try! FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try! Data(content).write(to: file)
    }

    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
}

/// What kind of error is thrown; nil for none, and for one that is not ours.
func kind(_ body: () throws -> Void) -> DvtEdgeError.Kind? {
    do {
        try body()
        return nil
    } catch {
        return (error as? DvtEdgeError)?.kind
    }
}

/// The name of the error that opening says, nil where it opens; a message is one printable line that names the path.
func errorOfOpening(_ path: String) -> String? {
    do {
        _ = try CascadeBundle.open(path)
        return nil
    } catch let error {
        let readable = error.message.contains(path) && error.message.unicodeScalars.allSatisfy(\.isPrintable)
        return readable && error.message.count < 1000 ? error.name : "unreadable: \(error.message)"
    }
}
