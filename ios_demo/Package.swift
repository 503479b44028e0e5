// swift-tools-version: 6.0
import Foundation
import PackageDescription

let package = Package(
    name: "DVTEdge",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "DVTEdge", targets: ["DVTEdge"]),
        .library(name: "DVTEdgeCoreML", targets: ["DVTEdgeCoreML"]),
        .library(name: "DVTEdgeScreens", targets: ["DVTEdgeScreens"]),
    ],
    targets: [
        .target(name: "DVTEdge", dependencies: [.target(name: "CZlib", condition: .when(platforms: [.linux]))]),
        .target(name: "DVTEdgeCoreML", dependencies: ["DVTEdge"]),
        .target(name: "DVTEdgeScreens", dependencies: ["DVTEdge"]),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .testTarget(
            name: "DVTEdgeTests",
            dependencies: [
                "DVTEdge", "DVTEdgeCoreML", "DVTEdgeScreens",
                .target(name: "CZlib", condition: .when(platforms: [.linux])),
            ]),
    ],
    swiftLanguageModes: [.v6]
)

// For tests on Linux: a bundle's stages in the real ONNX Runtime, through the header of its C interface.
#if os(Linux)
if FileManager.default.fileExists(atPath: "/usr/include/onnxruntime/onnxruntime_c_api.h") {
    package.targets += [
        .systemLibrary(name: "COnnxRuntime", providers: [.apt(["libonnxruntime-dev"])]),
        .target(name: "DVTEdgeOnnxRuntime", dependencies: ["DVTEdge", "COnnxRuntime"]),
        .executableTarget(name: "dvt-edge-ios", dependencies: ["DVTEdge", "DVTEdgeOnnxRuntime"]),
    ]
    package.targets.first { $0.name == "DVTEdgeTests" }!.dependencies.append("DVTEdgeOnnxRuntime")
}
#endif
