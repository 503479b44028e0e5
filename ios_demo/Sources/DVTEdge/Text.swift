import Foundation

/// A string that is equal to another only where every byte is: Swift's own `==` takes é and e + ´ for the same.
struct Exact: Hashable, Sendable, Comparable, CustomStringConvertible {
    let text: String

    init(_ text: String) { self.text = text }

    static func == (a: Exact, b: Exact) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }
    static func < (a: Exact, b: Exact) -> Bool { a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }

    func hash(into hasher: inout Hasher) {
        for byte in text.utf8 { hasher.combine(byte) }
    }

    var description: String { text }
}

extension String {
    /// Whether every byte is the same.
    func same(as other: String) -> Bool { Exact(self) == Exact(other) }

    /// The text of UTF-8; nil where a sequence is not valid.
    init?(utf8 bytes: some Collection<UInt8>) {
        self.init(decoding: bytes, as: UTF8.self)
        if !utf8.elementsEqual(bytes) { return nil }  // what was repaired has other bytes
    }

    /// On one line: what has no form of its own is written as its number, and the end is cut off after `count` characters.
    func printable(_ count: Int) -> String {
        var line = unicodeScalars.prefix(count).reduce(into: "") { line, scalar in
            if scalar.isPrintable {
                line.unicodeScalars.append(scalar)
            } else {
                line += "\\u{\(String(scalar.value, radix: 16))}"
            }
        }
        if unicodeScalars.count > count { line += "..." }
        return line
    }

    /// Between quotes, in a message.
    var quoted: String { "'\(printable(60))'" }
}

extension Unicode.Scalar {
    var isPrintable: Bool {
        switch properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        case .spaceSeparator: self == " "
        default: true
        }
    }
}
