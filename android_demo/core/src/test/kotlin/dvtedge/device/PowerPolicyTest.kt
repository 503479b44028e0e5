package dvtedge.device

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import kotlin.math.abs
import kotlin.random.Random

/** The power policy of docs/power-policy.md, case by case and for any state. */
class PowerPolicyTest {
    private val golden = golden("power_policy.json")
    private val tolerance = golden["tolerance"].double
    private val table =
        PowerTable(
            golden["table"]["stages"].int,
            golden["table"]["rows"].list.map { fromJson(PointRow.serializer(), it.value, "row") },
            null,
            golden["table"]["capacity_j"].double,
            golden["table"]["base_w"].double,
        )

    @TestFactory
    fun choices() =
        tests(golden["cases"].list, { it["name"].string }) { case ->
            val policy = fromJson(PowerPolicy.serializer(), case["policy"].value, "policy")
            val table = if (case.has("certified")) certified(case["certified"].list.map { it.string }) else table
            var memory = Memory()
            for (step in case["steps"].list) {
                if (step.has("used")) memory = used(memory, step["used"]["images"].long, step["used"]["energy_j"].double)
                val (choice, next) = choose(policy, table, stateOf(step["state"]), memory)
                memory = next
                val expected = step["expected"]
                assertEquals(choiceOf(expected), choice)
                if (expected.has("queue_j")) near(expected["queue_j"].orNull { double }, memory.queueJ)
                if (expected.has("base_w")) near(expected["base_w"].double, baseDraw(policy, table, memory.drain))
            }
        }

    private fun certified(names: List<String>) = table.copy(rows = table.rows.map { it.copy(certified = it.name in names) })

    private fun stateOf(json: Json): DeviceState {
        fun <T> field(
            name: String,
            read: Json.() -> T,
        ) = if (json.has(name)) json[name].orNull(read) else null
        return DeviceState(
            field("max_stage") { int },
            field("battery_level") { double },
            field("charging") { boolean } ?: false,
            field("low_power") { boolean } ?: false,
            field("thermal") { Thermal.valueOf(string.uppercase()) } ?: Thermal.NOMINAL,
            field("lifetime_s") { double },
            field("time_s") { double },
            field("energy_left_j") { double },
        )
    }

    private fun choiceOf(json: Json) = Choice(json["point"].string, json["max_stage"].orNull { int }, json["uncertified"].boolean)

    private fun near(
        expected: Double?,
        found: Double?,
    ) {
        if (expected == null || found == null) return assertEquals(expected, found)
        assertTrue(abs(found - expected) <= tolerance * maxOf(abs(expected), 1e-3), "$found; expected $expected")
    }

    @TestFactory
    fun costs() =
        tests(golden["costs"]["cases"].list, { it.value.toString() }) { case ->
            val joules = case["exit_j"].orNull { doubles }
            near(
                case["cost"].double,
                meanCost(
                    table.copy(exitJ = joules),
                    Choice(
                        case["point"].string,
                        case["max_stage"].orNull {
                            int
                        },
                        true,
                    ),
                ),
            )
        }

    @TestFactory
    fun tables() =
        tests(golden["tables"]["cases"].list, { it.value.toString() }) { case ->
            val points = golden["tables"]["points"].list.map(::pointOf)
            val rows = powerTable(points, case["exit_j"].orNull { doubles }).rows
            assertEquals(golden["tables"]["accuracy"].doubles, rows.map { it.accuracy })
            assertEquals(golden["tables"]["points"].list.map { it["certified"].boolean }, rows.map { it.certified })
            case["energy_j"].list.zip(rows) { energy, row -> near(energy.orNull { double }, row.energyJ) }
        }

    /** A sum that float64 loses when it is taken from left to right. */
    @Test
    fun exactSums() {
        assertEquals(1.0, exactSum(listOf(1e16, 1.0, -1e16)))
        assertEquals(1.0, exactSum(List(10) { 0.1 }))
        assertEquals(0.0, exactSum(emptyList()))
        val ten = pointOf(golden["tables"]["points"].list[0]).copy(thresholds = List(10) { 0.0 }, exitShares = List(10) { 0.1 })
        assertEquals(1.0, powerTable(listOf(ten), List(10) { 1.0 }).rows.single().energyJ)
    }

    private fun pointOf(json: Json): OperatingPoint {
        val thresholds = listOf(0.5, 0.5, 0.0)
        val proved =
            Certificate(
                Risk.DISAGREEMENT,
                Method.ALWAYS_LAST,
                0.0,
                0.0,
                0,
                "",
                "",
                thresholds,
                Measure.MAX_SOFTMAX,
                thresholds,
                1,
            )
        return OperatingPoint(
            json["name"].string,
            thresholds,
            json["exit_shares"].doubles,
            1.0,
            json["agreement"].double,
            json["top1"].orNull { double },
            10,
            "given",
            expectedTop1 = json["expected_top1"].orNull { double },
            certificate = proved.takeIf { json["certified"].boolean },
        )
    }

    /** Whatever a device says and however its clock runs: a point of the table, and without a certificate none where one is. */
    @Test
    fun anyStateGivesAChoice() {
        val random = Random(4)
        repeat(2_000) {
            val names = table.rows.map { it.name }
            val proved = names.filter { random.nextBoolean() }
            val policy =
                PowerPolicy(
                    names.random(random),
                    List(
                        random.nextInt(4),
                    ) { Rule(names.random(random), random.nextInt(5), thermalAtLeast = Thermal.entries.random(random)) },
                    EnergyQueue(random.nextDouble(1.0, 4000.0)).takeIf { random.nextBoolean() },
                    allowUncertified = random.nextBoolean(),
                )
            var memory = Memory()
            repeat(20) {
                memory = used(memory, random.nextLong(100), anyDouble(random))
                val (choice, next) = choose(policy, certified(proved), anyState(random), memory)
                assertTrue(choice.point in names)
                if (!policy.allowUncertified && proved.isNotEmpty()) assertTrue(choice.point in proved && choice.maxStage == null)
                assertTrue(next.queueJ.let { it == null || (it >= 0 && it.isFinite()) })
                memory = next
            }
        }
    }

    private fun anyState(random: Random) =
        DeviceState(
            null,
            anyDouble(random),
            random.nextBoolean(),
            random.nextBoolean(),
            Thermal.entries.random(random),
            anyDouble(random),
            anyDouble(random),
            anyDouble(random),
        )

    private fun anyDouble(random: Random): Double =
        when (random.nextInt(4)) {
            0 -> listOf(Double.NaN, Double.POSITIVE_INFINITY, -1.0, 0.0, 5e-324, 1e300).random(random)
            1 -> random.nextDouble()
            else -> random.nextDouble(0.0, 1e5)
        }
}
