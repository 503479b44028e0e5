// swift-tools-version: 6.0
import Foundation
import PackageDescription

let package = Package(
    name: "DVTEdge",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "DVTEdge", targets: ["DVTEdge"])
    ],
    targets: [
        .target(name: "DVTEdge", dependencies: [.target(name: "CZlib", condition: .when(platforms: [.linux]))]),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .testTarget(name: "DVTEdgeTests", dependencies: ["DVTEdge"]),
    ],
    swiftLanguageModes: [.v6]
)
