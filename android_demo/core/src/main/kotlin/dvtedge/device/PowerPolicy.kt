package dvtedge.device

import kotlinx.serialization.Serializable
import java.math.BigDecimal
import kotlin.math.max
import kotlin.math.min

private const val LONGEST_STEP_S = 86400.0 // between two calls: a clock that leaps further has been set
private const val LONGEST_MEAN_S = 86400.0 // over which the draw is averaged
private const val LARGEST_STEP = 0.06 // of a full battery: the coarsest steps in which a level is learned from
private const val FASTEST_DRAIN_S = 3600.0 // in which no device empties a full battery

/** The operating point and cap for states in which every condition that is not null holds. */
@Serializable
data class Rule(
    val point: String,
    val maxStage: Int? = null,
    val batteryBelow: Double? = null, // a fraction; does not hold where the level is unknown
    val charging: Boolean? = null,
    val lowPower: Boolean? = null,
    val thermalAtLeast: Thermal? = null,
) {
    init {
        require(batteryBelow == null || (batteryBelow > 0 && batteryBelow <= 1)) {
            "battery_below $batteryBelow; expected above 0 and at most 1"
        }
        require(maxStage == null || maxStage >= 0) { "max_stage $maxStage; expected 0 or more" }
    }
}

/**
 * How patiently a lifetime target is held: [windowS] is the time over which the queue averages; [imagesPerS] the mean rate
 * expected until the target, null to learn it.
 */
@Serializable
data class EnergyQueue(
    val windowS: Double = 1800.0,
    val imagesPerS: Double? = null,
) {
    init {
        require(windowS.isFinite() && windowS > 0) { "window_s $windowS; expected above 0" }
        require(imagesPerS == null || (imagesPerS.isFinite() && imagesPerS > 0)) {
            "images_per_s $imagesPerS; expected above 0 or null"
        }
    }
}

/** Rules in order, the first that matches wins; then the queue, where it can decide; then [otherwise]. */
@Serializable
data class PowerPolicy(
    val otherwise: String, // an operating point
    val rules: List<Rule> = emptyList(),
    val queue: EnergyQueue? = null,
    val hysteresis: Double = 0.03, // a battery rule that holds is left only at battery_below + hysteresis
    val dwellS: Double = 60.0, // at least so long between a change and a move to something costlier
    val coolS: Double = 60.0, // a device counts as hot as it was at any time so long ago
    val allowUncertified: Boolean = false,
) {
    init {
        require(hysteresis >= 0 && hysteresis < 1) { "hysteresis $hysteresis; expected 0 <= hysteresis < 1" }
        for ((name, seconds) in listOf("dwell_s" to dwellS, "cool_s" to coolS)) {
            require(seconds.isFinite() && seconds >= 0) { "$name $seconds; expected 0 or more" }
        }
    }

    /** Every operating point it names. */
    val points: List<String> get() = (listOf(otherwise) + rules.map { it.point }).distinct()
}

/**
 * What a policy knows of an operating point. [exitShares] are the shares of images that leave at each exit, [energyJ] is
 * the mean joules an image takes on this device.
 */
@Serializable
data class PointRow(
    val name: String,
    val accuracy: Double,
    val certified: Boolean,
    val exitShares: List<Double>,
    val energyJ: Double? = null,
)

/**
 * What a policy knows of bundle and device. Rows are by rising cost. [exitJ] is the mean joules of an image that leaves at
 * each exit, [capacityJ] of a full battery; null where not known. [baseW] is the watts beside inference that are believed
 * before any are learned.
 */
data class PowerTable(
    val stages: Int,
    val rows: List<PointRow>,
    val exitJ: List<Double>? = null,
    val capacityJ: Double? = null,
    val baseW: Double = 0.0,
) {
    fun index(name: String): Int = rows.indexOfFirst { it.name == name }
}

/** [uncertified] says that no certificate covers the answers: an uncertified point, or a cap below its exits. */
data class Choice(
    val point: String,
    val maxStage: Int?,
    val uncertified: Boolean,
)

/** What the battery showed: from it the watts beside inference are learned. */
data class Drain(
    val shownJ: Double? = null, // the joules left at the last call
    val counted: Boolean = false, // by a counter, else by the level
    val sinceS: Double? = null, // when they last fell; null where that is not known
    val usedJ: Double = 0.0, // by images since then
    val baseJ: Double = 0.0, // beside images, of all that was learned from
    val baseS: Double = 0.0, // seconds of it
)

/** What the policy remembers; the caller keeps it. Start with `Memory()`. Times are seconds since the first call. */
data class Memory(
    val choice: Choice? = null,
    val rule: Int? = null, // the rule that held
    val sinceS: Double = 0.0, // when the choice last changed
    val nowS: Double = 0.0, // of the last call
    val clockS: Double? = null, // the last time that the device's clock showed
    val hotS: List<Double> = List(3) { Double.NEGATIVE_INFINITY }, // when it was last fair, serious, critical, or hotter
    val seen: Long = 0, // images since the first call
    val images: Long = 0, // images since the last call
    val usedJ: Double = 0.0, // joules they took
    val queueJ: Double? = null,
    val drain: Drain = Drain(),
)

/** The table of a bundle's points ([Manifest.provedPoints]) on a device: see [PowerTable]. */
fun powerTable(
    points: List<OperatingPoint>,
    exitJ: List<Double>? = null,
    capacityJ: Double? = null,
    baseW: Double = 0.0,
): PowerTable {
    fun energy(point: OperatingPoint) = exitJ?.let { exactSum(point.exitShares.zip(it, Double::times)) }

    fun row(point: OperatingPoint): PointRow {
        val accuracy = point.expectedTop1 ?: point.top1 ?: point.agreement
        return PointRow(point.name, accuracy, point.certificate != null, point.exitShares, energy(point))
    }
    return PowerTable(points[0].thresholds.size, points.map(::row), exitJ, capacityJ, baseW)
}

/** The memory after [images] more images that took [energyJ] joules together: 0 where that is no number above. */
fun used(
    memory: Memory,
    images: Long,
    energyJ: Double,
): Memory {
    val joules = if (energyJ.isFinite() && energyJ > 0) energyJ else 0.0
    return memory.copy(seen = memory.seen + images, images = memory.images + images, usedJ = memory.usedJ + joules)
}

/** The operating point and cap for now, and the memory for the next call. */
fun choose(
    policy: PowerPolicy,
    table: PowerTable,
    state: DeviceState,
    memory: Memory,
): Pair<Choice, Memory> {
    val allowed = allowedRows(policy, table)
    val (stepS, timed) = stepOf(state, memory)
    val nowS = memory.nowS + stepS
    val heat = state.thermal.ordinal
    val hotS = List(heat) { nowS } + memory.hotS.drop(heat)
    val drain = followDrain(table, state, memory, nowS, timed)
    val (queueJ, adaptive) = followQueue(policy, table, allowed, state, memory, nowS, drain)
    val held = matchingRule(policy, state, heldThermal(policy, state, hotS, nowS), memory.rule)
    val rule = held?.let { policy.rules[it] }
    var wanted = if (rule != null) table.index(rule.point) else adaptive ?: table.index(policy.otherwise)
    var cap = rule?.maxStage?.takeIf { it < table.stages - 1 }
    if (!policy.allowUncertified) {
        wanted = certifiedRow(allowed, wanted)
        cap = null
    }
    val row = table.rows[wanted]
    var choice = Choice(row.name, cap, uncertified = !row.certified || cap != null)
    var sinceS = memory.sinceS
    val before = memory.choice
    if (before == null) {
        sinceS = nowS
    } else if (choice != before) {
        val byHeat = rule?.thermalAtLeast != null
        if (costsMore(table, choice, before) && !byHeat && nowS - memory.sinceS < policy.dwellS) {
            choice = before
        } else {
            sinceS = nowS
        }
    }
    val clockS = state.knownTime ?: memory.clockS
    return choice to Memory(choice, held, sinceS, nowS, clockS, hotS, memory.seen, 0, 0.0, queueJ, drain)
}

/** Rows that may be chosen: all, or the certified ones, or the costliest where none is certified. */
fun allowedRows(
    policy: PowerPolicy,
    table: PowerTable,
): List<Int> {
    val rows = table.rows.indices
    if (policy.allowUncertified) return rows.toList()
    return rows.filter { table.rows[it].certified }.ifEmpty { listOf(rows.last) }
}

/** [wanted] if it is allowed, else the next costlier one that is, else the costliest that is. */
fun certifiedRow(
    allowed: List<Int>,
    wanted: Int,
): Int = allowed.find { it >= wanted } ?: allowed.last()

/** What an image takes on average, no stage after the cap: joules where they are known, else stages. */
fun meanCost(
    table: PowerTable,
    choice: Choice,
): Double {
    val last = choice.maxStage ?: (table.stages - 1)
    var total = 0.0
    table.rows[table.index(choice.point)].exitShares.forEachIndexed { exit, share ->
        val leaves = min(exit, last)
        total += share * (table.exitJ?.get(leaves) ?: (leaves + 1.0))
    }
    return total
}

/** Whether [a] takes more on average than [b], or as much at a later point of the table. */
private fun costsMore(
    table: PowerTable,
    a: Choice,
    b: Choice,
): Boolean {
    val (x, y) = meanCost(table, a) to meanCost(table, b)
    return x > y || (x == y && table.index(a.point) > table.index(b.point))
}

/** Seconds since the last call, and whether they are known: a clock that goes back or leaps ahead says nothing. */
private fun stepOf(
    state: DeviceState,
    memory: Memory,
): Pair<Double, Boolean> {
    val now = state.knownTime ?: return 0.0 to false
    val stepS = now - (memory.clockS ?: return 0.0 to false)
    return if (stepS >= 0 && stepS <= LONGEST_STEP_S) stepS to true else 0.0 to false
}

/** The hottest thermal state of the last `cool_s` seconds. */
private fun heldThermal(
    policy: PowerPolicy,
    state: DeviceState,
    hotS: List<Double>,
    nowS: Double,
): Thermal {
    val now = state.thermal.ordinal
    val hottest = (hotS.size downTo now + 1).find { nowS - hotS[it - 1] < policy.coolS }
    return Thermal.entries[hottest ?: now]
}

/** Index of the first rule whose conditions hold; [held] is the one that did before, for the hysteresis. */
private fun matchingRule(
    policy: PowerPolicy,
    state: DeviceState,
    thermal: Thermal,
    held: Int?,
): Int? =
    policy.rules.indices.find { index ->
        val rule = policy.rules[index]
        val margin = if (index == held) policy.hysteresis else 0.0
        val level = state.knownLevel
        (rule.batteryBelow == null || (level != null && level < rule.batteryBelow + margin)) &&
            (rule.charging == null || rule.charging == state.charging) &&
            (rule.lowPower == null || rule.lowPower == state.lowPower) &&
            (rule.thermalAtLeast == null || thermal >= rule.thermalAtLeast)
    }

/** The joules left as the battery shows them: by its counter, else by the level. */
private fun shownJ(
    table: PowerTable,
    state: DeviceState,
): Double? {
    val level = state.knownLevel
    return state.knownEnergy ?: if (level == null || table.capacityJ == null) null else level * table.capacityJ
}

/** What is known of the draw after this call: learned from one fall of the joules shown to the next. */
private fun followDrain(
    table: PowerTable,
    state: DeviceState,
    memory: Memory,
    nowS: Double,
    timed: Boolean,
): Drain {
    val before = memory.drain
    val shown = shownJ(table, state)
    val counted = state.knownEnergy != null
    val anew = Drain(shown, counted, null, 0.0, before.baseJ, before.baseS)
    if (shown == null || before.shownJ == null || counted != before.counted || state.charging || !timed) return anew
    val fellJ = before.shownJ - shown
    val usedJ = before.usedJ + memory.usedJ
    if (fellJ == 0.0) return anew.copy(sinceS = before.sinceS, usedJ = usedJ)
    val largest = LARGEST_STEP + (nowS - memory.nowS) / FASTEST_DRAIN_S
    if (fellJ < 0 || table.capacityJ == null || fellJ > largest * table.capacityJ) return anew
    if (before.sinceS == null || !(nowS > before.sinceS)) return anew.copy(sinceS = nowS)
    val baseJ = before.baseJ + fellJ - usedJ
    val baseS = before.baseS + nowS - before.sinceS
    val kept = min(1.0, LONGEST_MEAN_S / baseS)
    return Drain(shown, counted, nowS, 0.0, kept * baseJ, kept * baseS)
}

/** Watts beside inference: those believed count as much as `window_s` seconds of those learned. */
fun baseDraw(
    policy: PowerPolicy,
    table: PowerTable,
    drain: Drain,
): Double {
    val windowS = policy.queue?.windowS ?: 0.0
    if (drain.baseS == 0.0) return table.baseW
    return table.baseW + (drain.baseJ - table.baseW * drain.baseS) / (windowS + drain.baseS)
}

/** A point that the queue may choose: its place in the table. */
private class Candidate(
    val row: Int,
    val accuracy: Double,
    val joules: Double,
)

/** The most accurate; of equal ones that of fewer joules, then the first. */
private val BY_ACCURACY = compareBy<Candidate>({ it.accuracy }, { -it.joules })

/** Of fewest joules; of equal ones the more accurate, then the first. */
private val BY_JOULES = compareBy<Candidate>({ it.joules }, { -it.accuracy })

/** The energy queue in joules after what was used, and the row it asks for: null where it cannot decide. */
private fun followQueue(
    policy: PowerPolicy,
    table: PowerTable,
    allowed: List<Int>,
    state: DeviceState,
    memory: Memory,
    nowS: Double,
    drain: Drain,
): Pair<Double?, Int?> {
    val undecided = memory.queueJ to null
    val known = allowed.mapNotNull { row -> table.rows[row].energyJ?.let { Candidate(row, table.rows[row].accuracy, it) } }
    val queue = policy.queue
    val leftJ = drain.shownJ
    val left = state.knownLifetime
    if (queue == null || leftJ == null || left == null || known.size < allowed.size) return undecided
    val rate = queue.imagesPerS ?: if (nowS > 0) memory.seen / nowS else 0.0
    val cheapest = known.minWith(BY_JOULES)
    val best = known.maxWith(BY_ACCURACY)
    val gain = best.accuracy - cheapest.accuracy
    val span = best.joules - cheapest.joules
    if (gain <= 0) return memory.queueJ to cheapest.row
    if (rate == 0.0) return memory.queueJ to best.row
    val images = rate * left
    if (!(images > 0 && images.isFinite())) return undecided
    val budget = (leftJ - baseDraw(policy, table, drain) * left) / images // J
    val weight = queue.windowS * rate * span * span / gain // V, in J^2
    val dearer = known.filter { it.joules > cheapest.joules }
    val steepest = dearer.maxOf { (it.accuracy - cheapest.accuracy) / (it.joules - cheapest.joules) }
    if (!budget.isFinite() || !(2 * weight * steepest).isFinite()) return undecided
    if (memory.queueJ == null) {
        val (price, row) = priceOf(budget, known)
        return weight * price to row
    }
    val queueJ = min(max(0.0, memory.queueJ + memory.usedJ - memory.images * budget), 2 * weight * steepest)
    val wanted = known.maxWith(compareBy({ weight * it.accuracy - queueJ * it.joules }, { -it.joules }))
    return queueJ to wanted.row
}

/**
 * Down the upper hull of [candidates] to the first that takes at most [budget] joules an image: the accuracy lost a joule
 * saved on the last step, 0 without one, and that row.
 */
private fun priceOf(
    budget: Double,
    candidates: List<Candidate>,
): Pair<Double, Int> {
    var at = candidates.maxWith(BY_ACCURACY)
    var price = 0.0
    while (at.joules > budget) {
        val from = at
        val slope = { to: Candidate -> (from.accuracy - to.accuracy) / (from.joules - to.joules) }
        at = candidates.filter { it.joules < from.joules }.minWithOrNull(compareBy({ slope(it) }, { it.joules })) ?: break
        price = slope(at)
    }
    return price to at.row
}

/** The sum as if it were of infinite precision, rounded once. The [values] are finite. */
internal fun exactSum(values: List<Double>): Double = values.map(::BigDecimal).fold(BigDecimal.ZERO, BigDecimal::add).toDouble()
