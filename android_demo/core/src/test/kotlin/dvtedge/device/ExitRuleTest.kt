package dvtedge.device

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import kotlin.random.Random

/** The exit rule of docs/exit-rule.md, case by case and for any logits. */
class ExitRuleTest {
    private val golden = golden("exit_rule.json")

    @TestFactory
    fun golden() =
        tests(golden["cases"].list, { it["name"].string }) { case ->
            if (case["expected"].value == "error") {
                assertThrows<NotFiniteError> { follow(case) }
                return@tests
            }
            val found = follow(case)
            val expected = case["expected"]
            assertEquals(expected["exit"].int, found.exit)
            assertEquals(expected["label"].int, found.label)
            assertEquals(expected["degraded"].boolean, found.degraded)
            assertEquals(expected["confidence"].double, found.confidence.toDouble(), golden["tolerance"].double)
        }

    private fun follow(case: Json): Decision {
        val measure = Measure.valueOf(case["measure"].string.uppercase())
        val rows = case["logits"].list.map { it.floats }
        val last = lastStage(case["max_stage"].orNull { int }, rows.size)
        val values = ArrayList<Float>()
        for (stage in rows.indices) {
            values += confidence(rows[stage], case["temperature"].doubles[stage], measure)
            if (leaves(values[stage], stage, case["thresholds"].doubles, last)) break
        }
        return decide(values, rows.map(::labelOf))
    }

    /** For any float32 whatever: a confidence in 0..1, or NaN where a logit is not finite. */
    @Test
    fun confidencesLieInTheirRange() {
        val random = Random(1)
        repeat(10_000) {
            val logits = FloatArray(random.nextInt(1, 12)) { anyFloat(random) }
            for (measure in Measure.entries) {
                val found = confidence(logits, 1.0, measure)
                if (logits.all(
                        Float::isFinite,
                    )
                ) {
                    assertTrue(found in 0f..1f, "$found of ${logits.toList()}")
                } else {
                    assertTrue(found.isNaN())
                }
            }
        }
    }

    /** The order of classes moves no confidence by more than rounding, and the label goes along. */
    @Test
    fun theOrderOfClassesDoesNotCount() {
        val random = Random(2)
        repeat(2_000) {
            val logits = List(10) { random.nextDouble(-20.0, 20.0).toFloat() }
            val order = logits.indices.shuffled(random)
            val moved = order.map { logits[it] }.toFloatArray()
            assertEquals(labelOf(logits.toFloatArray()), order[labelOf(moved)])
            for (measure in Measure.entries) {
                assertEquals(confidence(logits.toFloatArray(), 1.0, measure), confidence(moved, 1.0, measure), 1e-5f)
            }
        }
    }
}

/** Any bits, and often a value that is odd. */
fun anyFloat(random: Random): Float =
    if (random.nextInt(8) == 0) ODD[random.nextInt(ODD.size)] else Float.fromBits(random.nextInt())

private val ODD =
    listOf(0f, -0f, Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, Float.MAX_VALUE, Float.MIN_VALUE, 88.7f)
