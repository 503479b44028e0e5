import DVTEdge
import Foundation
import Observation

/// A bundle that is opened, and every stage of it warmed, with progress: a first load on a Neural Engine can take long.
@MainActor @Observable
public final class Session {
    public enum State {
        case empty
        case opening
        case warming(stage: Int, of: Int)  // from 1
        case ready(Ready)
        case failed(String)
    }

    /// Gives the engine of a manifest. Throws a `DvtEdgeError` for one that the app does not have.
    public typealias EngineOf = @Sendable (Manifest) throws -> LoadStage

    public private(set) var state = State.empty
    private let engineOf: EngineOf
    private let profile: Result<DeviceProfile, DvtEdgeError>?

    /// `profile` is the JSON of a device profile, for energy; nil where there is none.
    public init(profile: [UInt8]? = nil, engineOf: @escaping EngineOf) {
        self.engineOf = engineOf
        self.profile = profile.map { json in
            do throws(DvtEdgeError) { return .success(try DeviceProfile(json: json)) } catch { return .failure(error) }
        }
    }

    public var ready: Ready? {
        guard case .ready(let ready) = state else { return nil }
        return ready
    }

    /// Opens a bundle's folder or .zip in the place of the one before, which stays where this one fails to open.
    public func open(_ path: String) async { await open { path } }

    /// Opens a copy in `folder` of what the user picked, which an app may read for a while only. Copies of others go.
    public func open(picked: URL, copyingInto folder: URL) async {
        await open { try copied(picked, into: folder) }
        let kept = ready.map {
            URL(fileURLWithPath: $0.runtime.bundle.path).deletingLastPathComponent().lastPathComponent
        }
        let copies = try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        for copy in copies ?? [] where copy.lastPathComponent != kept { try? FileManager.default.removeItem(at: copy) }
    }

    private func open(_ path: @escaping @Sendable () throws -> String) async {
        let before = state
        state = .opening
        do {
            let (engineOf, profile) = (engineOf, profile)
            let ready = try await Task.detached {
                let bundle = try CascadeBundle.open(try path())
                return try Ready(bundle, profile: profile, load: try engineOf(bundle.manifest))
            }.value
            let count = ready.runtime.bundle.manifest.stages.count
            state = .warming(stage: 1, of: count)
            try await ready.runtime.prewarm { warm in
                Task { @MainActor in self.warmed(warm, count) }
            }
            (state, failure) = (.ready(ready), nil)
        } catch {
            if case .ready = before { state = before } else { state = .failed(words(error)) }
            failure = words(error)
        }
    }

    /// Why the last bundle did not open, where one did not.
    public private(set) var failure: String?

    private func warmed(_ stages: Int, _ count: Int) {
        if case .warming = state, stages < count { state = .warming(stage: stages + 1, of: count) }
    }
}

/// The path of a copy in a new folder of `folder`.
private func copied(_ item: URL, into folder: URL) throws -> String {
    let place = folder.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
    let copy = place.appendingPathComponent(item.lastPathComponent)
    try FileManager.default.copyItem(at: item, to: copy)
    return copy.path
}

/// An error for a reader: its own line where it is ours.
public func words(_ error: any Error) -> String { (error as? DvtEdgeError)?.message ?? error.localizedDescription }
