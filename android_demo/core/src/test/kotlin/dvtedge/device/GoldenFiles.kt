package dvtedge.device

import org.junit.jupiter.api.Assertions.fail
import org.junit.jupiter.api.Assumptions.abort
import org.junit.jupiter.api.DynamicTest
import java.io.File

/** The golden files of all languages, found and not copied. */
val GOLDEN = File(System.getProperty("golden"))

/** The shipped cascade's bundle for [target], which `check.sh` exports. Without one, tests are skipped; in CI they fail. */
fun exportedBundle(target: String): File {
    val folder = File(System.getProperty("bundles"), target)
    if (folder.isDirectory) return folder
    val words = "no bundle at $folder: android_demo/check.sh exports it"
    return if (System.getenv("CI") == null) abort(words) else fail(words)
}

/** A JSON value of a golden file. */
class Json(
    val value: Any?,
) {
    operator fun get(name: String) = Json((value as Map<*, *>)[name])

    fun has(name: String) = name in value as Map<*, *>

    val list get() = (value as List<*>).map(::Json)
    val string get() = value as String
    val int get() = (value as Long).toInt()
    val long get() = value as Long
    val boolean get() = value as Boolean

    /** JSON has no NaN or infinity: they stand as strings. */
    val double: Double
        get() =
            when (value) {
                is Long -> value.toDouble()
                is String -> SPECIAL.getValue(value.lowercase())
                else -> value as Double
            }
    val doubles get() = list.map { it.double }
    val floats get() = FloatArray(list.size) { list[it].double.toFloat() }

    fun <T> orNull(read: Json.() -> T): T? = if (value == null) null else read()

    companion object {
        private val SPECIAL =
            mapOf(
                "nan" to Double.NaN,
                "inf" to Double.POSITIVE_INFINITY,
                "infinity" to Double.POSITIVE_INFINITY,
                "-inf" to Double.NEGATIVE_INFINITY,
                "-infinity" to Double.NEGATIVE_INFINITY,
            )
    }
}

fun golden(path: String) = Json(parseJson(File(GOLDEN, path).readBytes(), path))

/** A test for each of a golden file's cases. */
fun tests(
    cases: List<Json>,
    name: (Json) -> String,
    test: (Json) -> Unit,
): List<DynamicTest> {
    check(cases.isNotEmpty())
    return cases.map { case -> DynamicTest.dynamicTest(name(case)) { test(case) } }
}

/** The name of the error that [call] ends with, null where it ends well. Anything that is not ours fails the test. */
fun errorOf(call: () -> Unit): String? =
    try {
        call()
        null
    } catch (error: DvtEdgeError) {
        error.name
    }
