import DVTEdge
import Foundation

/// Who writes a log: what its header says of app and device, and the folder that it goes into.
public struct Logging: Sendable {
    let app: String
    let engine: String
    let device: String
    let os: String
    let folder: URL
    var create: @Sendable (_ path: String, LogHeader) throws -> LogWriter = { try LogWriter($0, $1) }

    public init(app: String, engine: String, device: String, os: String, folder: URL) {
        (self.app, self.engine, self.device, self.os, self.folder) = (app, engine, device, os, folder)
    }

    /// A new log in a file of its own; every stage of `runtime` is loaded. What the engine planned goes with its name.
    func begin(
        _ runtime: Runtime, _ state: DeviceState, everyStage: Bool, data: String? = nil, pixels: Bool = false
    ) async throws -> (url: URL, log: LogWriter) {
        let url = folder.appendingPathComponent("dvt-edge-\(UUID().uuidString.prefix(8)).jsonl")
        let placed = zip(runtime.bundle.manifest.stages, await runtime.placements)
            .compactMap { stage, plan in plan.map { "\(stage.name) \($0)" } }
        let header = try await LogHeader(
            runtime, app: app,
            engine: placed.isEmpty ? engine : "\(engine); planned: \(placed.joined(separator: "; "))",
            device: device, os: os, threads: 1,
            powerSource: state.charging ? .charger : state.knownLevel == nil ? .unknown : .battery,
            everyStage: everyStage, data: data, pixels: pixels ? "\(url.lastPathComponent).pixels" : nil)
        return (url, try create(url.path, header))
    }
}

/// The machine's name, as its maker has it: "iPhone16,1".
public func machineName() -> String {
    var system = utsname()
    uname(&system)
    return withUnsafeBytes(of: &system.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}

extension StateRecord {
    /// What iOS tells of a device.
    init(_ state: DeviceState, _ clock: LogClock, idle: Bool) {
        self.init(
            timeS: clock.timeS, idle: idle, screenOn: true, charging: state.charging, awakeS: clock.awakeS,
            batteryLevel: state.knownLevel, thermal: state.thermal, lowPower: state.lowPower)
    }
}
