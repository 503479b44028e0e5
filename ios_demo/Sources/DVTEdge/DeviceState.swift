/// How hot the device is: as ProcessInfo.ThermalState.
public enum Thermal: String, Sendable, OneOf, Comparable {
    case nominal, fair, serious, critical

    /// Its place in the order of heat.
    var level: Int { Self.allCases.firstIndex(of: self)! }

    public static func < (a: Thermal, b: Thermal) -> Bool { a.level < b.level }
}

/// What the device allows now, and how it is: the cap of the exit rule, and the input of the power policy.
public struct DeviceState: Sendable, Equatable {
    public var maxStage: Int?  // caps the stages that run: nil is no cap, 0 the first only
    public var batteryLevel: Double?  // a fraction; nil, NaN or anything outside 0...1 (iOS says -1) is unknown
    public var charging: Bool
    public var lowPower: Bool
    public var thermal: Thermal
    public var lifetimeS: Double?  // seconds that the battery still has to last; anything but above 0 is no target
    public var timeS: Double?  // a monotonic clock in seconds; nil: the runtime's own
    public var energyLeftJ: Double?  // joules left in the battery by a counter of its own; iOS has none

    public init(
        maxStage: Int? = nil, batteryLevel: Double? = nil, charging: Bool = false, lowPower: Bool = false,
        thermal: Thermal = .nominal, lifetimeS: Double? = nil, timeS: Double? = nil, energyLeftJ: Double? = nil
    ) {
        self.maxStage = maxStage
        self.batteryLevel = batteryLevel
        self.charging = charging
        self.lowPower = lowPower
        self.thermal = thermal
        self.lifetimeS = lifetimeS
        self.timeS = timeS
        self.energyLeftJ = energyLeftJ
    }

    /// The battery level where it is known.
    public var knownLevel: Double? { batteryLevel.flatMap { 0 <= $0 && $0 <= 1 ? $0 : nil } }

    /// The joules left by the battery's counter, where it has one: finite and above 0.
    public var knownEnergy: Double? { above0(energyLeftJ) }

    /// The seconds that the battery has to last, where there is a target: finite and above 0.
    public var knownLifetime: Double? { above0(lifetimeS) }

    /// What the clock shows, where that is a time: finite.
    public var knownTime: Double? { timeS.flatMap { $0.isFinite ? $0 : nil } }
}

private func above0(_ value: Double?) -> Double? { value.flatMap { $0.isFinite && $0 > 0 ? $0 : nil } }
