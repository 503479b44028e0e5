/// What files of BMP, GIF, JPEG, PNG, PPM and its kin, and TIFF in either order of bytes, also a large one, begin with.
private let starts: [[UInt8]] =
    [[0xFF, 0xD8, 0xFF], [0x89] + Array("PNG\r\n\u{1A}\n".utf8)]
    + ["BM", "GIF87a", "GIF89a", "P1", "P2", "P3", "P4", "P5", "P6", "II*\0", "MM\0*", "II+\0", "MM\0+"]
    .map { Array($0.utf8) }

/// Whether a file is of a format that is read, those above or WebP, by its content: docs/preprocess.md. Systems decode others
/// too, each in its own way.
public func isReadFormat(_ file: some Collection<UInt8>) -> Bool {
    let head = Array(file.prefix(12))
    if head.starts(with: "RIFF".utf8) { return head.dropFirst(8).elementsEqual("WEBP".utf8) }
    return starts.contains { head.starts(with: $0) }
}
