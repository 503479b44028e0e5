/// What a cascade was trained on, as its checkpoint and its bundles say. An app does not need it.
public struct TrainedOn: Sendable, Equatable, FromFields {
    public let source: String
    public let fingerprint: String  // of all its images
    public let classes: [String]
    public let holdout: Int  // images that were kept out
    public let seed: Int  // by which they were drawn

    init(_ fields: Fields) throws(DvtEdgeError) {
        source = try fields["source"]
        fingerprint = try fields["fingerprint"]
        classes = try fields["classes"]
        holdout = try fields["holdout"]
        seed = try fields["seed"]
        try fields.require(holdout > 0 && seed >= 0, "holdout \(holdout), seed \(seed); expected at least 1 and 0")
    }
}
