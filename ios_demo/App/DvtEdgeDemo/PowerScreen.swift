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
                    Row("thermal", model.state.thermal.rawValue)
                } footer: {
                    Text("energy.modelled")
                }
                Section("point") {
                    Picker("point", selection: $model.point) {
                        Text(model.hasPolicy ? "policy" : "default").tag(String?.none)
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
            model.sample(DeviceState.now())
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private func mark(_ yes: Bool) -> String { String(localized: yes ? "yes" : "no") }
}
