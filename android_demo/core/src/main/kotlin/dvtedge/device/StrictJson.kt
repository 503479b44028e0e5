package dvtedge.device

import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

internal const val MAX_INTEGER = (1L shl 53) - 1
internal const val MAX_NUMBER = 400 // characters
internal const val MAX_DEPTH = 64
internal const val MAX_JSON = 16 shl 20 // bytes
internal const val MAX_VALUES = 250_000 // commas and opening brackets outside strings: they bound the memory

private const val SPACE = " \t\n\r"
private val ESCAPES =
    mapOf(
        '"' to '"',
        '\\' to '\\',
        '/' to '/',
        'b' to '\b',
        'f' to '\u000c',
        'n' to '\n',
        'r' to '\r',
        't' to '\t',
    )
private val DIGITS = '0'..'9'

/**
 * One strict JSON value, of the dialect in docs/bundle.md, which is the same in every language.
 *
 * It is null, a Boolean, Long, Double, String, List or Map. Throws [SchemaError] that begins with [where].
 */
fun parseJson(
    content: ByteArray,
    where: String,
): Any? {
    if (content.size > MAX_JSON) throw SchemaError("$where: not JSON (${content.size} bytes; expected at most $MAX_JSON)")
    try {
        val text =
            Charsets.UTF_8
                .newDecoder()
                .decode(ByteBuffer.wrap(content))
                .toString()
        return StrictJson(text).whole()
    } catch (error: CharacterCodingException) {
        throw SchemaError("$where: not JSON (not UTF-8)", error)
    } catch (error: IllegalArgumentException) {
        throw SchemaError("$where: not JSON (${error.message})", error)
    }
}

/** A parser by descent; each function leaves [at] behind what it read. Throws IllegalArgumentException. */
private class StrictJson(
    private val text: String,
) {
    private var at = 0
    private var depth = 0
    private var values = 0

    fun whole(): Any? {
        val value = value()
        skipSpace()
        require(at == text.length) { "something after the value, at character $at" }
        return value
    }

    private fun value(): Any? {
        skipSpace()
        return when (val next = peek()) {
            '{' -> nested { fields() }
            '[' -> nested { items() }
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> if (next == '-' || next in DIGITS) number() else refuse("a value")
        }
    }

    private fun <T> nested(read: () -> T): T {
        depth += 1
        require(depth <= MAX_DEPTH) { "more than $MAX_DEPTH levels" }
        count()
        at += 1
        return read().also { depth -= 1 }
    }

    private fun fields(): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        parts('}') {
            if (peek() != '"') refuse("a key")
            val key = string()
            skipSpace()
            take(':')
            val value = value()
            require(key !in found) { "the key ${shorten(key)} stands twice" }
            found[key] = value
        }
        return found
    }

    private fun items(): List<Any?> = ArrayList<Any?>().also { found -> parts(']') { found += value() } }

    private fun parts(
        end: Char,
        part: () -> Unit,
    ) {
        skipSpace()
        if (peek() != end) {
            part()
            skipSpace()
            while (peek() == ',') {
                count()
                at += 1
                skipSpace()
                part()
                skipSpace()
            }
        }
        take(end)
    }

    private fun string(): String {
        take('"')
        val found = StringBuilder()
        while (true) {
            val next = peek() ?: refuse("the end of a string")
            at += 1
            when {
                next == '"' -> break
                next == '\\' -> found.append(escaped())
                next < ' ' -> throw IllegalArgumentException("a control character in a string, at character ${at - 1}")
                else -> found.append(next)
            }
        }
        require(isWellFormed(found)) { "a surrogate stands alone, before character $at" }
        return found.toString()
    }

    private fun escaped(): Char {
        val kind = peek()
        at += 1
        if (kind != 'u') return ESCAPES[kind] ?: refuse("an escape")
        val digits = text.substring(at, minOf(at + 4, text.length))
        require(digits.length == 4 && digits.all { it in '0'..'9' || it.lowercaseChar() in 'a'..'f' }) { "an escape \\u$digits" }
        at += 4
        return digits.toInt(16).toChar()
    }

    private fun number(): Any {
        val start = at
        skip("-")
        if (!skip("0")) digits()
        if (skip(".")) digits()
        if (skip("eE")) {
            skip("+-")
            digits()
        }
        val token = text.substring(start, at)
        require(token.length <= MAX_NUMBER) { "the number ${token.take(40)}... is too long" }
        if (token.none { it in ".eE" }) {
            val value = if (token.length <= 17) token.toLong() else Long.MAX_VALUE
            require(value in -MAX_INTEGER..MAX_INTEGER) { "the integer ${token.take(40)} is beyond 2^53 - 1" }
            return value
        }
        return token.toDouble().also { require(it.isFinite()) { "the number ${token.take(40)} is not finite in float64" } }
    }

    /** At least one digit, and all that follow it. */
    private fun digits() {
        if (peek() !in DIGITS) refuse("a digit")
        while (peek() in DIGITS) at += 1
    }

    /** Passes over the next character where it is one of [any]. */
    private fun skip(any: String): Boolean {
        val found = peek()?.let { it in any } == true
        if (found) at += 1
        return found
    }

    private fun <T> word(
        word: String,
        value: T,
    ): T {
        if (!text.startsWith(word, at)) refuse("a value")
        at += word.length
        return value
    }

    private fun count() {
        values += 1
        require(values <= MAX_VALUES) { "over $MAX_VALUES values" }
    }

    private fun peek(): Char? = text.getOrNull(at)

    private fun take(expected: Char) {
        if (peek() != expected) refuse("'$expected'")
        at += 1
    }

    private fun skipSpace() {
        while (at < text.length && text[at] in SPACE) at += 1
    }

    private fun refuse(expected: String): Nothing {
        val found = peek()?.let { "'$it'" } ?: "the end"
        throw IllegalArgumentException("found $found at character $at; expected $expected")
    }
}

/** Whether every surrogate of [text] is one of a pair. */
internal fun isWellFormed(text: CharSequence): Boolean {
    var at = 0
    while (at < text.length) {
        val pair = text[at].isHighSurrogate() && at + 1 < text.length && text[at + 1].isLowSurrogate()
        if (text[at].isSurrogate() && !pair) return false
        at += if (pair) 2 else 1
    }
    return true
}

/** A value of a file inside a message. */
internal fun shorten(value: Any?): String {
    val text = if (value is String) "'$value'" else value.toString()
    return if (text.length <= 60) text else text.take(57) + "..."
}
