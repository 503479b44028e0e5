import Testing

@testable import DVTEdge

private let tolerance = Float(goldenJSON("exit_rule.json")["tolerance"].double!)

@Test(arguments: goldenCases("exit_rule.json"))
func exitRule(_ json: JSON) throws {
    let logits = json["logits"].list.map(\.floats), thresholds = json["thresholds"].doubles
    let measure = Measure(rawValue: json["measure"].text!)!
    let last = ExitRule.lastStage(json["max_stage"].int, logits.count)
    var values: [Float] = [], labels: [Int] = []
    for stage in logits.indices {
        let temperature = json["temperature"].list[stage].double!
        values.append(Confidence.of(logits[stage], temperature: temperature, measure: measure))
        labels.append(ExitRule.label(logits[stage]))
        if ExitRule.leaves(values[stage], stage, thresholds, last) { break }
    }
    guard let expected = json["expected"]["exit"].int else {
        #expect(kind { _ = try ExitRule.decide(values, labels) } == .notFinite)
        return
    }
    let decision = try ExitRule.decide(values, labels)
    #expect(decision.exit == expected)
    #expect(decision.label == json["expected"]["label"].int)
    #expect(decision.degraded == json["expected"]["degraded"].bool)
    #expect(abs(decision.confidence - Float(json["expected"]["confidence"].double!)) <= tolerance)
}
