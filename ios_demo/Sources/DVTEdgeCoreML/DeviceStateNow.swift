#if canImport(UIKit)
import DVTEdge
import Foundation
import UIKit

extension DeviceState {
    /// How the device is now, as far as iOS says: no current and no charge counter.
    @MainActor public static func now(maxStage: Int? = nil, lifetimeS: Double? = nil) -> DeviceState {
        let device = UIDevice.current, process = ProcessInfo.processInfo
        device.isBatteryMonitoringEnabled = true
        return DeviceState(
            maxStage: maxStage, batteryLevel: Double(device.batteryLevel),
            charging: [.charging, .full].contains(device.batteryState), lowPower: process.isLowPowerModeEnabled,
            thermal: Thermal(process.thermalState), lifetimeS: lifetimeS)
    }
}

extension Thermal {
    /// A state that a later system adds counts as critical.
    public init(_ state: ProcessInfo.ThermalState) {
        switch state {
        case .nominal: self = .nominal
        case .fair: self = .fair
        case .serious: self = .serious
        case .critical: self = .critical
        @unknown default: self = .critical
        }
    }
}
#endif
