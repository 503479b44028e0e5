import Foundation

// The exit rule. Normative: docs/exit-rule.md. Pure functions of logits, thresholds and the device's cap, in float32.

/// The stage whose logits count, and its answer; `degraded` when it is not the last one that ran.
public struct Decision: Sendable, Equatable {
    public let exit: Int
    public let label: Int
    public let confidence: Float
    public let degraded: Bool
}

public enum Confidence {
    /// How sure (classes,) float32 logits are, in 0...1; NaN where a scaled logit is not finite.
    ///
    /// By `measure` of p = softmax(logits / temperature): its largest value, the largest less the second largest, or
    /// 1 - H(p) / log(classes). One class is certain by the last two.
    public static func of(_ logits: [Float], temperature: Double = 1, measure: Measure = .maxSoftmax) -> Float {
        let scaled = logits.map { $0 / Float(temperature) }
        return scaled.allSatisfy(\.isFinite) ? howSure(scaled, measure) : .nan
    }

    /// The measure of (classes,) finite scaled logits; NaN of none.
    private static func howSure(_ scaled: [Float], _ measure: Measure) -> Float {
        guard let top = scaled.max() else { return .nan }
        let below = scaled.map { $0 - top }
        let powers = below.map { exp($0) }
        let total = sum(powers[...])
        switch measure {
        case .maxSoftmax: return 1 / total
        case .margin: return (1 - secondLargest(powers)) / total
        case .entropy:
            if scaled.count == 1 { return 1 }
            let weighted = sum(zip(powers, below).map { $0 > 0 ? $0 * $1 : 0 }[...])
            let entropy = log(total) - weighted / total
            return min(max(1 - entropy / log(Float(scaled.count)), 0), 1)
        }
    }

    /// By halves: from left to right, a thousand equal terms lose the fifth digit.
    private static func sum(_ terms: ArraySlice<Float>) -> Float {
        if terms.count <= 8 { return terms.reduce(0, +) }
        let middle = terms.startIndex + terms.count / 2
        return sum(terms[..<middle]) + sum(terms[middle...])
    }

    /// Equal to the largest where two are tied; 0 of one class.
    private static func secondLargest(_ powers: [Float]) -> Float {
        var (largest, second) = (Float(0), Float(0))
        for power in powers {
            if power > largest { (largest, second) = (power, largest) } else { second = max(second, power) }
        }
        return second
    }
}

public enum ExitRule {
    /// Index of the last stage that may run under a cap; below 0 counts as 0, beyond the end as none.
    public static func lastStage(_ cap: Int?, _ stages: Int) -> Int {
        cap.map { max(0, min($0, stages - 1)) } ?? stages - 1
    }

    /// The index of the largest of (classes,) logits; of equal ones the lowest.
    public static func label(_ logits: [Float]) -> Int {
        logits.indices.reduce(0) { logits[$1] > logits[$0] ? $1 : $0 }
    }

    /// Whether inference stops after `stage`, whose confidence is `value`. A NaN is not >= anything.
    public static func leaves(_ value: Float, _ stage: Int, _ thresholds: [Double], _ last: Int) -> Bool {
        stage >= last || value >= Float(thresholds[stage])
    }

    /// The answer, from the confidence and label of every stage that ran: the latest finite one.
    ///
    /// Throws a `NotFiniteError` when none is finite.
    public static func decide(_ values: [Float], _ labels: [Int]) throws(DvtEdgeError) -> Decision {
        guard let exit = values.lastIndex(where: \.isFinite) else {
            throw DvtEdgeError(.notFinite, "none of the \(values.count) exits that ran gave finite logits")
        }
        return Decision(exit: exit, label: labels[exit], confidence: values[exit], degraded: exit < values.count - 1)
    }
}
