@_exported import AppleFoundation

// cryptokit/sha256digest
public struct SHA256Digest: Sequence, Sendable {
    public func makeIterator() -> Array<UInt8>.Iterator { fatalError() }
}

// cryptokit/sha256
public struct SHA256: Sendable {
    public init() {}  // cryptokit/hashfunction/init()
    public mutating func update<D: DataProtocol>(data: D) {}  // cryptokit/hashfunction/update(data:)
    public func finalize() -> SHA256Digest { fatalError() }  // cryptokit/hashfunction/finalize()
}
