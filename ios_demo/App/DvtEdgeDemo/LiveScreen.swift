import DVTEdge
import DVTEdgeCoreML
import DVTEdgeScreens
import PhotosUI
import SwiftUI

/// The camera's label, confidence and exit, or those of a photo.
struct LiveScreen: View {
    let model: LiveModel
    let power: PowerModel
    @State private var camera = Camera()
    @State private var photo: PhotosPickerItem?
    @State private var placements: [String?] = []  // what Core ML planned to run where

    var body: some View {
        NavigationStack {
            List {
                answer
                Section("stages") {
                    ForEach(Array(model.stages.enumerated()), id: \.offset) { stage, name in
                        ProgressView(value: model.bars[stage] ?? 0, total: longest) {
                            Row(verbatim: name, model.bars[stage].map { "\(rounded($0, 2)) ms" } ?? "–")
                        }
                    }
                    ForEach(Array(placements.enumerated()), id: \.offset) { stage, placement in
                        if let placement { Text(verbatim: "\(model.stages[stage]): \(placement)").font(.footnote) }
                    }
                }
                Section("exits") {
                    ForEach(Array(model.stages.enumerated()), id: \.offset) { stage, name in
                        ProgressView(value: Double(model.histogram[stage]), total: Double(model.most)) {
                            Row(verbatim: name, "\(model.histogram[stage])")
                        }
                    }
                    Row("dropped", "\(model.dropped)")
                }
            }
            .navigationTitle("live")
            .toolbar {
                PhotosPicker("photo", selection: $photo, matching: .images, preferredItemEncoding: .compatible)
            }
        }
        .task { if placements.isEmpty { placements = await power.ready.runtime.placements } }
        .task(id: model.showsPhoto) { if !model.showsPhoto { await watch() } }
        .onChange(of: photo) { Task { await answerPhoto() } }
    }

    @ViewBuilder private var answer: some View {
        Section {
            if model.showsPhoto { Button("camera") { resume() } }
            if let why = model.failure ?? (model.showsPhoto ? nil : camera.failure) {
                Text(verbatim: why).foregroundStyle(.red)
            }
            if let result = model.result {
                Text(verbatim: result.labelName).font(.largeTitle)
                Row("confidence", rounded(Double(result.confidence), 3))
                Row("exit", "\(result.exit)")
                Row("preprocessing", "\(rounded(result.preprocessMs, 2)) ms")
                Row("total", "\(rounded(result.totalMs, 2)) ms")
                Row("energy", power.energyJ(result).map { "≈ \(rounded($0 * 1000, 1)) mJ" } ?? "–")
                Row("point", result.operatingPoint)
                if result.uncertified { Text("uncertified").font(.footnote) }
                if result.degraded { Text("degraded").foregroundStyle(.orange) }
            }
        }
    }

    private var longest: Double { model.bars.compactMap { $0 }.max() ?? 1 }

    private func watch() async {
        for await frame in camera.frames(dropped: { Task { await model.drop() } }) {
            await power.sample(DeviceState.now())
            await model.offer(power.state, point: power.point) {
                try RGBImage(frame: frame.buffer, rotation: frame.rotation)
            }
        }
    }

    private func answerPhoto() async {
        guard let photo else { return }
        await power.sample(DeviceState.now())
        await model.answer(photo: { try await image(photo) }, power.state, point: power.point)
    }

    private func resume() {
        photo = nil
        model.resume()
    }
}

/// A photo of the library, in an encoding that is read where the system can give one.
private func image(_ photo: PhotosPickerItem) async throws -> RGBImage {
    guard let data = try await photo.loadTransferable(type: Data.self) else {
        throw DvtEdgeError(.data, String(localized: "photo.none"))
    }
    return try RGBImage(decoding: data)
}

/// A name and its value, read out together.
struct Row: View {
    let name: Text
    let value: String

    init(_ name: LocalizedStringKey, _ value: String) { (self.name, self.value) = (Text(name), value) }
    init(verbatim name: String, _ value: String) { (self.name, self.value) = (Text(verbatim: name), value) }

    var body: some View {
        HStack {
            name
            Spacer()
            Text(verbatim: value).monospacedDigit()
        }
        .accessibilityElement(children: .combine)
    }
}

func rounded(_ number: Double, _ places: Int) -> String { String(format: "%.\(places)f", number) }
