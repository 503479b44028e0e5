import DVTEdge

/// What is believed of the energy of a bundle on this device: a device profile's costs, which say whether they were measured.
/// iOS tells no current and no charge counter, so the battery is the profile's.
public struct Energy: Sendable {
    public let profile: DeviceProfile
    public let costs: StageCosts

    /// Throws a `SchemaError` where the profile knows nothing of such a bundle.
    public init(_ profile: DeviceProfile, _ manifest: Manifest) throws(DvtEdgeError) {
        self.profile = profile
        costs = try profile.costs(manifest.stages.map(\.macs), manifest.artifactsSha256, manifest.target)
    }

    /// For the policy: the screen is on while the app runs.
    func table(_ manifest: Manifest) -> PowerTable {
        profile.powerTable(manifest.provedPoints, costs, screen: 1)
    }

    /// Modelled joules of an answer, beside idling.
    public func joules(_ result: CascadeResult) -> Double { costs.exitJ[result.stageMs.count - 1] }
}

/// A bundle that is open: `policy` is its own, or the app's where it brings none.
public struct Ready: Sendable {
    public let runtime: Runtime
    public let policy: PowerPolicy
    public let energy: Energy?  // nil where no profile knows of it
    public let noEnergy: String?  // why

    /// Throws what `Runtime` throws.
    public init(_ bundle: CascadeBundle, profile: Result<DeviceProfile, DvtEdgeError>?, load: @escaping LoadStage)
        throws(DvtEdgeError)
    {
        let manifest = bundle.manifest
        if let own = manifest.policy { policy = own } else { policy = try phonePolicy(manifest) }
        var found: Energy?
        var why: String?
        do {
            if let profile { found = try Energy(try profile.get(), manifest) }
        } catch {
            why = error.message
        }
        (energy, noEnergy) = (found, why)
        runtime = try Runtime(bundle, policy: policy, power: found?.table(manifest), load: load)
    }
}
