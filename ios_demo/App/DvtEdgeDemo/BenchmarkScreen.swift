import DVTEdge
import DVTEdgeCoreML
import DVTEdgeScreens
import SwiftUI
import UIKit

/// A sustained run on the bundle's own images, measured on this device. It stops when the user leaves the screen or the app.
struct BenchmarkScreen: View {
    let model: BenchmarkModel
    let energy: Energy?
    @State private var work: Task<Void, Never>?
    @Environment(\.scenePhase) private var scenePhase

    var body: some View {
        NavigationStack {
            List {
                Section {
                    if model.running {
                        if model.waiting { Text("waiting.cool") }
                        Row("images", "\(model.done)")
                        Button("stop") { work?.cancel() }
                    } else {
                        Button("run.short") { start(10) }
                        Button("run.long") { start(600) }
                    }
                    if model.stopped { Text("stopped") }
                    if let why = model.failure { Text(verbatim: why).foregroundStyle(.red) }
                }
                if model.comparison.rows.count > 1 {
                    Section("comparison") {
                        ForEach(model.comparison.rows, id: \.id) { row in
                            let times = rounded(model.comparison.times(row), 2)
                            Row(verbatim: row.name, "p50 \(rounded(row.p50, 2)) ms, \(times) ×")
                        }
                    }
                }
                if let summary = model.summary {
                    Section("measured") {
                        Row("images", "\(summary.images)")
                        Row("load", summary.loadMs.map { "\(rounded($0, 0)) ms" }.joined(separator: " / "))
                        Row(verbatim: "p50", "\(rounded(summary.p50, 2)) ms")
                        Row(verbatim: "p95", "\(rounded(summary.p95, 2)) ms")
                        Row(verbatim: "p99", "\(rounded(summary.p99, 2)) ms")
                        Row("engineShare", "\(rounded(summary.engineShare * 100, 1)) %")
                        if let slowdown = summary.slowdown { Row("slowdown", "\(rounded(slowdown, 2)) ×") }
                        Row("exits", summary.exits.map(String.init).joined(separator: " / "))
                        ForEach([Thermal.nominal, .fair, .serious, .critical], id: \.self) { thermal in
                            if let seconds = summary.thermalS[thermal] {
                                Row(verbatim: thermal.words, "\(seconds) s")
                            }
                        }
                        if let peak = summary.peakBytes { Row("peak", "\(peak >> 20) MiB") }
                        if let energy { Row("energy", "\(rounded(modelled(summary, energy), 1)) mJ") }
                        if let log = model.log { ShareLink("share", item: log) }
                    }
                }
            }
            .navigationTitle("benchmark")
        }
        .onDisappear { work?.cancel() }
        .onChange(of: scenePhase) { if scenePhase != .active { work?.cancel() } }
    }

    /// The screen stays on meanwhile: a phone that sleeps measures nothing.
    private func start(_ seconds: Double) {
        work = Task {
            UIApplication.shared.isIdleTimerDisabled = true
            await model.run(seconds: seconds, logging()) { DeviceState.now() }
            UIApplication.shared.isIdleTimerDisabled = false
        }
    }

    /// Mean millijoules an image by the device profile.
    private func modelled(_ summary: BenchmarkModel.Summary, _ energy: Energy) -> Double {
        let joules = zip(summary.exits, energy.costs.exitJ).map { Double($0) * $1 }.reduce(0, +)
        return joules / Double(summary.images) * 1000
    }
}
