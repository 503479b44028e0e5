import DVTEdge
import Foundation
import Observation

/// How the device is, and what the power policy makes of it. iOS tells no current: joules are those of a model, if any.
@MainActor @Observable
public final class PowerModel {
    public private(set) var state = DeviceState()
    public var point: String?  // the user's choice in place of the policy's
    public var lifetimeHours: Double?  // that the battery still has to last
    public let points: [OperatingPoint]
    public let hasPolicy: Bool
    private let exitJ: [Double]?

    /// `exitJ` are modelled joules of an image that leaves at each exit, if a device profile gave them.
    public init(_ manifest: Manifest, exitJ: [Double]? = nil) {
        points = manifest.provedPoints
        hasPolicy = manifest.policy != nil
        self.exitJ = exitJ
    }

    public func sample(_ state: DeviceState) {
        self.state = state
        self.state.lifetimeS = lifetimeHours.map { $0 * 3600 }
    }

    /// Why no certificate covers a point; nil where one holds.
    public func isCertified(_ point: String) -> Bool { points.contains { $0.name == point && $0.certificate != nil } }

    /// Modelled joules of an answer; nil where no profile gave any.
    public func energyJ(_ result: CascadeResult) -> Double? { exitJ.map { $0[result.stageMs.count - 1] } }
}
