import Foundation
import Testing

@testable import DVTEdge

/// Joules and seconds of a device profile are those that the simulator counts with.
@Test(arguments: goldenCases("device_profile.json"))
func costsOfAProfile(_ json: JSON) throws {
    let profile = try DeviceProfile.read(goldenJSON("device_profile.json")["profile"], "profile")
    let macs = json["stage_macs"].list.map { $0.int! }
    let read = { try profile.costs(macs, json["artifact_sha256"].text!, json["target"].text!) }
    if let error = json["error"].text {
        #expect(kind { _ = try read() }?.rawValue == error)
        return
    }
    let found = try read()
    #expect(found.basis.rawValue == json["basis"].text)
    #expect(same(found.exitS, json["exit_s"].doubles) && same(found.exitJ, json["exit_j"].doubles))
    #expect(same([profile.battery.joules], [json["capacity_j"].double!]))
    #expect(same([profile.baseW(json["screen"].double!)], [json["base_w"].double!]))
}

@Test(arguments: goldenJSON("device_profile.json")["bad"].list)
func profilesThatAreRefused(_ json: JSON) {
    #expect(throws: DvtEdgeError.self) { _ = try DeviceProfile.read(json["profile"], "profile") }
}

/// The one that comes with the app knows its target, and is an estimate.
@Test func profileOfTheApp() throws {
    let path = repository.appendingPathComponent("ios_demo/App/DvtEdgeDemo/profile.json")
    let profile = try DeviceProfile(json: [UInt8](try Data(contentsOf: path)))
    let costs = try profile.costs([1, 2, 3], "", "coreml-fp16")
    #expect(costs.basis == .estimated && costs.exitJ == costs.exitJ.sorted())
    let table = profile.powerTable(try fakeBundle().manifest.provedPoints, costs, screen: 1)
    #expect(table.exitJ == costs.exitJ && table.capacityJ == profile.battery.joules && table.baseW > 0)
}

private func same(_ a: [Double], _ b: [Double]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= 1e-12 * abs($1) }
}
