@testable import DVTEdge

/// A PNG of 8-bit RGB without interlacing, for tests: what a decoder gives before it turns anything.
struct PlainPNG {
    let image: RGBImage

    init(_ file: [UInt8]) throws {
        var (width, height) = (0, 0)
        var packed: [UInt8] = []
        var at = 8
        while at < file.count {
            let length = big(file, at, 4), data = at + 8
            switch String(decoding: file[at + 4..<data], as: UTF8.self) {
            case "IHDR":
                (width, height) = (big(file, data, 4), big(file, data + 4, 4))
                precondition(Array(file[data + 8..<data + 13]) == [8, 2, 0, 0, 0])
            case "IDAT": packed += file[data..<data + length]
            default: break
            }
            at = data + length + 4
        }
        let line = 3 * width
        let filtered = Inflater()!.unpack(packed.dropFirst(2), height * (line + 1))!.bytes
        var pixels: [UInt8] = []
        for row in 0..<height {
            for x in 0..<line {
                let left = x >= 3 ? Int(pixels[row * line + x - 3]) : 0
                let above = row > 0 ? Int(pixels[(row - 1) * line + x]) : 0
                let corner = row > 0 && x >= 3 ? Int(pixels[(row - 1) * line + x - 3]) : 0
                let guess = left + above - corner
                let near = [left, above, corner].min { abs(guess - $0) < abs(guess - $1) }!
                let predicted = [0, left, above, (left + above) / 2, near][Int(filtered[row * (line + 1)])]
                pixels.append(filtered[row * (line + 1) + 1 + x] &+ UInt8(predicted))
            }
        }
        image = try RGBImage(width: width, height: height, pixels: pixels)
    }
}

private func big(_ bytes: [UInt8], _ at: Int, _ count: Int) -> Int {
    (0..<count).reduce(0) { $0 << 8 | Int(bytes[at + $1]) }
}
