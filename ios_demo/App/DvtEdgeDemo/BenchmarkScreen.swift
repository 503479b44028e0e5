import DVTEdge
import DVTEdgeCoreML
import DVTEdgeScreens
import SwiftUI

/// A sustained run on the bundle's own images, measured on this device.
struct BenchmarkScreen: View {
    let model: BenchmarkModel
    @State private var work: Task<Void, Never>?

    var body: some View {
        NavigationStack {
            List {
                Section {
                    if model.running {
                        Row("images", "\(model.done)")
                        Button("stop") { work?.cancel() }
                    } else {
                        Button("run.short") { start(10) }
                        Button("run.long") { start(600) }
                    }
                    if let why = model.failure { Text(verbatim: why).foregroundStyle(.red) }
                }
                if let summary = model.summary {
                    Section("measured") {
                        Row("images", "\(summary.images)")
                        Row(verbatim: "p50", "\(rounded(summary.p50, 2)) ms")
                        Row(verbatim: "p95", "\(rounded(summary.p95, 2)) ms")
                        Row(verbatim: "p99", "\(rounded(summary.p99, 2)) ms")
                        Row("engineShare", "\(rounded(summary.engineShare * 100, 1)) %")
                        Row("exits", summary.exits.map(String.init).joined(separator: " / "))
                        Row("hottest", summary.hottest.rawValue)
                    }
                }
            }
            .navigationTitle("benchmark")
        }
    }

    private func start(_ seconds: Double) {
        work = Task { await model.run(seconds: seconds) { DeviceState.now() } }
    }
}
