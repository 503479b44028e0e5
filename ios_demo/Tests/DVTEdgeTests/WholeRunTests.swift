#if canImport(DVTEdgeOnnxRuntime)
import DVTEdgeOnnxRuntime
import Foundation
import Testing

@testable import DVTEdge

private let environment = ProcessInfo.processInfo.environment

/// The shipped cascade in the real ONNX Runtime: at every operating point the exits and labels are Python's, and so are
/// the logits within the golden file's tolerance. check.sh exports the bundle and says where it and the library are.
@Suite(.enabled(if: environment["DVT_EDGE_BUNDLE"] != nil && environment["DVT_EDGE_ONNXRUNTIME"] != nil))
struct WholeRuns {
    let json = goldenJSON("runs/onnx-int8.json")
    let bundle: CascadeBundle
    let engine: OnnxRuntime
    let images: [RGBImage]

    init() throws {
        bundle = try CascadeBundle.open(environment["DVT_EDGE_BUNDLE"]!)
        engine = try OnnxRuntime(environment["DVT_EDGE_ONNXRUNTIME"]!)
        let size = bundle.manifest.imageSize(0).size, each = 3 * size * size
        let content = goldenBytes("runs/images.bin")
        images = try stride(from: 0, to: content.count, by: each).map {
            try RGBImage(width: size, height: size, pixels: Array(content[$0..<$0 + each]))
        }
    }

    @Test func answers() async throws {
        #expect(json["points"].entries.count == bundle.manifest.operatingPoints.count)
        for (name, point) in json["points"].entries {
            // An export finds them on logits of its own machine: docs/golden.md.
            let thresholds = point["thresholds"].doubles
            let own = try bundle.manifest.operatingPoint(name).thresholds
            #expect(zip(own, thresholds).allSatisfy { abs($0 - $1) <= json["tolerance"].double! / 2 })
            let runtime = try Runtime(bundle, thresholds: thresholds, load: engine.load)
            for (image, expected) in zip(images, point["answers"].list) {
                let result = try await runtime.run(image)
                #expect(result.exit == expected["exit"].int && result.label == expected["label"].int)
                #expect(
                    abs(Double(result.confidence) - expected["confidence"].double!) <= json["tolerance"].double! / 2
                )
            }
        }
    }

    @Test func logits() async throws {
        let runtime = try Runtime(bundle, operatingPoint: "full", load: engine.load)
        for (image, expected) in zip(images, json["logits"].list) {
            let found = try await runtime.run(image).logits
            for (a, b) in zip(found, expected.list) {
                #expect(zip(a, b.floats).allSatisfy { abs($0 - $1) <= Float(json["tolerance"].double!) })
            }
        }
        let errors = try await runtime.goldenErrors()
        #expect(errors.allSatisfy { Double($0) <= bundle.manifest.golden.tolerance })
    }

    @Test func artifactsThatAreNoModel() async throws {
        let stage = bundle.manifest.stages[0]
        let load = engine.load
        await #expect(throws: DvtEdgeError.self) {
            try await load(Artifact(name: "x", files: [("x", [1, 2, 3])]), stage, "CPUExecutionProvider", 1)
        }
        await #expect(throws: DvtEdgeError.self) {
            try await load(try bundle.artifact(1), stage, "CPUExecutionProvider", 1)
        }
    }
}
#endif
