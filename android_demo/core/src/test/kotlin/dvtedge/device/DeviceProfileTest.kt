package dvtedge.device

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import java.io.File

/** Joules and seconds of a device profile are those that the simulator counts with. */
class DeviceProfileTest {
    private val golden = golden("device_profile.json")
    private val profile = fromJson(DeviceProfile.serializer(), golden["profile"].value, "profile")

    @TestFactory
    fun costs() =
        tests(golden["cases"].list, { "${it["target"].string} ${it["stage_macs"].value}" }) { case ->
            val macs = case["stage_macs"].list.map { it.long }
            val read = { profile.costs(macs, case["artifact_sha256"].string, case["target"].string) }
            if (case.has("error")) {
                assertEquals(case["error"].string, errorOf { read() })
            } else {
                val found = read()
                assertEquals(case["basis"].string, found.basis.name.lowercase())
                same(case["exit_s"].doubles, found.exitS)
                same(case["exit_j"].doubles, found.exitJ)
                same(listOf(case["capacity_j"].double), listOf(profile.battery.joules))
                same(listOf(case["base_w"].double), listOf(profile.baseW(case["screen"].double)))
            }
        }

    @TestFactory
    fun refused() =
        tests(golden["bad"].list, { it["name"].string }) { case ->
            assertThrows<SchemaError> { fromJson(DeviceProfile.serializer(), case["profile"].value, "profile") }
        }

    /** The one that the app comes with is read, and gives the policy's table. */
    @Test
    fun shipped() {
        val file = File(GOLDEN, "../../build/android/assets/profile.json")
        val profile = parseProfile(file.readBytes(), file.name)
        val points = CascadeBundle.open(File(GOLDEN, "bundles/good-stored.zip")).manifest.provedPoints
        val costs = profile.costs(listOf(1, 2, 3), "", "onnx-int8")
        val table = profile.powerTable(points, costs, screen = 1.0)
        assertEquals("phone-cpu", profile.name)
        assertEquals(listOf(3, 1.45, 4575 * 3.6 * 3.87), listOf(table.stages, table.baseW, table.capacityJ))
        assertEquals(costs.exitJ, table.exitJ)
    }

    private fun same(
        expected: List<Double>,
        found: List<Double>,
    ) {
        assertEquals(expected.size, found.size)
        expected.zip(found) { a, b -> assertEquals(a, b, 1e-12 * a) }
    }
}
