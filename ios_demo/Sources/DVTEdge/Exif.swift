private let orientationTag = 0x0112
private let exifInText = "Raw profile type exif"  // the keyword of a PNG's text that holds EXIF in hex
private let maxText = 1 << 20  // bytes that such a text may unpack to
private let integers = [3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4]  // types of a tag: bytes of an integer

/// The orientation that a picture file's EXIF asks for, 1 to 8: what `RGBImage.upright` takes. 1 where it asks for none.
///
/// EXIF's own, of JPEG, PNG, WebP and TIFF; one in XMP is not read: docs/preprocess.md. Takes any bytes.
public func exifOrientation(_ file: [UInt8]) -> Int {
    let whole = Bytes(file[...])
    let block: Bytes? =
        if whole.starts(0, [0xFF, 0xD8]) {
            exifOfJPEG(whole)
        } else if whole.starts(0, [0x89, 0x50, 0x4E, 0x47]) {
            exifOfPNG(whole)
        } else if whole.text(0, 4) == "RIFF" && whole.text(8, 4) == "WEBP" {
            exifOfWebP(whole)
        } else {
            whole  // a TIFF is a block of EXIF
        }
    guard let found = block.flatMap(orientation), 1...8 ~= found else { return 1 }
    return found
}

/// A part of a file. What lies outside it is nil.
private struct Bytes {
    private let all: ArraySlice<UInt8>

    init(_ all: ArraySlice<UInt8>) { self.all = all }

    var size: Int { all.count }
    var content: ArraySlice<UInt8> { all }

    /// The unsigned number of `count` bytes at `at`; nil where it is beyond 31 bits.
    func number(_ at: Int, _ count: Int, little: Bool = false) -> Int? {
        guard let bytes = part(at, count)?.all else { return nil }
        let value = (little ? Array(bytes.reversed()) : Array(bytes)).reduce(0) { $0 << 8 | Int($1) }
        return value <= Int(Int32.max) ? value : nil
    }

    func part(_ at: Int, _ count: Int) -> Bytes? {
        guard at >= 0, count >= 0, at <= size - count else { return nil }
        return Bytes(all[all.startIndex + at..<all.startIndex + at + count])
    }

    func starts(_ at: Int, _ bytes: [UInt8]) -> Bool { part(at, bytes.count).map { Array($0.all) == bytes } ?? false }

    /// Byte by byte: Latin-1.
    func text(_ at: Int, _ count: Int) -> String? { part(at, count).map { latin1($0.all) } }
}

private func latin1(_ bytes: ArraySlice<UInt8>) -> String {
    String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
}

/// The first segment of EXIF before the pixels.
private func exifOfJPEG(_ file: Bytes) -> Bytes? {
    var at = 2
    while let marker = file.number(at, 2) {
        switch marker {
        case 0xFFFF: at += 1  // a byte to fill
        case 0xFF01, 0xFFD0...0xFFD7: at += 2  // alone
        case 0xFF02...0xFFFE:
            if marker == 0xFFD9 || marker == 0xFFDA { return nil }  // the end, or pixels
            guard let length = file.number(at + 2, 2) else { return nil }
            if marker == 0xFFE1 && file.text(at + 4, 6) == "Exif\0\0" { return file.part(at + 4, length - 2) }
            at += 2 + length
        default: return nil
        }
    }
    return nil
}

/// The chunk of EXIF, wherever it stands; else the text that holds one.
private func exifOfPNG(_ file: Bytes) -> Bytes? {
    var at = 8
    var inText: Bytes?
    while let length = file.number(at, 4), let kind = file.text(at + 4, 4), let chunk = file.part(at + 8, length) {
        if kind == "eXIf" { return chunk }
        if inText == nil && ["tEXt", "zTXt", "iTXt"].contains(kind) { inText = exifOfText(kind, Array(chunk.content)) }
        at += 12 + length
    }
    return inText
}

/// A keyword, what says whether and how it is packed, and a text of three lines and then EXIF in hex; nil of another one.
private func exifOfText(_ kind: String, _ chunk: [UInt8]) -> Bytes? {
    let key = Array(exifInText.utf8) + [0]
    guard chunk.starts(with: key) else { return nil }
    var packed = kind == "zTXt"
    var at = key.count + (packed ? 1 : 0)  // the method
    if kind == "iTXt" {
        packed = at < chunk.count && chunk[at] == 1
        at += 2  // whether it is packed, and the method
        for _ in 0..<2 {  // two languages
            guard at <= chunk.count, let end = chunk[at...].firstIndex(of: 0) else { return nil }
            at = end + 1
        }
    }
    guard at <= chunk.count, let text = packed ? unpacked(chunk[at...]) : chunk[at...] else { return nil }
    let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    let digits = lines.dropFirst(3).joined().filter { $0 > UInt8(ascii: " ") }
    guard digits.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    for pair in stride(from: 0, to: digits.count, by: 2) {
        let (high, low) = (Character(Unicode.Scalar(digits[pair])), Character(Unicode.Scalar(digits[pair + 1])))
        guard let high = high.hexDigitValue, let low = low.hexDigitValue else { return nil }
        bytes.append(UInt8(16 * high + low))
    }
    return Bytes(bytes[...])
}

/// A zlib stream (RFC 1950), whose header of two bytes is passed over.
private func unpacked(_ packed: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
    guard packed.count > 2, let inflater = Inflater(), let found = inflater.unpack(packed.dropFirst(2), maxText),
        inflater.ended
    else { return nil }
    return found.bytes[...]
}

private func exifOfWebP(_ file: Bytes) -> Bytes? {
    var at = 12
    while let length = file.number(at + 4, 4, little: true) {
        if file.text(at, 4) == "EXIF" { return file.part(at + 8, length) }
        if length > file.size { return nil }
        at += 8 + length + length % 2
    }
    return nil
}

/// The tag of the first directory of a block of EXIF, with or without `Exif` before it.
private func orientation(_ block: Bytes) -> Int? {
    guard let tiff = block.text(0, 6) == "Exif\0\0" ? block.part(6, block.size - 6) : block else { return nil }
    let little: Bool
    switch tiff.text(0, 4) {
    case "II*\0": little = true
    case "MM\0*": little = false
    default: return nil
    }
    guard let directory = tiff.number(4, 4, little: little), let entries = tiff.number(directory, 2, little: little)
    else { return nil }
    var found: Int?
    for entry in 0..<entries {
        let at = directory + 2 + 12 * entry
        guard let tag = tiff.number(at, 2, little: little) else { break }
        if tag == orientationTag, let kind = tiff.number(at + 2, 2, little: little), let bytes = integers[kind],
            tiff.number(at + 4, 4, little: little) == 1
        {
            found = tiff.number(at + 8, bytes, little: little)
        }
    }
    return found
}
