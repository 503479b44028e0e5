/// A JSON value. Numbers without a point or exponent are integers.
public enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case list([JSON])
    case object(JSONObject)
}

/// A JSON object. Its keys are told apart by their bytes: Swift's own dictionary takes é and e + ´ for one key.
public struct JSONObject: Sendable, Equatable {
    var values: [Exact: JSON] = [:]

    public subscript(key: String) -> JSON? { values[Exact(key)] }
    public var keys: [String] { values.keys.sorted().map(\.text) }
}

/// One strict JSON value of UTF-8: the dialect of docs/bundle.md, the same in every language.
///
/// No byte-order mark, no duplicate keys, no lone surrogates, at most 64 levels and 250,000 values, integers that float64
/// holds exactly, and other numbers finite in it. `name` is what a message calls the text. Throws a `SchemaError`.
public func parseJSON(_ bytes: [UInt8], _ name: String) throws(DvtEdgeError) -> JSON {
    do throws(NotJSON) {
        guard bytes.count <= Limit.json else { throw NotJSON("\(bytes.count) bytes; expected at most \(Limit.json)") }
        guard let text = String(utf8: bytes) else { throw NotJSON("not UTF-8") }
        var parser = Parser(bytes: Array(text.utf8))
        return try parser.document()
    } catch let error {
        throw DvtEdgeError(.schema, "\(name): not JSON (\(error.why))")
    }
}

private enum Limit {
    static let json = 16 << 20  // bytes
    static let levels = 64
    static let values = 250_000  // commas and opening brackets
    static let number = 400  // characters
    static let integer = (1 << 53) - 1
}

private struct NotJSON: Error {
    let why: String

    init(_ why: String) { self.why = why }
}

/// A parser by recursive descent; the recursion ends with the levels.
private struct Parser {
    let bytes: [UInt8]  // valid UTF-8
    var at = 0
    var level = 0
    var values = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(NotJSON) -> JSON {
        let value = try value()
        if peek() != nil { throw unexpected() }
        return value
    }

    // MARK: tokens

    /// The next byte that is no white space, which stays.
    mutating func peek() -> UInt8? {
        while at < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[at]) { at += 1 }
        return at < bytes.count ? bytes[at] : nil
    }

    mutating func take(_ mark: Character) -> Bool {
        guard peek() == mark.asciiValue else { return false }
        at += 1
        return true
    }

    mutating func expect(_ mark: Character) throws(NotJSON) {
        if !take(mark) { throw unexpected() }
    }

    func unexpected() -> NotJSON {
        NotJSON(at < bytes.count ? "an unexpected character at byte \(at)" : "it ends at byte \(at)")
    }

    // MARK: values

    mutating func value() throws(NotJSON) -> JSON {
        switch peek() {
        case UInt8(ascii: "{"): return .object(try object())
        case UInt8(ascii: "["): return .list(try list())
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    mutating func word(_ word: String, _ value: JSON) throws(NotJSON) -> JSON {
        guard bytes[at...].starts(with: word.utf8) else { throw unexpected() }
        at += word.utf8.count
        return value
    }

    mutating func object() throws(NotJSON) -> JSONObject {
        var found = JSONObject()
        try enter()
        if !take("}") {
            repeat {
                guard peek() == UInt8(ascii: "\"") else { throw unexpected() }
                let key = try string()
                try expect(":")
                if found.values.updateValue(try value(), forKey: Exact(key)) != nil {
                    throw NotJSON("the key \(key.quoted) stands twice")
                }
            } while try comma()
            try expect("}")
        }
        level -= 1
        return found
    }

    mutating func list() throws(NotJSON) -> [JSON] {
        var found: [JSON] = []
        try enter()
        if !take("]") {
            repeat { found.append(try value()) } while try comma()
            try expect("]")
        }
        level -= 1
        return found
    }

    /// Past an opening bracket.
    mutating func enter() throws(NotJSON) {
        at += 1
        level += 1
        if level > Limit.levels { throw NotJSON("more than \(Limit.levels) levels") }
        try count()
    }

    mutating func comma() throws(NotJSON) -> Bool {
        guard take(",") else { return false }
        try count()
        return true
    }

    mutating func count() throws(NotJSON) {
        values += 1
        if values > Limit.values { throw NotJSON("more than \(Limit.values) values") }
    }

    // MARK: strings

    mutating func string() throws(NotJSON) -> String {
        at += 1
        var content: [UInt8] = []
        while at < bytes.count {
            let byte = bytes[at]
            at += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: content, as: UTF8.self)
            case UInt8(ascii: "\\"): content += try escape().utf8
            case 0..<0x20: throw NotJSON("a control character in a string at byte \(at - 1)")
            default: content.append(byte)
            }
        }
        throw unexpected()
    }

    mutating func escape() throws(NotJSON) -> String {
        guard at < bytes.count else { throw unexpected() }
        at += 1
        switch bytes[at - 1] {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return String(try codePoint())
        default: throw NotJSON("an unknown escape at byte \(at - 2)")
        }
    }

    /// Of one `\u` escape, or of two that are a pair of surrogates.
    mutating func codePoint() throws(NotJSON) -> Character {
        var number = try fourDigits()
        if 0xD800..<0xDC00 ~= number, bytes[at...].starts(with: [UInt8(ascii: "\\"), UInt8(ascii: "u")]) {
            at += 2
            let low = try fourDigits()
            guard 0xDC00..<0xE000 ~= low else { throw NotJSON("a lone surrogate before byte \(at)") }
            number = 0x10000 + (number - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(number) else { throw NotJSON("a lone surrogate before byte \(at)") }
        return Character(scalar)
    }

    mutating func fourDigits() throws(NotJSON) -> UInt32 {
        var number: UInt32 = 0
        for _ in 0..<4 {
            guard at < bytes.count, let digit = Character(Unicode.Scalar(bytes[at])).hexDigitValue, bytes[at] < 0x80
            else {
                throw NotJSON("an escape of less than four digits at byte \(at)")
            }
            number = number << 4 + UInt32(digit)
            at += 1
        }
        return number
    }

    // MARK: numbers

    mutating func number() throws(NotJSON) -> JSON {
        let start = at
        var isInteger = true
        skip("-")
        if !skip("0") { try digits() }
        if skip(".") {
            isInteger = false
            try digits()
        }
        if skip("e") || skip("E") {
            isInteger = false
            if !skip("-") { skip("+") }
            try digits()
        }
        let token = String(decoding: bytes[start..<at], as: UTF8.self)
        if isInteger {
            guard let value = Int(token), -Limit.integer...Limit.integer ~= value else {
                throw NotJSON("the integer \(token.quoted) is beyond 2^53 - 1")
            }
            return .integer(value)
        }
        guard token.utf8.count <= Limit.number, let value = Double(token), value.isFinite else {
            throw NotJSON("the number \(token.quoted) is not finite in float64, or too long")
        }
        return .number(value)
    }

    @discardableResult
    mutating func skip(_ mark: Character) -> Bool {
        guard at < bytes.count, bytes[at] == mark.asciiValue else { return false }
        at += 1
        return true
    }

    mutating func digits() throws(NotJSON) {
        let start = at
        while at < bytes.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= bytes[at] { at += 1 }
        if at == start { throw unexpected() }
    }
}
