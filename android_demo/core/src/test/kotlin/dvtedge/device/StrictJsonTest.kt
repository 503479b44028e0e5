package dvtedge.device

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows

/** One dialect of JSON in all languages, whatever a platform's own parser takes. */
class StrictJsonTest {
    @TestFactory
    fun golden() =
        tests(golden("json/index.json")["cases"].list, { it["name"].string }) { case ->
            if (case["accepted"].boolean) {
                val value = parseJson(contentOf(case), "x")
                if (case.has("value")) assertEquals(case["value"].value, value)
            } else {
                val error = assertThrows<SchemaError> { parseJson(contentOf(case), "x") }
                assertTrue(error.message!!.length < 300 && '\n' !in error.message!!)
            }
        }

    /** Every text of up to five of a number's characters is a number exactly where RFC 8259 says so. */
    @Test
    fun numbers() {
        val grammar = Regex("""-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?""")
        var texts = listOf("")
        repeat(5) {
            texts = texts.flatMap { text -> "-+.eE01".map { text + it } }
            for (text in texts) assertEquals(grammar.matches(text), isNumber(text), text)
        }
        assertEquals(-12.5e-1, parseJson("-12.5e-1".toByteArray(), "x"))
    }

    private fun isNumber(text: String): Boolean =
        try {
            parseJson("[$text]".toByteArray(), "x").let { true }
        } catch (error: SchemaError) {
            "not finite" in error.message.orEmpty() || "beyond" in error.message.orEmpty()
        }

    private fun contentOf(case: Json): ByteArray =
        when {
            case.has("hex") -> {
                case["hex"]
                    .string
                    .chunked(2)
                    .map { it.toInt(16).toByte() }
                    .toByteArray()
            }

            case.has("text") -> {
                case["text"].string.toByteArray()
            }

            else -> {
                case["pieces"].list.joinToString("") { it.list[0].string.repeat(it.list[1].int) }.toByteArray()
            }
        }
}
