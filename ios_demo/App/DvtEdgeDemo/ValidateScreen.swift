import DVTEdge
import DVTEdgeCoreML
import DVTEdgeScreens
import SwiftUI
import UIKit

/// Whether this device computes what the bundle says, and a log of it to take away.
struct ValidateScreen: View {
    @Bindable var model: ValidateModel
    let failure: String?
    let pick: @MainActor () -> Void

    var body: some View {
        NavigationStack {
            List {
                Section {
                    Toggle("pixels", isOn: $model.keepsPixels)
                    Button("validate") { Task { await run() } }.disabled(model.running)
                    if let why = model.failure ?? failure { Text(verbatim: why).foregroundStyle(.red) }
                } footer: {
                    Text("pixels.why")
                }
                if let passed = model.passed {
                    Section("measured") {
                        Text(passed ? "passed" : "failed").foregroundStyle(passed ? .green : .red)
                        ForEach(Array(model.errors.enumerated()), id: \.offset) { exit, error in
                            Row(verbatim: "\(exit)", "\(error) / \(model.tolerance)")
                        }
                        if let log = model.log { ShareLink("share", item: log) }
                    }
                }
                Button("pick", action: pick)
            }
            .navigationTitle("validate")
        }
    }

    private func run() async {
        let device = UIDevice.current, system = "\(device.systemName) \(device.systemVersion)"
        await model.run(
            device.model, system, app: appName, engine: "Core ML, \(system)",
            folder: URL.documentsDirectory, state: DeviceState.now())
    }
}
