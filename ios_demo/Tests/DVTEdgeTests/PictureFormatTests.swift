import Foundation
import Testing

@testable import DVTEdge

/// Formats that docs/preprocess.md names, each by the bytes that its files begin with.
@Test(arguments: [
    "424d4e00", "474946383761", "474946383961", "ffd8ffe0", "89504e470d0a1a0a", "5031", "5032", "5033", "5034",
    "50350a",
    "5036", "49492a00", "4d4d002a", "49492b00", "4d4d002b", "52494646640000005745425056",
])
func formatsThatAreRead(_ hex: String) {
    #expect(isReadFormat(bytes(hex: hex)))
}

/// HEIC, AVIF, JPEG 2000, JPEG XL, an icon, Photoshop, PDF, a sound in RIFF, PF of floats, and files that are cut short.
@Test(arguments: [
    "000000246674797068656963", "0000001c6674797061766966", "0000000c6a5020200d0a870a", "ff0a", "000001000100",
    "384250530001", "255044462d312e37", "524946466400000057415645", "5046", "", "42", "ffd8", "5249464664000000574542",
])
func formatsThatAreRefused(_ hex: String) {
    #expect(!isReadFormat(bytes(hex: hex)))
}

/// Every golden picture is of one.
@Test func formatsOfTheGoldenPictures() throws {
    var files = try goldenCases("exif.json").map { [UInt8](try #require(Data(base64Encoded: $0["file"].text!))) }
    for json in goldenCases("preprocess/cases.json") {
        files.append(goldenBytes("preprocess/\(json["file"].text ?? "\(json["name"].text!).png")"))
    }
    for name in ["g16.png", "g16le.tif", "plain.jpg"] { files.append(goldenBytes("decoding/\(name)")) }
    #expect(files.allSatisfy { isReadFormat($0) })
}
