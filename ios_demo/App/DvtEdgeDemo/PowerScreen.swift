import DVTEdge
import DVTEdgeCoreML
import DVTEdgeScreens
import SwiftUI

/// How the device is, and which operating point is taken. iOS tells no current: energy is a model's.
struct PowerScreen: View {
    @Bindable var model: PowerModel

    var body: some View {
        NavigationStack {
            List {
                Section {
                    Row("battery", model.state.knownLevel.map { "\(rounded($0 * 100, 0)) %" } ?? "–")
                    Row("charging", mark(model.state.charging))
                    Row("lowPower", mark(model.state.lowPower))
                    Row("thermal", model.state.thermal.words)
                }
                Section {
                    if let plan = model.plan {
                        Row("chosen", plan.point)
                        Row(model.ownPolicy ? "policy" : "policy.app", model.reason.map(words) ?? "–")
                        if let cap = plan.cap { Row("cap", "\(cap + 1)") }
                        if plan.uncertified { Text("uncertified").font(.footnote) }
                    }
                    if let energy = model.ready.energy {
                        Row("profile", energy.profile.name)
                        Row("exits.energy", energy.costs.exitJ.map { rounded($0 * 1000, 1) }.joined(separator: " / "))
                        Row("full", "\(rounded(energy.profile.battery.joules / 1000, 1)) kJ")
                        if let watts = model.baseW { Row("beside", "\(rounded(watts, 2)) W") }
                        Text(energy.costs.basis == .measured ? "basis.measured" : "basis.estimated").font(.footnote)
                    }
                    if let why = model.ready.noEnergy { Text(verbatim: why).foregroundStyle(.red) }
                } footer: {
                    Text("energy.modelled")
                }
                Section("point") {
                    Picker("point", selection: $model.point) {
                        Text(model.ownPolicy ? "policy" : "policy.app").tag(String?.none)
                        ForEach(model.points, id: \.name) { point in
                            Text(verbatim: point.name).tag(String?.some(point.name))
                        }
                    }
                    if let point = model.point, !model.isCertified(point) { Text("uncertified").font(.footnote) }
                }
                Section("lifetime") {
                    Picker("lifetime", selection: $model.lifetimeHours) {
                        Text("none").tag(Double?.none)
                        ForEach([4.0, 8, 12, 24], id: \.self) { hours in
                            Text(verbatim: "\(rounded(hours, 0)) h").tag(Double?.some(hours))
                        }
                    }
                }
            }
            .navigationTitle("power")
        }
        .task { await follow() }
    }

    private func follow() async {
        while !Task.isCancelled {
            await model.sample(DeviceState.now())
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private func words(_ reason: Reason) -> String {
        switch reason {
        case .rule(let number, let rule):
            let conditions = [
                rule.batteryBelow.map { "< \(rounded($0 * 100, 0)) %" },
                rule.charging.map { String(localized: $0 ? "charging" : "discharging") },
                rule.lowPower == true ? String(localized: "lowPower") : nil,
                rule.thermalAtLeast.map { "≥ \($0.words)" },
            ]
            return "\(number + 1): \(conditions.compactMap { $0 }.joined(separator: ", "))"
        case .queue(let joules?): return "\(String(localized: "queue")) \(rounded(joules, 1)) J"
        case .queue(nil): return String(localized: "queue")
        case .otherwise: return String(localized: "otherwise")
        }
    }

    private func mark(_ yes: Bool) -> String { String(localized: yes ? "yes" : "no") }
}

extension Thermal {
    /// In the user's language.
    var words: String {
        switch self {
        case .nominal: String(localized: "nominal")
        case .fair: String(localized: "fair")
        case .serious: String(localized: "serious")
        case .critical: String(localized: "critical")
        }
    }
}
