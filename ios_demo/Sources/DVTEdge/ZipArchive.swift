// A .zip as far as a bundle needs it: stored and deflated files, no encryption, no zip64. docs/bundle.md has the rules.

private let endRecord: [UInt8] = [0x50, 0x4B, 0x05, 0x06]  // 22 bytes and a comment
private let zip64Locator: [UInt8] = [0x50, 0x4B, 0x06, 0x07]  // 20 bytes before it
private let centralHeader: [UInt8] = [0x50, 0x4B, 0x01, 0x02]  // 46 bytes, a name, extra fields, a comment
private let localHeader: [UInt8] = [0x50, 0x4B, 0x03, 0x04]  // 30 bytes, a name, extra fields
private let maxDirectory = 16 << 20  // bytes
private let refusedFlags = 0x1 | 0x20 | 0x40  // encrypted, a patch, strongly encrypted
private let utf8Flag = 0x800

/// One file or folder of a .zip, as its central directory has it.
struct ZipMember: Sendable {
    let name: [UInt8]
    let flags: Int
    let method: Int
    let crc: Int
    let packed: Int  // bytes
    let size: Int  // bytes
    let mode: Int  // of Unix
    let offset: Int  // of its local header

    var isLink: Bool { mode & 0xF000 == 0xA000 }

    /// Its name; nil where that is not UTF-8, not said to be, or has a NUL in it.
    var path: String? {
        guard let path = String(utf8: name), !name.contains(0) else { return nil }
        return name.allSatisfy { $0 < 0x80 } || flags & utf8Flag != 0 ? path : nil
    }
}

/// An open .zip and what its central directory lists.
struct ZipArchive {
    let members: [ZipMember]
    let size: Int  // bytes of the file
    private let file: File

    /// Throws an `ArchiveError` where there is no .zip that can be read.
    init(_ path: String, size: Int) throws(DvtEdgeError) {
        self.size = size
        file = try File(path)
        let tailStart = max(0, size - (1 << 16) - 22)
        guard let tail = try file.bytes(tailStart..<size),
            let end = tail.indices.last(where: { tail[$0...].starts(with: endRecord) }), end + 22 <= tail.count
        else { throw damaged("no end record") }
        let bytes = number(tail, end + 12, 4), offset = number(tail, end + 16, 4)
        if end >= 20, tail[(end - 20)...].starts(with: zip64Locator) { throw damaged("a zip64") }
        if bytes > maxDirectory { throw damaged("a directory of \(bytes) bytes") }
        let start = tailStart + end - bytes
        guard start >= offset, let directory = try file.bytes(start..<start + bytes) else {
            throw damaged("a directory that lies outside")
        }
        members = try readDirectory(directory, start - offset)
    }

    /// The unpacked bytes of a member, checked against its CRC at their end. Throws an `ArchiveError`.
    func open(_ member: ZipMember) throws(DvtEdgeError) -> MemberSource {
        if member.flags & refusedFlags != 0 || ![0, 8].contains(member.method) {
            throw damaged("an entry that is encrypted or packed by another method")
        }
        guard let header = try file.bytes(member.offset..<member.offset + 30), header.starts(with: localHeader) else {
            throw damaged("no entry where the directory says")
        }
        let start = member.offset + 30, name = number(header, 26, 2)
        guard try file.bytes(start..<start + name) == member.name else {
            throw damaged("another name before an entry than in the directory")
        }
        let data = start + name + number(header, 28, 2)
        return try MemberSource(file, data..<data + member.packed, member)
    }
}

private func readDirectory(_ bytes: [UInt8], _ before: Int) throws(DvtEdgeError) -> [ZipMember] {
    var members: [ZipMember] = []
    var at = 0
    while at < bytes.count {
        guard at + 46 <= bytes.count, bytes[at...].starts(with: centralHeader) else {
            throw damaged("a directory that is cut short")
        }
        let name = at + 46, extra = name + number(bytes, at + 28, 2), comment = extra + number(bytes, at + 30, 2)
        let end = comment + number(bytes, at + 32, 2)
        guard end <= bytes.count else { throw damaged("a directory that is cut short") }
        let member = ZipMember(
            name: Array(bytes[name..<extra]), flags: number(bytes, at + 8, 2), method: number(bytes, at + 10, 2),
            crc: number(bytes, at + 16, 4), packed: number(bytes, at + 20, 4), size: number(bytes, at + 24, 4),
            mode: number(bytes, at + 38, 4) >> 16, offset: before + number(bytes, at + 42, 4))
        if [member.packed, member.size, number(bytes, at + 42, 4)].contains(0xFFFF_FFFF) { throw damaged("a zip64") }
        members.append(member)
        if members.count > Manifest.maxFiles { throw damaged("over \(Manifest.maxFiles) entries") }
        at = end
    }
    return members
}

/// What a member unpacks to, piece by piece.
final class MemberSource: ByteSource {
    private let file: File
    private let member: ZipMember
    private let inflater: Inflater?  // nil where it is stored
    private var packed: Range<Int>  // of the file, not read yet
    private var waiting: ArraySlice<UInt8> = []  // read and not unpacked yet
    private var left: Int  // bytes to come
    private var crc = CRC32()

    init(_ file: File, _ packed: Range<Int>, _ member: ZipMember) throws(DvtEdgeError) {
        (self.file, self.packed, self.member, left) = (file, packed, member, member.size)
        inflater = member.method == 0 ? nil : Inflater()
        if (inflater == nil) != (member.method == 0) { throw damaged("it cannot be unpacked") }
        if member.method == 0 && member.packed != member.size { throw damaged("a stored entry of two sizes") }
    }

    func next(_ count: Int) throws(DvtEdgeError) -> [UInt8] {
        let wanted = min(count, left)
        var piece: [UInt8] = []
        while piece.count < wanted {
            if waiting.isEmpty { try fill() }
            guard let inflater else {
                let taken = waiting.prefix(wanted - piece.count)
                piece += taken
                waiting = waiting.dropFirst(taken.count)
                continue
            }
            guard !inflater.ended, let (bytes, taken) = inflater.unpack(waiting, wanted - piece.count),
                !(bytes.isEmpty && taken == 0 && packed.isEmpty)
            else { throw damaged("an entry that does not unpack to its size") }
            piece += bytes
            waiting = waiting.dropFirst(taken)
        }
        crc.update(piece)
        left -= piece.count
        if left == 0 && crc.value != member.crc { throw damaged("a wrong CRC") }
        return piece
    }

    /// The next packed bytes, if there are more: an inflater may still have some to give without.
    private func fill() throws(DvtEdgeError) {
        let range = packed.prefix(chunk)
        guard let bytes = try file.bytes(range) else { throw damaged("an entry that lies outside") }
        if bytes.isEmpty && inflater == nil { throw damaged("an entry that is cut short") }
        waiting = bytes[...]
        packed = range.upperBound..<packed.upperBound
    }
}

private func number(_ bytes: [UInt8], _ at: Int, _ count: Int) -> Int {
    (0..<count).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
}

private func damaged(_ why: String) -> DvtEdgeError {
    DvtEdgeError(.archive, "not a readable .zip of a bundle (\(why))")
}
