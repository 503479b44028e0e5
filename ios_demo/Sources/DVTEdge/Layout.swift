// Copies between a tensor's bytes and the buffers of an engine, which may have gaps between rows. Pure: tested on Linux.

/// The bytes of a strided array in C order. `strides` are in numbers of `itemSize` bytes, as Core ML gives them.
package func gathered(_ buffer: UnsafeRawBufferPointer, _ shape: [Int], _ strides: [Int], _ itemSize: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: shape.reduce(itemSize, *)) { out, count in
        forEachRun(shape, strides, itemSize) { from, to, bytes in
            UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(out)[to..<to + bytes])
                .copyBytes(from: buffer[from..<from + bytes])
        }
        count = shape.reduce(itemSize, *)
    }
}

/// The reverse: bytes in C order into a strided array.
package func scatter(
    _ bytes: [UInt8], into buffer: UnsafeMutableRawBufferPointer, _ shape: [Int], _ strides: [Int], _ itemSize: Int
) {
    bytes.withUnsafeBytes { source in
        forEachRun(shape, strides, itemSize) { to, from, bytes in
            UnsafeMutableRawBufferPointer(rebasing: buffer[to..<to + bytes]).copyBytes(
                from: source[from..<from + bytes])
        }
    }
}

/// Every run of bytes that lie together: its offset in the strided array, in C order, and its length.
private func forEachRun(_ shape: [Int], _ strides: [Int], _ itemSize: Int, _ body: (Int, Int, Int) -> Void) {
    guard !shape.contains(0) else { return }
    var together = itemSize, outer = shape.count  // dimensions from `outer` on are a run
    while outer > 0, shape[outer - 1] == 1 || strides[outer - 1] * itemSize == together {
        outer -= 1
        together *= shape[outer]
    }
    for run in 0..<shape[..<outer].reduce(1, *) {
        var rest = run, offset = 0
        for dimension in (0..<outer).reversed() {
            offset += rest % shape[dimension] * strides[dimension]
            rest /= shape[dimension]
        }
        body(offset * itemSize, run * together, together)
    }
}

/// RGB pixels as BGRA rows of `bytesPerRow` bytes, opaque: the form of Core ML's images.
package func fillBGRA(
    _ buffer: UnsafeMutableRawBufferPointer, _ pixels: [UInt8], width: Int, height: Int, bytesPerRow: Int
) {
    for row in 0..<height {
        for column in 0..<width {
            let from = 3 * (row * width + column), to = row * bytesPerRow + 4 * column
            buffer[to] = pixels[from + 2]
            buffer[to + 1] = pixels[from + 1]
            buffer[to + 2] = pixels[from]
            buffer[to + 3] = 255
        }
    }
}
