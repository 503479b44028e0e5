#if canImport(ImageIO)
import CoreGraphics
import DVTEdge
import Foundation
import ImageIO

extension RGBImage {
    /// A picture file's first image as upright 8-bit RGB: steps 1 and 2 of docs/preprocess.md.
    ///
    /// Colours are taken as they stand in the file, without colour matching, and transparency is laid over black.
    /// Throws a `DataError` for what is no picture of a format that is read, and for one in CMYK or floating point, which the
    /// system would convert by rules of its own.
    public init(decoding data: Data) throws(DvtEdgeError) {
        guard isReadFormat(data) else {
            throw DvtEdgeError(.data, "not a picture in BMP, GIF, JPEG, PNG, PPM, TIFF or WebP")
        }
        guard let source = CGImageSourceCreateWithData(NSData(data: data) as CFData, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { throw DvtEdgeError(.data, "not a readable picture") }
        self = try RGBImage(image).upright(exifOrientation([UInt8](data)))
    }

    /// A decoded picture that is upright.
    public init(_ image: CGImage) throws(DvtEdgeError) {
        let width = image.width, height = image.height
        guard !image.bitmapInfo.contains(.floatComponents), let plain = withoutProfile(image) else {
            throw DvtEdgeError(.data, "a picture in CMYK, floating point or another form that is not read")
        }
        guard width * height <= 100_000_000 else {
            throw DvtEdgeError(.data, "a picture of \(width)x\(height) pixels; expected at most 100 million")
        }
        var rgba = [UInt8](repeating: 0, count: 4 * width * height)
        let drawn = rgba.withUnsafeMutableBytes { bytes in
            let context = CGContext(
                data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
                space: CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
            context?.draw(plain, in: CGRect(x: 0, y: 0, width: width, height: height))
            return context != nil
        }
        guard drawn else { throw DvtEdgeError(.data, "a picture of \(width)x\(height) pixels cannot be drawn") }
        self = try RGBImage(width: width, height: height, pixels: withoutAlpha(rgba))
    }
}

/// The same numbers without the colour space that they were meant in; nil of CMYK and other models.
private func withoutProfile(_ image: CGImage) -> CGImage? {
    switch image.colorSpace?.model {
    case .rgb?: image.copy(colorSpace: CGColorSpaceCreateDeviceRGB())
    case .monochrome?: image.copy(colorSpace: CGColorSpaceCreateDeviceGray())
    case .indexed?: image
    default: nil
    }
}

private func withoutAlpha(_ rgba: [UInt8]) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: rgba.count / 4 * 3) { out, count in
        for pixel in 0..<rgba.count / 4 {
            for channel in 0..<3 { out[3 * pixel + channel] = rgba[4 * pixel + channel] }
        }
        count = rgba.count / 4 * 3
    }
}
#endif
