import Testing

@testable import DVTEdge

/// Rows with gaps, dimensions of one with odd strides, a transposed array: each there and back.
@Test(arguments: [
    ([2, 3], [3, 1]), ([2, 3], [5, 1]), ([1, 2, 3], [99, 4, 1]), ([3, 2], [1, 3]), ([2, 1, 3], [8, 77, 2]), ([4], [1]),
    ([], []), ([2, 2, 2], [4, 2, 1]),
])
func stridedArrays(_ shape: [Int], _ strides: [Int]) {
    let count = shape.reduce(1, *)
    let bytes = (0..<2 * count).map { UInt8($0 + 1) }
    let last = zip(shape, strides).reduce(0) { $0 + ($1.0 - 1) * $1.1 }
    var buffer = [UInt8](repeating: 0, count: 2 * (last + 1))
    buffer.withUnsafeMutableBytes { scatter(bytes, into: $0, shape, strides, 2) }
    for item in 0..<count {
        var rest = item, offset = 0
        for dimension in shape.indices.reversed() {
            offset += rest % shape[dimension] * strides[dimension]
            rest /= shape[dimension]
        }
        #expect(buffer[2 * offset] == bytes[2 * item] && buffer[2 * offset + 1] == bytes[2 * item + 1])
    }
    #expect(buffer.withUnsafeBytes { gathered($0, shape, strides, 2) } == bytes)
}

@Test func pixelsAsBGRA() {
    var buffer = [UInt8](repeating: 9, count: 20)
    buffer.withUnsafeMutableBytes { fillBGRA($0, [1, 2, 3, 4, 5, 6], width: 1, height: 2, bytesPerRow: 10) }
    #expect(buffer == [3, 2, 1, 255, 9, 9, 9, 9, 9, 9, 6, 5, 4, 255, 9, 9, 9, 9, 9, 9])
}
