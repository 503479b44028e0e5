import DVTEdge
import Foundation
import Observation

/// How the device is, what the power policy makes of it and why. iOS tells no current: joules are those of a model, if any.
@MainActor @Observable
public final class PowerModel {
    public private(set) var state = DeviceState()
    public private(set) var plan: Plan?  // what the policy takes now
    public private(set) var reason: Reason?
    public private(set) var baseW: Double?  // beside inference, as it is learned
    public var point: String?  // the user's choice in place of the policy's
    public var lifetimeHours: Double? {  // that the battery has to last, from when it is set
        didSet { deadline = lifetimeHours.map { .now + .seconds($0 * 3600) } }
    }
    public let points: [OperatingPoint]
    public let ready: Ready
    public let ownPolicy: Bool  // the bundle brings its own
    private var deadline: ContinuousClock.Instant?

    public init(_ ready: Ready) {
        self.ready = ready
        points = ready.runtime.bundle.manifest.provedPoints
        ownPolicy = ready.runtime.bundle.manifest.policy != nil
    }

    /// Asks the policy as an image would. A lifetime that is over is no target any more.
    public func sample(_ state: DeviceState, at now: ContinuousClock.Instant = .now) async {
        if let deadline, deadline <= now { lifetimeHours = nil }
        self.state = state
        self.state.lifetimeS = deadline.map { ($0 - now) / .seconds(1) }
        let runtime = ready.runtime
        guard let plan = try? await runtime.plan(self.state) else { return }
        let memory = await runtime.memory
        self.plan = plan
        reason = Reason(ready.policy, runtime.power, self.state, memory)
        baseW = ready.energy == nil ? nil : ready.policy.baseDraw(runtime.power, memory.drain)
    }

    /// Whether a certificate covers a point.
    public func isCertified(_ point: String) -> Bool { points.contains { $0.name == point && $0.certificate != nil } }

    /// Modelled joules of an answer; nil where no profile gave any.
    public func energyJ(_ result: CascadeResult) -> Double? { ready.energy?.joules(result) }
}
