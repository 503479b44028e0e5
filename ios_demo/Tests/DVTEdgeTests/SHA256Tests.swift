import Testing

@testable import DVTEdge

/// NIST's examples (FIPS 180-4), and the lengths around a block: the hash without CryptoKit is SHA-256.
@Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    (
        "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
    ),
])
func sha256OfNIST(_ text: String, _ expected: String) {
    var digest = PlainSHA256()
    digest.update(Array(text.utf8))
    #expect(digest.hex() == expected)
    #expect(sha256(Array(text.utf8)) == expected)
}

@Test func sha256OfAMillion() {
    var digest = PlainSHA256()
    for _ in 0..<1000 { digest.update([UInt8](repeating: UInt8(ascii: "a"), count: 1000)) }
    #expect(digest.hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
}

/// Bytes that come in pieces have the hash of the whole, and asking for it changes nothing.
@Test func sha256InPieces() {
    let bytes = (0..<300).map { UInt8(truncatingIfNeeded: $0 * 7) }
    for length in [55, 56, 57, 63, 64, 65, 119, 120, 128, 300] {
        var whole = PlainSHA256(), pieces = PlainSHA256()
        whole.update(bytes.prefix(length))
        for byte in bytes.prefix(length) {
            pieces.update([byte])
            _ = pieces.hex()
        }
        #expect(pieces.hex() == whole.hex())
    }
}

/// A check value of the CRC catalogue, which a .zip's CRC is.
@Test func crc32() {
    var crc = CRC32()
    crc.update(Array("12345".utf8))
    crc.update(Array("6789".utf8))
    #expect(crc.value == 0xCBF4_3926)
}
