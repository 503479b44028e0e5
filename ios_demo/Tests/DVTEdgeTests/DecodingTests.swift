#if canImport(ImageIO)
import DVTEdgeCoreML
import Foundation
import Testing

@testable import DVTEdge

/// On a Mac or phone: the system's decoders give the golden pixels. CMYK is refused there.
@Test(arguments: goldenCases("preprocess/cases.json"))
func decoding(_ json: JSON) throws {
    let name = json["name"].text!, file = json["file"].text ?? "\(name).png"
    let data = Data(goldenBytes("preprocess/\(file)"))
    if name == "cmyk" {
        #expect(kind { _ = try RGBImage(decoding: data) } == .data)
        return
    }
    let image = try RGBImage(decoding: data)
    #expect(image.width == json["width"].int && image.height == json["height"].int)
    #expect(image.pixels == goldenBytes("preprocess/\(name).rgb"))
}
#endif
