import DVTEdge

/// The app's own policy, for a bundle that brings none: cheap when hot or nearly empty, costly on a charger, and between them
/// what a lifetime target leaves.
public func phonePolicy(_ manifest: Manifest) throws(DvtEdgeError) -> PowerPolicy {
    let points = manifest.operatingPoints.map(\.name)
    return try PowerPolicy(
        otherwise: manifest.defaultOperatingPoint,
        rules: [
            Rule(point: points.first!, thermalAtLeast: .serious),
            Rule(point: points.last!, charging: true),
            Rule(point: points.first!, batteryBelow: 0.15),
            Rule(point: points[points.count / 2 - (points.count > 1 ? 1 : 0)], lowPower: true),
        ],
        queue: EnergyQueue(), allowUncertified: true)
}

/// Why a policy's last choice is what it is.
public enum Reason: Sendable, Equatable {
    case rule(Int, Rule)  // the one that won, from 0
    case queue(Double?)  // in joules; nil before the first image
    case otherwise

    /// Of the choice for `state` after which a runtime remembers `memory`.
    init(_ policy: PowerPolicy, _ table: PowerTable, _ state: DeviceState, _ memory: Memory) {
        if let number = memory.rule {
            self = .rule(number, policy.rules[number])
        } else {
            self = queueDecides(policy, table, state) ? .queue(memory.queueJ) : .otherwise
        }
    }
}

/// docs/power-policy.md, "It can decide".
func queueDecides(_ policy: PowerPolicy, _ table: PowerTable, _ state: DeviceState) -> Bool {
    let shown = state.knownEnergy ?? (table.capacityJ == nil ? nil : state.knownLevel)
    return policy.queue != nil && shown != nil && state.knownLifetime != nil
        && table.rows.allSatisfy { $0.energyJ != nil }
}
