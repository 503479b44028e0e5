import Foundation

// From an image to the uint8 pixels that a bundle takes. Normative: docs/preprocess.md.
//
//     decoded pixels, turned upright -> resize the shorter side (bicubic, antialiased) -> centre crop -> uint8
//
// Files are decoded by the system (`Decoding.swift` of DVTEdgeCoreML). Normalisation is inside every stage graph.

private let maxPixels = 100_000_000

/// uint8 RGB pixels, height x width x 3.
public struct RGBImage: Sendable, Equatable {
    public let width: Int
    public let height: Int
    public let pixels: [UInt8]

    /// Throws a `DataError` for sides below 1, over 100 million pixels, or bytes that do not fit.
    public init(width: Int, height: Int, pixels: [UInt8]) throws(DvtEdgeError) {
        try checkPixels("the image", width, height)
        guard pixels.count == 3 * width * height else {
            throw DvtEdgeError(
                .data, "an image of \(pixels.count) bytes; \(width)x\(height) pixels of RGB have \(3 * width * height)")
        }
        (self.width, self.height, self.pixels) = (width, height, pixels)
    }

    /// Turned upright by an orientation of EXIF, 1 to 8; any other turns nothing.
    public func upright(_ orientation: Int) -> RGBImage {
        let mirrored = [2, 4, 5, 7].contains(orientation)
        let turns = [3: 2, 4: 2, 5: 3, 6: 1, 7: 1, 8: 3][orientation] ?? 0
        if !mirrored && turns == 0 { return self }
        let swaps = turns % 2 == 1
        let (newWidth, newHeight) = swaps ? (height, width) : (width, height)
        let turned = [UInt8](unsafeUninitializedCapacity: pixels.count) { out, count in
            var at = 0
            for y in 0..<newHeight {
                for x in 0..<newWidth {
                    var (column, row) = unturned(x, y, turns)
                    if mirrored { column = width - 1 - column }
                    let from = 3 * (row * width + column)
                    for channel in 0..<3 { out[at + channel] = pixels[from + channel] }
                    at += 3
                }
            }
            count = at
        }
        return try! RGBImage(width: newWidth, height: newHeight, pixels: turned)
    }

    /// Column and row that come to (x, y) by so many quarter turns clockwise.
    private func unturned(_ x: Int, _ y: Int, _ turns: Int) -> (Int, Int) {
        switch turns {
        case 1: (y, height - 1 - x)
        case 2: (width - 1 - x, height - 1 - y)
        case 3: (width - 1 - y, x)
        default: (x, y)
        }
    }
}

/// One of a camera frame's planes: the sample (x, y) is byte y * rowStride + x * pixelStride.
public struct Plane {
    public let data: UnsafeRawBufferPointer  // must live as long as the plane is used
    public let rowStride: Int
    public let pixelStride: Int

    public init(data: UnsafeRawBufferPointer, rowStride: Int, pixelStride: Int = 1) {
        (self.data, self.rowStride, self.pixelStride) = (data, rowStride, pixelStride)
    }

    /// Throws a `DataError` unless it has (height, width) samples; the last row may end with its last one.
    fileprivate func check(_ width: Int, _ height: Int) throws(DvtEdgeError) {
        let row = product([width - 1, pixelStride]), rows = product([height - 1, rowStride])
        guard pixelStride >= 1, let row, let rows, rowStride > row, data.count - rows > row else {
            throw DvtEdgeError(
                .data,
                "a plane of \(data.count) bytes with strides \(rowStride) and \(pixelStride) lacks samples "
                    + "of \(width)x\(height)")
        }
    }
}

/// The numbers that luma and colour are coded in. iOS calls full range 420f and video range 420v.
public enum YUVRange: String, Sendable {
    case full, video

    fileprivate var black: Int32 { self == .full ? 0 : 16 }
}

/// What colours a frame's Cb and Cr stand for: BT.601, or BT.709 in the same arithmetic, which
/// cameras of iOS may choose. They say so of each frame; one that says nothing is in BT.601.
public enum YUVMatrix: Sendable {
    case bt601, bt709

    /// Fractions of 65536 that 16 bits round: luma, Cr to red, Cb to green, Cr to green, Cb to blue.
    fileprivate func factors(_ range: YUVRange) -> (luma: Int32, red: Int32, greenB: Int32, greenR: Int32, blue: Int32)
    {
        switch (self, range) {
        case (.bt601, .full): (65536, 91881, 22554, 46802, 116130)
        case (.bt601, .video): (76309, 104597, 25675, 53279, 132201)
        case (.bt709, .full): (65536, 103206, 12276, 30679, 121609)
        case (.bt709, .video): (76309, 117489, 13975, 34925, 138438)
        }
    }
}

/// (size, size, 3) uint8 RGB of an upright image: `resize` is the length of its shorter side before the centre crop.
///
/// Pillow's antialiased bicubic in fixed point, columns first, byte for byte; what the crop cuts off is not computed.
/// Throws a `DataError` for an image that would be too long for its width.
public func preprocess(_ image: RGBImage, size: Int, resize: Int) throws(DvtEdgeError) -> [UInt8] {
    guard 0 < size, size <= resize, resize <= ImageSize.maxSide else {
        throw DvtEdgeError(.data, "size \(size), resize \(resize); expected 0 < size <= resize <= \(ImageSize.maxSide)")
    }
    let (width, height) = resizedShape(image.width, image.height, resize)
    guard let most = product([width, max(height, image.height)]), most <= maxPixels else {
        throw DvtEdgeError(
            .data, "an image of \(image.width)x\(image.height) pixels, too long for its width once resized")
    }
    if (image.width, image.height) == (size, size) && resize == size { return image.pixels }
    let columns = Taps(image.width, width, (width - size) / 2, size)
    let rows = Taps(image.height, height, (height - size) / 2, size)
    let needed = rows.starts[0]..<rows.starts[size - 1] + rows.counts[size - 1]
    let narrow = resizeColumns(image, columns, needed)
    return resizeRows(narrow, 3 * size, rows, needed.lowerBound)
}

/// A YUV 4:2:0 frame as an upright image. `u` is Cb, `v` is Cr, with half the sides, rounded up; the nearest is taken.
///
/// `rotation` is clockwise in degrees, what the camera asks for. In integers; BT.601 in full range is what JPEG (JFIF) has:
/// libjpeg's arithmetic. Throws a `DataError`.
public func frameToRGB(
    y: Plane, u: Plane, v: Plane, width: Int, height: Int, rotation: Int = 0, range: YUVRange = .full,
    matrix: YUVMatrix = .bt601
) throws(DvtEdgeError) -> RGBImage {
    guard let orientation = [0: 1, 90: 6, 180: 3, 270: 8][rotation] else {
        throw DvtEdgeError(.data, "a frame turned by \(rotation) degrees; expected 0, 90, 180 or 270")
    }
    try checkPixels("the frame", width, height)
    try y.check(width, height)
    for plane in [u, v] { try plane.check((width + 1) / 2, (height + 1) / 2) }
    let pixels = [UInt8](unsafeUninitializedCapacity: 3 * width * height) { out, count in
        let (luma, red, greenB, greenR, blue) = matrix.factors(range)
        var at = 0
        for row in 0..<height {
            let (ys, us, vs) = (row * y.rowStride, row / 2 * u.rowStride, row / 2 * v.rowStride)
            for column in 0..<width {
                let bright = (Int32(y.data[ys + column * y.pixelStride]) - range.black) * luma + 32768
                let cb = Int32(u.data[us + column / 2 * u.pixelStride]) - 128
                let cr = Int32(v.data[vs + column / 2 * v.pixelStride]) - 128
                out[at] = clamped((bright + red * cr) >> 16)
                out[at + 1] = clamped((bright - greenB * cb - greenR * cr) >> 16)
                out[at + 2] = clamped((bright + blue * cb) >> 16)
                at += 3
            }
        }
        count = at
    }
    return try RGBImage(width: width, height: height, pixels: pixels).upright(orientation)
}

/// Width and height with the shorter side `resize` and the longer one scaled alike, rounded down.
func resizedShape(_ width: Int, _ height: Int, _ resize: Int) -> (Int, Int) {
    let short = min(width, height)
    return (max(resize, width * resize / short), max(resize, height * resize / short))
}

private func checkPixels(_ what: String, _ width: Int, _ height: Int) throws(DvtEdgeError) {
    guard width > 0, height > 0, let pixels = product([width, height]), pixels <= maxPixels else {
        throw DvtEdgeError(.data, "\(what) has \(width)x\(height) pixels; expected 1 to \(maxPixels)")
    }
}

// MARK: the resize

private let bits: Int32 = 22  // of a weight's fraction
private let half = Int32(1) << (bits - 1)

/// For each of some outputs of one axis, the samples that it is made of and their weights.
private struct Taps {
    private(set) var starts: [Int] = []  // the first sample
    private(set) var counts: [Int] = []  // samples
    private(set) var weights: [Int32] = []  // `width` an output
    let width: Int

    /// Of `count` outputs from `first` on, of `new` from `old` samples. A side that is right already is left alone.
    init(_ old: Int, _ new: Int, _ first: Int, _ count: Int) {
        let scale = Double(old) / Double(new), stretch = max(scale, 1)
        width = old == new ? 1 : Int((2 * stretch).rounded(.up)) * 2 + 1
        for output in first..<first + count {
            let centre = (Double(output) + 0.5) * scale
            let from = max(0, Int(centre - 2 * stretch + 0.5)), to = min(old, Int(centre + 2 * stretch + 0.5))
            let raw = (from..<to).map { cubic((Double($0) + 0.5 - centre) * (1 / stretch)) }
            if old == new { append(output, [1]) } else { append(from, raw) }
        }
    }

    private mutating func append(_ start: Int, _ raw: [Double]) {
        let total = raw.reduce(0, +), one = Double(1 << bits)
        starts.append(start)
        counts.append(raw.count)
        weights += raw.map { Int32(($0 / total * one).rounded(.toNearestOrAwayFromZero)) }
        weights += [Int32](repeating: 0, count: width - raw.count)
    }
}

private func cubic(_ at: Double) -> Double {
    let x = abs(at)
    if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
    if x < 2 { return (((x - 5) * x + 8) * x - 4) * -0.5 }
    return 0
}

private func clamped(_ value: Int32) -> UInt8 { UInt8(truncatingIfNeeded: max(0, min(255, value))) }

/// (rows, outputs, 3) of the needed rows.
private func resizeColumns(_ image: RGBImage, _ columns: Taps, _ needed: Range<Int>) -> [UInt8] {
    let outputs = columns.starts.count, line = 3 * image.width
    return [UInt8](unsafeUninitializedCapacity: 3 * outputs * needed.count) { out, filled in
        image.pixels.withUnsafeBufferPointer { pixels in
            columns.weights.withUnsafeBufferPointer { weights in
                var to = out.baseAddress!
                for row in needed {
                    let samples = pixels.baseAddress! + row * line
                    for output in 0..<outputs {
                        let weight = weights.baseAddress! + output * columns.width
                        var from = samples + 3 * columns.starts[output]
                        var (red, green, blue) = (half, half, half)
                        for k in 0..<columns.counts[output] {
                            red &+= weight[k] &* Int32(from[0])
                            green &+= weight[k] &* Int32(from[1])
                            blue &+= weight[k] &* Int32(from[2])
                            from += 3
                        }
                        to[0] = clamped(red >> bits)
                        to[1] = clamped(green >> bits)
                        to[2] = clamped(blue >> bits)
                        to += 3
                    }
                }
            }
        }
        filled = 3 * outputs * needed.count
    }
}

/// (outputs, line) of rows of `line` bytes, the first of which is sample `first`.
private func resizeRows(_ narrow: [UInt8], _ line: Int, _ rows: Taps, _ first: Int) -> [UInt8] {
    let outputs = rows.starts.count
    var sums = [Int32](repeating: 0, count: line)
    return [UInt8](unsafeUninitializedCapacity: outputs * line) { out, filled in
        narrow.withUnsafeBufferPointer { narrow in
            sums.withUnsafeMutableBufferPointer { sums in
                for output in 0..<outputs {
                    sums.update(repeating: half)
                    for k in 0..<rows.counts[output] {
                        let weight = rows.weights[output * rows.width + k]
                        let from = narrow.baseAddress! + (rows.starts[output] + k - first) * line
                        for x in 0..<line { sums[x] &+= weight &* Int32(from[x]) }
                    }
                    for x in 0..<line { out[output * line + x] = clamped(sums[x] >> bits) }
                }
            }
        }
        filled = outputs * line
    }
}
