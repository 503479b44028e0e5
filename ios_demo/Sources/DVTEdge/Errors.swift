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

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var name: String { kind.rawValue }
    public var description: String { "\(name): \(message)" }
    public var errorDescription: String? { message }
}

/// An error that is not ours in one line, short enough to stand inside ours.
func cause(_ error: any Error) -> String {
    if let own = error as? DvtEdgeError { return own.message }
    return String("\(error)".split(whereSeparator: \.isWhitespace).joined(separator: " ").prefix(160))
}
