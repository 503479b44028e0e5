import DVTEdge
import Foundation
import Observation

/// A bundle that is opened, and every stage of it warmed, with progress: a first load on a Neural Engine can take long.
@MainActor @Observable
public final class Session {
    public enum State {
        case empty
        case opening
        case warming(stages: Int, of: Int)
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
    public func open(_ path: String) async {
        let before = state
        state = .opening
        do {
            let (engineOf, profile) = (engineOf, profile)
            let ready = try await Task.detached {
                let bundle = try CascadeBundle.open(path)
                return try Ready(bundle, profile: profile, load: try engineOf(bundle.manifest))
            }.value
            let count = ready.runtime.bundle.manifest.stages.count
            state = .warming(stages: 0, of: count)
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
        if case .warming = state { state = .warming(stages: stages, of: count) }
    }
}

/// An error for a reader: its own line where it is ours.
public func words(_ error: any Error) -> String { (error as? DvtEdgeError)?.message ?? error.localizedDescription }
