// uniformtypeidentifiers/uttype-swift.struct
public struct UTType: Sendable {
    public static var zip: UTType { fatalError() }  // uniformtypeidentifiers/uttype-swift.struct/zip
    public static var folder: UTType { fatalError() }  // uniformtypeidentifiers/uttype-swift.struct/folder
}
