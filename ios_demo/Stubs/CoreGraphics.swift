@_exported import AppleFoundation

// coregraphics/cgcolorspacemodel
public enum CGColorSpaceModel: Int32, Sendable {
    case unknown, monochrome, rgb, cmyk, lab, deviceN, indexed, pattern, XYZ
}

// coregraphics/cgcolorspace
public class CGColorSpace {
    public var model: CGColorSpaceModel { fatalError() }  // coregraphics/cgcolorspace/model
}

// coregraphics/cgcolorspacecreatedevicergb()
public func CGColorSpaceCreateDeviceRGB() -> CGColorSpace { fatalError() }
// coregraphics/cgcolorspacecreatedevicegray()
public func CGColorSpaceCreateDeviceGray() -> CGColorSpace { fatalError() }

// coregraphics/cgbitmapinfo
public struct CGBitmapInfo: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let floatComponents = CGBitmapInfo(rawValue: 256)
}

// coregraphics/cgimagealphainfo
public enum CGImageAlphaInfo: UInt32, Sendable {
    case none, premultipliedLast
}

// coregraphics/cgimage
public class CGImage {
    public var width: Int { fatalError() }  // coregraphics/cgimage/width
    public var height: Int { fatalError() }  // coregraphics/cgimage/height
    public var colorSpace: CGColorSpace? { fatalError() }  // coregraphics/cgimage/colorspace
    public var bitmapInfo: CGBitmapInfo { fatalError() }  // coregraphics/cgimage/bitmapinfo
    // coregraphics/cgimage/copy(colorspace:)
    public func copy(colorSpace: CGColorSpace) -> CGImage? { fatalError() }
}

// coregraphics/cginterpolationquality
public enum CGInterpolationQuality: Int32, Sendable {
    case `default`, none
}

// coregraphics/cgcontext
public class CGContext {
    // coregraphics/cgcontext/init(data:width:height:bitspercomponent:bytesperrow:space:bitmapinfo:)
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) { fatalError() }

    // coregraphics/cgcontext/draw(_:in:bytiling:)
    public func draw(_ image: CGImage, in rect: CGRect, byTiling: Bool = false) {}
}
