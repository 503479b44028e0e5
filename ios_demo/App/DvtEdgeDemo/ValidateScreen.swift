import DVTEdge
import DVTEdgeCoreML
import DVTEdgeScreens
import SwiftUI

/// Whether this device computes what the bundle says, and a log of it to take away.
struct ValidateScreen: View {
    @Bindable var model: ValidateModel
    let failure: String?
    let busy: Bool  // with a benchmark that has not ended yet
    let pick: @MainActor () -> Void
    @State private var picking = false

    var body: some View {
        NavigationStack {
            List {
                Section {
                    Toggle("pixels", isOn: $model.keepsPixels)
                    Button("validate") { Task { await run(nil) } }.disabled(model.running || busy)
                    Button("folder") { picking = true }.disabled(model.running || busy)
                    if let why = model.failure ?? failure { Text(verbatim: why).foregroundStyle(.red) }
                } footer: {
                    Text("pixels.why")
                }
                if model.passed != nil || model.log != nil {
                    Section("measured") {
                        if let passed = model.passed {
                            Text(passed ? "passed" : "failed").foregroundStyle(passed ? .green : .red)
                        } else {
                            Text("golden.none")
                        }
                        ForEach(Array(model.errors.enumerated()), id: \.offset) { exit, error in
                            Row(verbatim: "\(exit)", "\(error) / \(model.tolerance)")
                        }
                        Row("images", "\(model.logged)")
                        if model.unread > 0 { Row("unread", "\(model.unread)") }
                        if let log = model.log { ShareLink("share", item: log) }
                        if let pixels = model.pixels { ShareLink("share.pixels", item: pixels) }
                    }
                }
                Button("pick", action: pick).disabled(model.running || busy)
            }
            .navigationTitle("validate")
        }
        .fileImporter(isPresented: $picking, allowedContentTypes: [.folder]) { picked in
            if case .success(let folder) = picked { Task { await run(folder) } }
        }
    }

    /// The golden images, and a log of them or of the pictures in `folder`.
    private func run(_ folder: URL?) async {
        guard let folder else { return await model.run(logging()) { DeviceState.now() } }
        let allowed = folder.startAccessingSecurityScopedResource()
        defer { if allowed { folder.stopAccessingSecurityScopedResource() } }
        await model.run(logging()) {
            DeviceState.now()
        } pictures: {
            try pictures(in: folder) { try RGBImage(decoding: $0) }
        }
    }
}
