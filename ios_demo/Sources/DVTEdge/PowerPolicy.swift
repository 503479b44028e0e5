import Foundation

// The power policy. Normative: docs/power-policy.md. Pure functions in float64:
//
//     device's state + what was used since -> operating point and cap, and the memory for the next call
//
// Two parts: an ordered table of rules, and below it, where no rule matches, a virtual energy queue that makes the battery
// last a given time (drift plus penalty: Neely, Stochastic Network Optimization, 2010; for early exits: arXiv 2305.14094).

private let longestStepS = 86400.0  // between two calls: a clock that leaps further has been set
private let longestMeanS = 86400.0  // over which the draw is averaged
private let largestStep = 0.06  // of a full battery: the coarsest steps in which a level is learned from
private let fastestDrainS = 3600.0  // in which no device empties a full battery

/// Throws a `SchemaError` where there is a problem; `place` is where a policy's JSON has it.
private func check(_ problem: String?, _ place: String? = nil) throws(DvtEdgeError) {
    if let problem { throw DvtEdgeError(.schema, place.map { "\($0): \(problem)" } ?? problem) }
}

/// The operating point and cap for states in which every condition that is not nil holds.
public struct Rule: Sendable, Equatable, FromFields {
    public let point: String
    public let maxStage: Int?
    public let batteryBelow: Double?  // a fraction; does not hold where the level is unknown
    public let charging: Bool?
    public let lowPower: Bool?
    public let thermalAtLeast: Thermal?

    /// Throws a `SchemaError` for a number out of its range.
    public init(
        point: String, maxStage: Int? = nil, batteryBelow: Double? = nil, charging: Bool? = nil, lowPower: Bool? = nil,
        thermalAtLeast: Thermal? = nil
    ) throws(DvtEdgeError) {
        (self.point, self.maxStage, self.batteryBelow) = (point, maxStage, batteryBelow)
        (self.charging, self.lowPower, self.thermalAtLeast) = (charging, lowPower, thermalAtLeast)
        try check(problem)
    }

    init(_ fields: Fields) throws(DvtEdgeError) {
        point = try fields["point"]
        maxStage = try fields["max_stage", default: nil]
        batteryBelow = try fields["battery_below", default: nil]
        charging = try fields["charging", default: nil]
        lowPower = try fields["low_power", default: nil]
        thermalAtLeast = try fields["thermal_at_least", default: nil]
        try check(problem, fields.place)
    }

    private var problem: String? {
        if let limit = batteryBelow, !(0 < limit && limit <= 1) {
            return "battery_below \(limit); expected above 0 and at most 1"
        }
        if let maxStage, maxStage < 0 { return "max_stage \(maxStage); expected 0 or more" }
        return nil
    }
}

/// How patiently a lifetime target is held.
public struct EnergyQueue: Sendable, Equatable, FromFields {
    public let windowS: Double  // over which the queue averages
    public let imagesPerS: Double?  // the mean rate expected until the target; nil to learn it

    /// Throws a `SchemaError` for a number out of its range.
    public init(windowS: Double = 1800, imagesPerS: Double? = nil) throws(DvtEdgeError) {
        (self.windowS, self.imagesPerS) = (windowS, imagesPerS)
        try check(problem)
    }

    init(_ fields: Fields) throws(DvtEdgeError) {
        windowS = try fields["window_s", default: 1800]
        imagesPerS = try fields["images_per_s", default: nil]
        try check(problem, fields.place)
    }

    private var problem: String? {
        if !(windowS > 0 && windowS.isFinite) { return "window_s \(windowS); expected above 0" }
        if let rate = imagesPerS, !(rate > 0 && rate.isFinite) {
            return "images_per_s \(rate); expected above 0 or null"
        }
        return nil
    }
}

/// Rules in order, the first that matches wins; then the queue, where it can decide; then `otherwise`.
public struct PowerPolicy: Sendable, Equatable, FromFields {
    public let otherwise: String  // an operating point
    public let rules: [Rule]
    public let queue: EnergyQueue?
    public let hysteresis: Double  // a battery rule that holds is left only at batteryBelow + hysteresis
    public let dwellS: Double  // at least so long between a change and a move to something costlier
    public let coolS: Double  // a device counts as hot as it was at any time so long ago
    public let allowUncertified: Bool

    /// Throws a `SchemaError` for a number out of its range.
    public init(
        otherwise: String, rules: [Rule] = [], queue: EnergyQueue? = nil, hysteresis: Double = 0.03,
        dwellS: Double = 60, coolS: Double = 60, allowUncertified: Bool = false
    ) throws(DvtEdgeError) {
        (self.otherwise, self.rules, self.queue, self.hysteresis) = (otherwise, rules, queue, hysteresis)
        (self.dwellS, self.coolS, self.allowUncertified) = (dwellS, coolS, allowUncertified)
        try check(problem)
    }

    init(_ fields: Fields) throws(DvtEdgeError) {
        otherwise = try fields["otherwise"]
        rules = try fields["rules", default: []]
        queue = try fields["queue", default: nil]
        hysteresis = try fields["hysteresis", default: 0.03]
        dwellS = try fields["dwell_s", default: 60]
        coolS = try fields["cool_s", default: 60]
        allowUncertified = try fields["allow_uncertified", default: false]
        try check(problem, fields.place)
    }

    private var problem: String? {
        if !(0 <= hysteresis && hysteresis < 1) { return "hysteresis \(hysteresis); expected 0 <= hysteresis < 1" }
        for (name, seconds) in [("dwell_s", dwellS), ("cool_s", coolS)] where !(seconds >= 0 && seconds.isFinite) {
            return "\(name) \(seconds); expected 0 or more"
        }
        return nil
    }

    /// A policy as its JSON, docs/power-policy.md. Throws a `SchemaError`.
    public init(json: [UInt8]) throws(DvtEdgeError) {
        self = try PowerPolicy.read(try parseJSON(json, "policy"), "policy")
    }

    /// Every operating point it names.
    public var points: [String] { [otherwise] + rules.map(\.point) }
}

/// What a policy knows of an operating point.
public struct PointRow: Sendable, Equatable {
    public let name: String
    public let accuracy: Double
    public let certified: Bool
    public let exitShares: [Double]  // of images that leave at each exit
    public let energyJ: Double?  // mean joules an image takes on this device

    public init(name: String, accuracy: Double, certified: Bool, exitShares: [Double], energyJ: Double? = nil) {
        self.name = name
        self.accuracy = accuracy
        self.certified = certified
        self.exitShares = exitShares
        self.energyJ = energyJ
    }
}

/// What a policy knows of bundle and device.
public struct PowerTable: Sendable, Equatable {
    public let stages: Int
    public let rows: [PointRow]  // by rising cost
    public let exitJ: [Double]?  // mean joules of an image that leaves at each exit
    public let capacityJ: Double?  // of a full battery
    public let baseW: Double  // watts beside inference that are believed before any are learned

    public init(stages: Int, rows: [PointRow], exitJ: [Double]? = nil, capacityJ: Double? = nil, baseW: Double = 0) {
        self.stages = stages
        self.rows = rows
        self.exitJ = exitJ
        self.capacityJ = capacityJ
        self.baseW = baseW
    }

    /// The table of a bundle's points (`Manifest.provedPoints`) on a device.
    public init(_ points: [OperatingPoint], exitJ: [Double]? = nil, capacityJ: Double? = nil, baseW: Double = 0) {
        let rows = points.map { point in
            PointRow(
                name: point.name, accuracy: point.expectedTop1 ?? point.top1 ?? point.agreement,
                certified: point.certificate != nil, exitShares: point.exitShares,
                energyJ: exitJ.map { exactSum(zip(point.exitShares, $0).map(*)) })
        }
        self.init(
            stages: points[0].thresholds.count, rows: rows, exitJ: exitJ, capacityJ: capacityJ, baseW: baseW)
    }

    func index(_ name: String) -> Int { rows.firstIndex { $0.name.same(as: name) }! }
}

/// What a policy says. `uncertified`: no certificate covers the answers, of an uncertified point or under a cap.
public struct Choice: Sendable, Equatable {
    public let point: String
    public let maxStage: Int?
    public let uncertified: Bool
}

/// What the battery showed: from it the watts beside inference are learned.
public struct Drain: Sendable, Equatable {
    public var shownJ: Double?  // the joules left at the last call
    public var counted = false  // by a counter, else by the level
    public var sinceS: Double?  // when they last fell; nil where that is not known
    public var usedJ = 0.0  // by images since then
    public var baseJ = 0.0  // beside images, of all that was learned from
    public var baseS = 0.0  // seconds of it
}

/// What the policy remembers; the caller keeps it. Start with `Memory()`. Times are seconds since the first call.
public struct Memory: Sendable, Equatable {
    public var choice: Choice?
    public var rule: Int?  // the rule that held
    public var sinceS = 0.0  // when the choice last changed
    public var nowS = 0.0  // of the last call
    public var clockS: Double?  // the last time that the device's clock showed
    public var hotS = [Double](repeating: -.infinity, count: 3)  // last fair, serious, critical, or hotter than that
    public var seen = 0  // images since the first call
    public var images = 0  // images since the last call
    public var usedJ = 0.0  // joules they took
    public var queueJ: Double?
    public var drain = Drain()

    public init() {}

    /// The memory after `images` more images that took `energyJ` joules together: 0 where that is no number above.
    public func used(_ images: Int, _ energyJ: Double) -> Memory {
        var after = self
        after.seen += images
        after.images += images
        after.usedJ += energyJ.isFinite && energyJ > 0 ? energyJ : 0
        return after
    }
}

extension PowerPolicy {
    /// The operating point and cap for now, and the memory for the next call.
    public func choose(_ table: PowerTable, _ state: DeviceState, _ memory: Memory) -> (Choice, Memory) {
        let allowed = allowedRows(table)
        let (stepS, timed) = step(state, memory)
        var after = memory
        after.nowS = memory.nowS + stepS
        for k in 0..<state.thermal.level { after.hotS[k] = after.nowS }
        after.drain = followDrain(table, state, memory, after.nowS, timed)
        let (queueJ, adaptive) = followQueue(table, allowed, state, memory, after.nowS, after.drain)
        after.rule = matchingRule(state, heldThermal(state, after.hotS, after.nowS), memory.rule)
        let rule = after.rule.map { rules[$0] }
        after.choice = choice(table, allowed, rule, adaptive)
        if let before = memory.choice, after.choice != before {
            let costlier = costsMore(table, after.choice!, before)
            if costlier && rule?.thermalAtLeast == nil && after.nowS - memory.sinceS < dwellS {
                after.choice = before
            } else {
                after.sinceS = after.nowS
            }
        } else if memory.choice == nil {
            after.sinceS = after.nowS
        }
        after.clockS = state.knownTime ?? memory.clockS
        (after.images, after.usedJ, after.queueJ) = (0, 0, queueJ)
        return (after.choice!, after)
    }

    /// What the rule that holds asks for, else the queue, else `otherwise`; with a certificate unless it may lack one.
    private func choice(_ table: PowerTable, _ allowed: [Int], _ rule: Rule?, _ adaptive: Int?) -> Choice {
        var wanted = rule.map { table.index($0.point) } ?? adaptive ?? table.index(otherwise)
        var cap = rule?.maxStage
        if !allowUncertified { (wanted, cap) = (certifiedRow(allowed, wanted), nil) }
        if let last = cap, last >= table.stages - 1 { cap = nil }
        let row = table.rows[wanted]
        return Choice(point: row.name, maxStage: cap, uncertified: !row.certified || cap != nil)
    }

    /// Rows that may be chosen: all, or the certified ones, or the costliest where none is certified.
    private func allowedRows(_ table: PowerTable) -> [Int] {
        if allowUncertified { return Array(table.rows.indices) }
        let certified = table.rows.indices.filter { table.rows[$0].certified }
        return certified.isEmpty ? [table.rows.count - 1] : certified
    }

    /// The joules of the queue after what was used, and the row it asks for: nil where it cannot decide.
    private func followQueue(
        _ table: PowerTable, _ allowed: [Int], _ state: DeviceState, _ memory: Memory, _ nowS: Double, _ drain: Drain
    ) -> (Double?, Int?) {
        let known = allowed.compactMap { i in table.rows[i].energyJ.map { Known(i, table.rows[i].accuracy, $0) } }
        guard let queue, let leftJ = drain.shownJ, let left = state.knownLifetime, known.count == allowed.count else {
            return (memory.queueJ, nil)
        }
        let rate = queue.imagesPerS ?? (nowS > 0 ? Double(memory.seen) / nowS : 0)
        let cheapest = smallest(known) { ($0.energyJ, -$0.accuracy) }, best = mostAccurate(known)
        let gain = best.accuracy - cheapest.accuracy, span = best.energyJ - cheapest.energyJ
        if gain <= 0 { return (memory.queueJ, cheapest.row) }
        if rate == 0 { return (memory.queueJ, best.row) }
        let images = rate * left
        guard images > 0, images.isFinite else { return (memory.queueJ, nil) }
        let budget = (leftJ - baseDraw(table, drain) * left) / images  // J
        let weight = queue.windowS * rate * span * span / gain  // V, in J^2
        let dearer = known.filter { $0.energyJ > cheapest.energyJ }
        let slopes = dearer.map { ($0.accuracy - cheapest.accuracy) / ($0.energyJ - cheapest.energyJ) }
        let most = 2 * weight * (slopes.max() ?? .nan)
        guard budget.isFinite, most.isFinite else { return (memory.queueJ, nil) }
        guard let before = memory.queueJ else {
            let (price, row) = priceOf(budget, known)
            return (weight * price, row)
        }
        let queueJ = min(max(0, before + memory.usedJ - Double(memory.images) * budget), most)
        let wanted = smallest(known) { (-(weight * $0.accuracy - queueJ * $0.energyJ), $0.energyJ) }
        return (queueJ, wanted.row)
    }

    /// Index of the first rule whose conditions hold; `held` is the one that did before, for the hysteresis.
    private func matchingRule(_ state: DeviceState, _ thermal: Int, _ held: Int?) -> Int? {
        rules.indices.first { index in
            let rule = rules[index]
            if let below = rule.batteryBelow {
                guard let level = state.knownLevel, level < below + (index == held ? hysteresis : 0) else {
                    return false
                }
            }
            return (rule.charging ?? state.charging) == state.charging
                && (rule.lowPower ?? state.lowPower) == state.lowPower
                && (rule.thermalAtLeast?.level ?? 0) <= thermal
        }
    }

    /// The hottest thermal state of the last `coolS` seconds, as its place in the order of heat.
    private func heldThermal(_ state: DeviceState, _ hotS: [Double], _ nowS: Double) -> Int {
        let now = state.thermal.level
        return (now..<hotS.count).last { nowS - hotS[$0] < coolS }.map { $0 + 1 } ?? now
    }

    /// Watts beside inference: those believed count as much as `windowS` seconds of those learned.
    public func baseDraw(_ table: PowerTable, _ drain: Drain) -> Double {
        if drain.baseS == 0 { return table.baseW }
        return table.baseW + (drain.baseJ - table.baseW * drain.baseS) / ((queue?.windowS ?? 0) + drain.baseS)
    }
}

/// A row whose joules are known.
private struct Known {
    let row: Int
    let accuracy: Double
    let energyJ: Double

    init(_ row: Int, _ accuracy: Double, _ energyJ: Double) {
        (self.row, self.accuracy, self.energyJ) = (row, accuracy, energyJ)
    }
}

/// The first with the smallest pair of numbers.
private func smallest(_ rows: [Known], by key: (Known) -> (Double, Double)) -> Known {
    rows.dropFirst().reduce(rows[0]) { key($1) < key($0) ? $1 : $0 }
}

private func mostAccurate(_ rows: [Known]) -> Known { smallest(rows) { (-$0.accuracy, $0.energyJ) } }

/// `wanted` if it is allowed, else the next costlier one that is, else the costliest that is.
private func certifiedRow(_ allowed: [Int], _ wanted: Int) -> Int {
    allowed.first { $0 >= wanted } ?? allowed[allowed.count - 1]
}

/// What an image takes on average, no stage after the cap: joules where they are known, else stages.
func meanCost(_ table: PowerTable, _ choice: Choice) -> Double {
    let last = choice.maxStage ?? table.stages - 1
    return table.rows[table.index(choice.point)].exitShares.enumerated().reduce(0) { total, exit in
        let leaves = min(exit.offset, last)
        return total + exit.element * (table.exitJ?[leaves] ?? Double(leaves) + 1)
    }
}

/// Whether `a` takes more on average than `b`, or as much at a later point of the table.
private func costsMore(_ table: PowerTable, _ a: Choice, _ b: Choice) -> Bool {
    (meanCost(table, a), table.index(a.point)) > (meanCost(table, b), table.index(b.point))
}

/// Seconds since the last call, and whether they are known: a clock that goes back or leaps ahead says nothing.
private func step(_ state: DeviceState, _ memory: Memory) -> (Double, Bool) {
    guard let now = state.knownTime, let before = memory.clockS else { return (0, false) }
    let stepS = now - before
    return 0 <= stepS && stepS <= longestStepS ? (stepS, true) : (0, false)
}

/// The joules left as the battery shows them: by its counter, else by the level.
private func shownJ(_ table: PowerTable, _ state: DeviceState) -> Double? {
    if let leftJ = state.knownEnergy { return leftJ }
    guard let level = state.knownLevel, let capacityJ = table.capacityJ else { return nil }
    return level * capacityJ
}

/// What is known of the draw after this call: learned from one fall of the joules shown to the next.
private func followDrain(
    _ table: PowerTable, _ state: DeviceState, _ memory: Memory, _ nowS: Double, _ timed: Bool
) -> Drain {
    let before = memory.drain
    var after = Drain(
        shownJ: shownJ(table, state), counted: state.knownEnergy != nil, baseJ: before.baseJ, baseS: before.baseS)
    guard let now = after.shownJ, let then = before.shownJ, after.counted == before.counted, !state.charging, timed
    else {
        return after
    }
    let fellJ = then - now, usedJ = before.usedJ + memory.usedJ
    if fellJ == 0 {
        (after.sinceS, after.usedJ) = (before.sinceS, usedJ)
        return after
    }
    let largest = largestStep + (nowS - memory.nowS) / fastestDrainS
    guard fellJ > 0, let capacityJ = table.capacityJ, fellJ <= largest * capacityJ else { return after }
    after.sinceS = nowS
    guard let since = before.sinceS, nowS > since else { return after }
    let baseJ = before.baseJ + fellJ - usedJ, baseS = before.baseS + nowS - since
    let kept = min(1, longestMeanS / baseS)
    (after.baseJ, after.baseS) = (kept * baseJ, kept * baseS)
    return after
}

/// Down the upper hull of rows to the first that takes at most `budget` joules an image: the accuracy lost a joule saved
/// on the last step, 0 without one, and that row's number.
private func priceOf(_ budget: Double, _ rows: [Known]) -> (Double, Int) {
    var now = mostAccurate(rows), price = 0.0
    while now.energyJ > budget {
        let cheaper = rows.filter { $0.energyJ < now.energyJ }
        if cheaper.isEmpty { break }
        let slope = { (row: Known) in (now.accuracy - row.accuracy) / (now.energyJ - row.energyJ) }
        let next = smallest(cheaper) { (slope($0), $0.energyJ) }
        (now, price) = (next, slope(next))
    }
    return (price, now.row)
}

/// The sum as if it were of infinite precision, rounded once (J. R. Shewchuk, 1997).
func exactSum(_ values: [Double]) -> Double {
    var parts: [Double] = []  // that do not overlap, by rising size
    for value in values {
        var carried = value
        var kept: [Double] = []
        for part in parts {
            let (large, small) = abs(carried) < abs(part) ? (part, carried) : (carried, part)
            carried = large + small
            let lost = small - (carried - large)
            if lost != 0 { kept.append(lost) }
        }
        parts = kept + [carried]
    }
    return parts.reduce(0, +)
}
