// JSON as structs: one reader for every file of a bundle. Types are checked here field by field, rules across fields in a
// struct's `init(_ fields:)`.

/// What a JSON value can be read as. `place` is where it stands, for messages.
protocol FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> Self
}

/// A struct of named fields, and no others.
protocol FromFields: FromJSON {
    init(_ fields: Fields) throws(DvtEdgeError)
}

extension FromFields {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> Self {
        let fields = try Fields(value, place)
        let read = try Self(fields)
        try fields.end()
        return read
    }
}

/// The fields of one object, each asked for by its name.
final class Fields {
    let place: String
    private let object: JSONObject
    private var known: Set<Exact> = []

    init(_ value: JSON, _ place: String) throws(DvtEdgeError) {
        guard case .object(let object) = value else { throw unlike(value, "an object", place) }
        self.object = object
        self.place = place
    }

    /// A field that must be there; null only where it is optional.
    subscript<T: FromJSON>(name: String) -> T {
        get throws(DvtEdgeError) {
            guard let value = field(name) else {
                throw DvtEdgeError(.schema, "\(place): the field '\(name)' is missing")
            }
            return try T.read(value, "\(place).\(name)")
        }
    }

    /// A field that may be left out.
    subscript<T: FromJSON>(name: String, default value: T) -> T {
        get throws(DvtEdgeError) {
            guard let found = field(name) else { return value }
            return try T.read(found, "\(place).\(name)")
        }
    }

    private func field(_ name: String) -> JSON? {
        known.insert(Exact(name))
        return object[name]
    }

    /// Throws a `SchemaError` with this message unless a rule across fields holds.
    func require(_ holds: Bool, _ message: @autoclosure () -> String) throws(DvtEdgeError) {
        if !holds { throw DvtEdgeError(.schema, "\(place): \(message())") }
    }

    /// Throws a `SchemaError` where there is a field that nobody asked for.
    func end() throws(DvtEdgeError) {
        if let unknown = object.values.keys.filter({ !known.contains($0) }).min() {
            throw DvtEdgeError(.schema, "\(place): unknown field \(unknown.text.quoted)")
        }
    }
}

func unlike(_ value: JSON, _ expected: String, _ place: String) -> DvtEdgeError {
    DvtEdgeError(.schema, "\(place): found \(value.shown); expected \(expected)")
}

extension JSON {
    /// In a message.
    fileprivate var shown: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): value.quoted
        case .list(let value): "a list of \(value.count)"
        case .object: "an object"
        }
    }
}

extension JSON: FromJSON {
    static func read(_ value: JSON, _ place: String) -> JSON { value }
}

extension JSONObject: FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> JSONObject {
        guard case .object(let found) = value else { throw unlike(value, "an object", place) }
        return found
    }
}

extension String: FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> String {
        guard case .string(let found) = value else { throw unlike(value, "a string", place) }
        return found
    }
}

extension Bool: FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> Bool {
        guard case .bool(let found) = value else { throw unlike(value, "true or false", place) }
        return found
    }
}

extension Int: FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> Int {
        guard case .integer(let found) = value else { throw unlike(value, "an integer", place) }
        return found
    }
}

extension Double: FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> Double {
        switch value {
        case .integer(let found): return Double(found)
        case .number(let found): return found
        default: throw unlike(value, "a number", place)
        }
    }
}

extension Optional: FromJSON where Wrapped: FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> Wrapped? {
        value == .null ? nil : try Wrapped.read(value, place)
    }
}

extension Array: FromJSON where Element: FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> [Element] {
        guard case .list(let items) = value else { throw unlike(value, "a list", place) }
        var read: [Element] = []
        read.reserveCapacity(items.count)
        for (k, item) in items.enumerated() { read.append(try Element.read(item, "\(place)[\(k)]")) }
        return read
    }
}

/// One of a few words.
protocol OneOf: FromJSON, CaseIterable, RawRepresentable where RawValue == String {}

extension OneOf {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> Self {
        guard case .string(let word) = value, let found = allCases.first(where: { $0.rawValue.same(as: word) }) else {
            throw unlike(value, allCases.map(\.rawValue.quoted).joined(separator: " or "), place)
        }
        return found
    }
}

/// Values by names that are told apart by their bytes, in the order of these.
public struct ByName<Value: Sendable>: Sendable {
    private var values: [Exact: Value] = [:]

    init() {}

    /// Of two of one name the later counts.
    init(_ named: [(String, Value)]) {
        for (name, value) in named { values[Exact(name)] = value }
    }

    public subscript(name: String) -> Value? { values[Exact(name)] }
    public var names: [String] { values.keys.sorted().map(\.text) }
    public var all: some Collection<Value> { values.values }
    public var count: Int { values.count }
}

extension ByName: Equatable where Value: Equatable {}

extension ByName: FromJSON where Value: FromJSON {
    static func read(_ value: JSON, _ place: String) throws(DvtEdgeError) -> ByName {
        guard case .object(let object) = value else { throw unlike(value, "an object", place) }
        var read = ByName()
        for (name, item) in object.values {
            read.values[name] = try Value.read(item, "\(place).\(name.text.printable(60))")
        }
        return read
    }
}
