import Foundation

/// Every error that is thrown on purpose: its kind, and one line for its reader of what was found and what was expected.
public struct DvtEdgeError: Error, Sendable, Equatable, LocalizedError, CustomStringConvertible {
    /// The raw values are the names in the golden files and in a device log.
    public enum Kind: String, Sendable, CaseIterable {
        /// Pixels or frames of another form than is expected.
        case data = "DataError"
        /// A JSON text that is not of the strict dialect, or a field that is missing, unknown or of the wrong kind.
        case schema = "SchemaError"
        /// An inference engine that is absent, or did not run where the bundle says it runs.
        case engine = "EngineError"
        /// No exit of a cascade gave finite logits.
        case notFinite = "NotFiniteError"
        /// A bundle that must not be run, for another reason than those below.
        case bundle = "BundleError"
        /// A manifest that is missing, is not JSON, or breaks the schema.
        case manifest = "ManifestError"
        /// A manifest of a later format than this package knows.
        case newerFormat = "NewerFormatError"
        /// A manifest of format 1, which phones do not read.
        case oldFormat = "OldFormatError"
        /// A file that the manifest lists and the bundle lacks, or one that it does not list.
        case missingFile = "MissingFileError"
        /// A file whose size or SHA-256 is not the manifest's.
        case changedFile = "ChangedFileError"
        /// A path that leaves the bundle's folder, is absolute, or is a link.
        case unsafePath = "UnsafePathError"
        /// A .zip that is damaged, encrypted or would unpack to more than it may.
        case archive = "ArchiveError"
        /// A device log that cannot be written.
        case log = "LogError"
    }

    public let kind: Kind
    public let message: String
    private let own: String  // the message without another error's words
    private let other: String?  // that error's domain and code

    public init(_ kind: Kind, _ message: String) {
        (self.kind, self.message, own, other) = (kind, message, message, nil)
    }

    /// With the words of an engine's error, or of another that is not ours, behind the message.
    public init(_ kind: Kind, _ message: String, because error: any Error) {
        self.kind = kind
        self.message = "\(message) (\(cause(error)))"
        (own, other) = (message, domainAndCode(error))
    }

    /// The message as a device log may have it: no names of files, and of another error its domain and code alone.
    var logged: String { withoutFiles(own) + (other.map { " (\($0))" } ?? "") }

    public var name: String { kind.rawValue }
    public var description: String { "\(name): \(message)" }
    public var errorDescription: String? { message }
}

/// An error that is not ours in one line, short enough to stand inside ours.
func cause(_ error: any Error) -> String {
    if let own = error as? DvtEdgeError { return own.message }
    return String("\(error)".split(whereSeparator: \.isWhitespace).joined(separator: " ").prefix(160))
}

/// An error that is not ours without its words, which may name files.
func domainAndCode(_ error: any Error) -> String {
    let error = error as NSError
    return "\(error.domain) \(error.code)"
}

/// A message in one line with "..." for each path and file's name, in letters of every language. A path goes from a word
/// with a "/" in it to the next colon, since names have blanks.
func withoutFiles(_ message: String) -> String {
    let patterns = [
        (#/\s+/#, " "),
        (#/'[^']*[\/.][^']*'/#, "'...'"),
        (#/\S*\/.*?(?=: |$)/#, "..."),
        (#/[\p{L}\p{M}\p{N}_\-]+(?:\.[\p{L}\p{M}\p{N}_\-]+)*\.\p{L}[\p{L}\p{M}\p{N}_]*/#, "..."),
    ]
    return patterns.reduce(message) { line, pattern in
        line.replacing(pattern.0.matchingSemantics(.unicodeScalar), with: pattern.1)
    }
}
