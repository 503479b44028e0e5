import Foundation

/// A temporary folder with an artifact's files, removed when nobody holds it any more.
///
/// A process that is ended removes nothing, and so iOS ends apps: the first folder of a process removes what such ones left.
package final class PrivateFolder: Sendable {
    private static let shared = FileManager.default.temporaryDirectory.appendingPathComponent("dvt-edge-stages")
    private static let cleared: Void = clear(shared)
    private let root: URL

    /// Its name begins with the process's number.
    package init(_ artifact: Artifact) throws {
        _ = Self.cleared
        let process = ProcessInfo.processInfo.processIdentifier
        root = Self.shared.appendingPathComponent("\(process)-\(UUID().uuidString)")
        for file in artifact.files {
            let place = url(file.path)
            try FileManager.default.createDirectory(
                at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(file.content).write(to: place)
        }
    }

    deinit { try? FileManager.default.removeItem(at: root) }

    package func url(_ name: String) -> URL { root.appendingPathComponent(name) }

    /// What was made elsewhere of the artifact `name`, moved into this folder in the artifact's place.
    package func replace(_ name: String, by made: URL) throws -> URL {
        let place = url(made.lastPathComponent)
        try FileManager.default.removeItem(at: url(name))
        try FileManager.default.moveItem(at: made, to: place)
        return place
    }

    /// Removes the folders in `folder` whose processes are no more. There may be none.
    static func clear(_ folder: URL) {
        let found = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
        for left in found {
            guard let process = pid_t(left.lastPathComponent.prefix { $0 != "-" }), kill(process, 0) != 0,
                errno == ESRCH
            else { continue }
            try? FileManager.default.removeItem(at: left)
        }
    }
}
