import Testing

@testable import DVTEdge

private let json = goldenJSON("power_policy.json")
private let tolerance = json["tolerance"].double!

private func near(_ found: Double?, _ expected: Double?) -> Bool {
    guard let found, let expected else { return found == expected }
    return abs(found - expected) <= tolerance * abs(expected) || found == expected
}

/// The table of the golden cases, with these points certified, or as it is.
private func table(exitJ: [Double]? = nil, certified: [String]? = nil) -> PowerTable {
    let table = json["table"]
    let rows = table["rows"].list.map { row in
        let name = row["name"].text!
        return PointRow(
            name: name, accuracy: row["accuracy"].double!,
            certified: certified?.contains(name) ?? row["certified"].bool!,
            exitShares: row["exit_shares"].doubles, energyJ: row["energy_j"].double)
    }
    return PowerTable(
        stages: table["stages"].int!, rows: rows, exitJ: exitJ, capacityJ: table["capacity_j"].double,
        baseW: table["base_w"].double!)
}

private func state(_ json: JSON) -> DeviceState {
    DeviceState(
        maxStage: json["max_stage"].int, batteryLevel: json["battery_level"].double,
        charging: json["charging"].bool ?? false, lowPower: json["low_power"].bool ?? false,
        thermal: json["thermal"].text.map { Thermal(rawValue: $0)! } ?? .nominal,
        lifetimeS: json["lifetime_s"].double, timeS: json["time_s"].double, energyLeftJ: json["energy_left_j"].double)
}

@Test(arguments: json["cases"].list)
func powerPolicy(_ json: JSON) throws {
    let policy = try PowerPolicy.read(json["policy"], "policy")
    let table = table(certified: json["certified"] == .null ? nil : json["certified"].list.map { $0.text! })
    var memory = Memory()
    for (number, step) in json["steps"].list.enumerated() {
        memory = memory.used(step["used"]["images"].int ?? 0, step["used"]["energy_j"].double ?? 0)
        let choice: Choice
        (choice, memory) = policy.choose(table, state(step["state"]), memory)
        let expected = step["expected"]
        #expect(
            choice
                == Choice(
                    point: expected["point"].text!, maxStage: expected["max_stage"].int,
                    uncertified: expected["uncertified"].bool!), "step \(number)")
        guard case .object(let fields) = expected else { continue }
        if let queueJ = fields["queue_j"] { #expect(near(memory.queueJ, queueJ.double), "step \(number)") }
        if let baseW = fields["base_w"] {
            #expect(near(policy.baseDraw(table, memory.drain), baseW.double), "step \(number)")
        }
    }
}

@Test(arguments: json["costs"]["cases"].list)
func costs(_ json: JSON) {
    let choice = Choice(point: json["point"].text!, maxStage: json["max_stage"].int, uncertified: true)
    let exitJ = json["exit_j"] == .null ? nil : json["exit_j"].doubles
    #expect(near(meanCost(table(exitJ: exitJ), choice), json["cost"].double))
}

/// The table of a bundle's points, made from the manifest's form of them.
@Test(arguments: json["tables"]["cases"].list)
func tables(_ given: JSON) throws {
    var points: [OperatingPoint] = []
    for point in json["tables"]["points"].list { points.append(try operatingPoint(point)) }
    let exitJ = given["exit_j"] == .null ? nil : given["exit_j"].doubles
    let table = PowerTable(points, exitJ: exitJ)
    #expect(table.rows.map(\.accuracy) == json["tables"]["accuracy"].doubles)
    #expect(table.rows.map(\.certified) == json["tables"]["points"].list.map { $0["certified"].bool! })
    for (row, expected) in zip(table.rows, given["energy_j"].list) { #expect(near(row.energyJ, expected.double)) }
}

private func operatingPoint(_ json: JSON) throws -> OperatingPoint {
    let certificate = """
        {"risk": "disagreement", "method": "crc", "epsilon": 0, "delta": null, "n": 1, "artifact_sha256": "", \
        "data_sha256": "", "thresholds": [], "measure": "margin", "temperature": [], "attempts": 1}
        """
    var fields = ["thresholds": "[0, 0, 0]", "mean_macs": "1", "images": "1", "data": "\"made up\""]
    if json["certified"].bool! { fields["certificate"] = certificate }
    guard case .object(var object) = json else { fatalError() }
    object.values[Exact("certified")] = nil
    for (name, value) in fields { object.values[Exact(name)] = try parseJSON(Array(value.utf8), name) }
    return try OperatingPoint.read(.object(object), "point")
}

/// A policy that is made in code is held to the ranges of one that is read.
@Test func policiesOutOfRange() throws {
    for value in [-5, .nan, .infinity] {
        #expect(kind { _ = try Rule(point: "x", batteryBelow: value) } == .schema, "\(value)")
        #expect(kind { _ = try EnergyQueue(windowS: value) } == .schema, "\(value)")
        #expect(kind { _ = try EnergyQueue(imagesPerS: value) } == .schema, "\(value)")
        #expect(kind { _ = try PowerPolicy(otherwise: "x", hysteresis: value) } == .schema, "\(value)")
        #expect(kind { _ = try PowerPolicy(otherwise: "x", dwellS: value) } == .schema, "\(value)")
        #expect(kind { _ = try PowerPolicy(otherwise: "x", coolS: value) } == .schema, "\(value)")
    }
    #expect(kind { _ = try Rule(point: "x", maxStage: -1) } == .schema)
    for below in [0, 1.1] { #expect(kind { _ = try Rule(point: "x", batteryBelow: below) } == .schema) }
    #expect(kind { _ = try EnergyQueue(windowS: 0) } == .schema)
    #expect(kind { _ = try EnergyQueue(imagesPerS: 0) } == .schema)
    #expect(kind { _ = try PowerPolicy(otherwise: "x", hysteresis: 1) } == .schema)
    _ = try PowerPolicy(
        otherwise: "x", rules: [Rule(point: "x", maxStage: 0, batteryBelow: 1)], queue: EnergyQueue(imagesPerS: 1),
        hysteresis: 0, dwellS: 0, coolS: 0)
}

/// A sum that float64 loses when it is taken from left to right.
@Test func exactSums() {
    #expect(exactSum([1e16, 1, -1e16]) == 1)
    #expect(exactSum([Double](repeating: 0.1, count: 10)) == 1)
    #expect(exactSum([]) == 0)
}
