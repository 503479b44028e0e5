import Foundation
import Testing

@testable import DVTEdge

private func rgb(_ folder: String, _ json: JSON) throws -> RGBImage {
    let turned = [90, 270].contains(json["rotation"].int ?? 0)
    let (width, height) = (json["width"].int!, json["height"].int!)
    return try RGBImage(
        width: turned ? height : width, height: turned ? width : height,
        pixels: goldenBytes("\(folder)/\(json["name"].text!).rgb"))
}

/// From decoded pixels on, byte for byte the reference.
@Test(arguments: goldenCases("preprocess/cases.json"))
func preprocessing(_ json: JSON) throws {
    let image = try rgb("preprocess", json)
    let pixels = try preprocess(image, size: json["size"].int!, resize: json["resize"].int!)
    #expect(pixels == goldenBytes("preprocess/\(json["name"].text!).expected"))
}

/// A camera's frame, upright and preprocessed.
@Test(arguments: goldenCases("camera/cases.json"))
func cameraFrames(_ json: JSON) throws {
    let content = goldenBytes("camera/\(json["name"].text!).yuv")
    let image = try content.withUnsafeBytes { bytes in
        func plane(_ name: String) -> Plane {
            let plane = json[name], offset = plane["offset"].int!
            return Plane(
                data: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + plane["bytes"].int!]),
                rowStride: plane["row_stride"].int!, pixelStride: plane["pixel_stride"].int!)
        }
        return try frameToRGB(
            y: plane("y"), u: plane("u"), v: plane("v"), width: json["width"].int!, height: json["height"].int!,
            rotation: json["rotation"].int!, range: YUVRange(rawValue: json["range"].text!)!)
    }
    let expected = try rgb("camera", json)
    #expect(image == expected)
    let pixels = try preprocess(image, size: json["size"].int!, resize: json["resize"].int!)
    #expect(pixels == goldenBytes("camera/\(json["name"].text!).expected"))
}

/// A frame in BT.709 is what its formulas say, to the nearest, in either range: luma, Cb and Cr are each tried.
@Test(arguments: [YUVRange.full, .video])
func framesOfBT709(_ range: YUVRange) throws {
    let (kr, kb) = (0.2126, 0.0722), kg = 1 - kr - kb, full = range == .full
    for (y, cb, cr) in [
        (235, 128, 128), (16, 128, 128), (100, 90, 150), (150, 160, 100), (120, 128, 60), (120, 70, 128),
    ] {
        let bytes = [UInt8(y), UInt8(cb), UInt8(cr)]
        let image = try bytes.withUnsafeBytes { bytes in
            let plane = { (at: Int) in Plane(data: UnsafeRawBufferPointer(rebasing: bytes[at..<at + 1]), rowStride: 1) }
            return try frameToRGB(
                y: plane(0), u: plane(1), v: plane(2), width: 1, height: 1, range: range, matrix: .bt709)
        }
        let luma = full ? Double(y) : Double(y - 16) * 255 / 219, scale = full ? 1 : 255.0 / 224
        let (blue, red) = (2 * (1 - kb) * scale * Double(cb - 128), 2 * (1 - kr) * scale * Double(cr - 128))
        let expected = [luma + red, luma - (kb * blue + kr * red) / kg, luma + blue].map { max(0, min(255, $0)) }
        for (found, right) in zip(image.pixels, expected) { #expect(abs(Double(found) - right) <= 0.51) }
    }
}

/// The eight orientations of EXIF: what a test decoder makes of the file, turned, is the golden picture.
@Test(arguments: 1...8)
func orientations(_ orientation: Int) throws {
    let file = goldenBytes("preprocess/exif-\(orientation).png")
    #expect(exifOrientation(file) == orientation)
    let png = try PlainPNG(file)
    let json = goldenCases("preprocess/cases.json").first { $0["name"].text == "exif-\(orientation)" }!
    let expected = try rgb("preprocess", json)
    #expect(png.image.upright(orientation) == expected)
}

/// Bad sizes and planes are a DataError, never a trap.
@Test func badImages() throws {
    let data = { (make: () throws -> Void) in kind(make) == .data }
    for (width, height, count) in [(0, 1, 0), (1, 0, 0), (-1, -1, 3), (2, 2, 11), (.max, .max, 3), (20_000, 20_000, 0)]
    {
        #expect(data { _ = try RGBImage(width: width, height: height, pixels: [UInt8](repeating: 0, count: count)) })
    }
    let thin = try RGBImage(width: 20_000, height: 1, pixels: [UInt8](repeating: 0, count: 60_000))
    #expect(data { _ = try preprocess(thin, size: 224, resize: 256) })
    for (size, resize) in [(0, 0), (2, 1), (-1, 1), (1, .max)] {
        #expect(data { _ = try preprocess(thin, size: size, resize: resize) })
    }
    [UInt8](repeating: 0, count: 6).withUnsafeBytes { bytes in
        let good = Plane(data: bytes, rowStride: 2)
        for bad in [
            Plane(data: bytes, rowStride: 1), Plane(data: bytes, rowStride: 2, pixelStride: 0),
            Plane(data: bytes, rowStride: 6), Plane(data: bytes, rowStride: .max, pixelStride: .max),
            Plane(data: bytes, rowStride: -2, pixelStride: -1),
        ] {
            #expect(data { _ = try frameToRGB(y: bad, u: good, v: good, width: 2, height: 3) })
        }
        #expect(data { _ = try frameToRGB(y: good, u: good, v: good, width: 2, height: 8) })
        #expect(data { _ = try frameToRGB(y: good, u: good, v: good, width: 2, height: 2, rotation: 45) })
        #expect(data { _ = try frameToRGB(y: good, u: good, v: good, width: .max, height: 2) })
    }
}

/// Of every format that has EXIF; XMP's is not read.
@Test(arguments: goldenCases("exif.json"))
func exif(_ json: JSON) throws {
    let file = try #require(Data(base64Encoded: json["file"].text!))
    #expect(exifOrientation([UInt8](file)) == json["orientation"].int)
}

/// A file that was cut or changed anywhere gives an orientation all the same.
@Test func brokenExif() throws {
    var random = SystemRandomNumberGenerator()
    for json in goldenCases("exif.json") {
        let file = [UInt8](try #require(Data(base64Encoded: json["file"].text!)))
        for _ in 0..<100 {
            var changed = Array(file.prefix(Int.random(in: 0...file.count, using: &random)))
            for _ in 0..<(changed.isEmpty ? 0 : Int.random(in: 0..<4, using: &random)) {
                changed[Int.random(in: changed.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            #expect(1...8 ~= exifOrientation(changed))
        }
    }
}
