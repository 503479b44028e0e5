import DVTEdge
import DVTEdgeCoreML
import DVTEdgeScreens
import SwiftUI
import UIKit

/// With the version that the project file gives it.
let appName = "dvt-edge demo \(Bundle.main.object(forInfoDictionaryKey: "CFBundleShortVersionString") as? String ?? "")"

@main
struct DvtEdgeDemoApp: App {
    var body: some Scene {
        WindowGroup { RootView() }
    }
}

/// The bundle of the app's resources is opened first; another can be picked from the user's files.
struct RootView: View {
    @State private var session = Session(profile: shippedProfile()) { manifest in
        guard manifest.engine == .coreml else {
            throw DvtEdgeError(.engine, "this app runs Core ML; the bundle is for \(manifest.engine.rawValue)")
        }
        return CoreMLEngine(manifest).load
    }
    @State private var picking = false
    @State private var comparison = Comparison()

    var body: some View {
        content
            .task { await openShipped() }
            .fileImporter(isPresented: $picking, allowedContentTypes: [.zip, .folder]) { picked in
                if case .success(let url) = picked { Task { await open(url) } }
            }
    }

    @ViewBuilder private var content: some View {
        switch session.state {
        case .empty, .opening: ProgressView("opening")
        case .warming(let stage, let count):
            ProgressView(value: Double(stage - 1), total: Double(count)) { Text("warming \(stage) \(count)") }.padding()
        case .failed(let why): Failure(why: why) { picking = true }
        case .ready(let ready):
            Screens(ready: ready, comparison: comparison, failure: session.failure) { picking = true }
        }
    }

    private func openShipped() async {
        guard case .empty = session.state else { return }
        await session.open(Bundle.main.path(forResource: "bundle", ofType: "zip") ?? "bundle.zip")
    }

    private func open(_ url: URL) async {
        let allowed = url.startAccessingSecurityScopedResource()
        defer { if allowed { url.stopAccessingSecurityScopedResource() } }
        await session.open(picked: url, copyingInto: URL.cachesDirectory.appendingPathComponent("bundles"))
    }
}

/// The device profile of the app's resources: an estimate, which says so.
private func shippedProfile() -> [UInt8]? {
    let path = Bundle.main.path(forResource: "profile", ofType: "json")
    return path.flatMap { try? Data(contentsOf: URL(fileURLWithPath: $0)) }.map { [UInt8]($0) }
}

/// Who writes the app's logs: into its folder, which the user sees in Files.
@MainActor func logging() -> Logging {
    let device = UIDevice.current, system = "\(device.systemName) \(device.systemVersion)"
    return Logging(
        app: appName, engine: "Core ML, \(system)", device: machineName(), os: system, folder: URL.documentsDirectory)
}

/// Why there is nothing to see, and what to do.
struct Failure: View {
    let why: String
    let pick: @MainActor () -> Void

    var body: some View {
        VStack(spacing: 16) {
            Image(systemName: "exclamationmark.triangle").accessibilityHidden(true)
            Text(verbatim: why).multilineTextAlignment(.center)
            Button("pick", action: pick)
        }
        .padding()
    }
}

struct Screens: View {
    let failure: String?
    let pick: @MainActor () -> Void
    @State private var live: LiveModel
    @State private var power: PowerModel
    @State private var benchmark: BenchmarkModel
    @State private var validate: ValidateModel

    init(ready: Ready, comparison: Comparison, failure: String?, pick: @escaping @MainActor () -> Void) {
        (self.failure, self.pick) = (failure, pick)
        _live = State(initialValue: LiveModel(ready.runtime))
        _power = State(initialValue: PowerModel(ready))
        _benchmark = State(initialValue: BenchmarkModel(ready.runtime, comparison))
        _validate = State(initialValue: ValidateModel(ready.runtime))
    }

    var body: some View {
        TabView {
            LiveScreen(model: live, power: power).tabItem { Label("live", systemImage: "camera") }
            PowerScreen(model: power).tabItem { Label("power", systemImage: "battery.50") }
            BenchmarkScreen(model: benchmark, energy: power.ready.energy).tabItem {
                Label("benchmark", systemImage: "speedometer")
            }
            ValidateScreen(model: validate, failure: failure, busy: benchmark.running, pick: pick)
                .tabItem { Label("validate", systemImage: "checkmark.seal") }
        }
    }
}
