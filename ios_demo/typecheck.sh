#!/bin/sh
# typecheck.sh FOLDER: the Apple-only sources against Stubs/, in Swift 6 without warnings. Modules are made in FOLDER, which is
# there. Run in ios_demo/ through swift.sh, whose toolchain has no other tools than the compiler's.
set -eu
out=$1
swift() { swiftc -swift-version 6 -warnings-as-errors -parse-as-library -package-name ios_demo -I "$out" "$@"; }
module() { # NAME sources...
    name=$1
    shift
    swift -emit-module -emit-module-path "$out/$name.swiftmodule" -module-name "$name" "$@"
}

for stub in AppleFoundation CoreVideo CoreML CoreGraphics ImageIO UIKit CryptoKit Compression UniformTypeIdentifiers SwiftUI PhotosUI AVFoundation; do
    module "$stub" "Stubs/$stub.swift"
done
module DVTEdge Sources/DVTEdge/*.swift
module DVTEdgeCoreML Sources/DVTEdgeCoreML/*.swift
module DVTEdgeScreens Sources/DVTEdgeScreens/*.swift
swift -typecheck App/DvtEdgeDemo/*.swift
