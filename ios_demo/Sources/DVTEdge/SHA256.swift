#if canImport(CryptoKit)
import CryptoKit

/// SHA-256 of bytes that come in pieces.
struct SHA256Digest {
    private var state = CryptoKit.SHA256()

    mutating func update(_ bytes: some Collection<UInt8>) { state.update(data: Array(bytes)) }

    /// 64 digits of lower-case hex.
    func hex() -> String { hexadecimal(state.finalize()) }
}
#else
typealias SHA256Digest = PlainSHA256
#endif

/// SHA-256 (FIPS 180-4) of bytes that come in pieces, for systems without CryptoKit.
struct PlainSHA256 {
    private var hash: [UInt32] = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    private var waiting: [UInt8] = []  // less than a block
    private var count = 0  // bytes so far

    mutating func update(_ bytes: some Collection<UInt8>) {
        count += bytes.count
        waiting.append(contentsOf: bytes)
        waiting.withUnsafeBufferPointer { block in
            for start in stride(from: 0, through: block.count - 64, by: 64) { mix(block, start) }
        }
        waiting.removeFirst(waiting.count / 64 * 64)
    }

    /// 64 digits of lower-case hex.
    func hex() -> String {
        var last = self
        let bits = UInt64(count) * 8
        last.update([0x80] + [UInt8](repeating: 0, count: (119 - count % 64) % 64))
        last.update((0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * $0)) })
        return hexadecimal(
            last.hash.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } })
    }

    private mutating func mix(_ block: UnsafeBufferPointer<UInt8>, _ start: Int) {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { w in
            for t in 0..<16 {
                w[t] = (0..<4).reduce(0) { $0 << 8 | UInt32(block[start + 4 * t + $1]) }
            }
            for t in 16..<64 {
                let a = w[t - 15], b = w[t - 2]
                let small0 = turn(a, 7) ^ turn(a, 18) ^ (a >> 3)
                let small1 = turn(b, 17) ^ turn(b, 19) ^ (b >> 10)
                w[t] = small1 &+ w[t - 7] &+ small0 &+ w[t - 16]
            }
            var (a, b, c, d) = (hash[0], hash[1], hash[2], hash[3])
            var (e, f, g, h) = (hash[4], hash[5], hash[6], hash[7])
            for t in 0..<64 {
                let choice = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c)
                let first = h &+ (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) &+ choice &+ roots[t] &+ w[t]
                let second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) &+ majority
                (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
            }
            for (k, word) in [a, b, c, d, e, f, g, h].enumerated() { hash[k] &+= word }
        }
    }
}

private func turn(_ word: UInt32, _ bits: UInt32) -> UInt32 { word >> bits | word << (32 - bits) }

private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

/// The first 32 bits of the fractions of the cube roots of the first 64 primes.
private let roots: [UInt32] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]

/// SHA-256 of bytes, in lower-case hex.
public func sha256(_ bytes: some Collection<UInt8>) -> String {
    var digest = SHA256Digest()
    digest.update(bytes)
    return digest.hex()
}

/// Whether a text is a hash as it is written: 64 digits of lower-case hex.
func isSHA256(_ text: String) -> Bool {
    text.utf8.count == 64
        && text.utf8.allSatisfy {
            UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "f") ~= $0
        }
}
