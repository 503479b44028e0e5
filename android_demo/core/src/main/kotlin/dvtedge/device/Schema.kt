@file:OptIn(ExperimentalSerializationApi::class)

package dvtedge.device

import kotlinx.serialization.DeserializationStrategy
import kotlinx.serialization.ExperimentalSerializationApi
import kotlinx.serialization.KSerializer
import kotlinx.serialization.descriptors.SerialDescriptor
import kotlinx.serialization.descriptors.StructureKind
import kotlinx.serialization.descriptors.buildClassSerialDescriptor
import kotlinx.serialization.descriptors.elementNames
import kotlinx.serialization.encoding.AbstractDecoder
import kotlinx.serialization.encoding.CompositeDecoder
import kotlinx.serialization.encoding.Decoder
import kotlinx.serialization.encoding.Encoder
import kotlinx.serialization.modules.EmptySerializersModule
import kotlinx.serialization.modules.SerializersModule

/**
 * [value], as [parseJson] gives it, as a serializable class: its fields in snake_case, and no others.
 *
 * Types are checked here field by field, rules across fields in a class's `init`. kotlinx.serialization's own JSON takes
 * quoted numbers, `1e3` for an integer and keys that stand twice. Throws [SchemaError] naming the place.
 */
internal fun <T> fromJson(
    kind: DeserializationStrategy<T>,
    value: Any?,
    where: String,
): T = ValueDecoder(value, where).decodeSerializableValue(kind)

private class Part(
    val index: Int,
    val value: Any?,
    val where: String,
)

/** Decodes [value], or, inside an object or list, its [parts] one after another. */
internal class ValueDecoder private constructor(
    private var value: Any?,
    private var where: String,
    private val parts: List<Part>,
) : AbstractDecoder() {
    private var next = 0
    override val serializersModule: SerializersModule = EmptySerializersModule()

    constructor(value: Any?, where: String) : this(value, where, emptyList())

    /** The value as it is, for a field that is free. */
    fun freeObject(): Map<String, Any?> = typed("an object")

    override fun decodeElementIndex(descriptor: SerialDescriptor): Int {
        if (next == parts.size) return CompositeDecoder.DECODE_DONE
        val part = parts[next++]
        value = part.value
        where = part.where
        return part.index
    }

    override fun beginStructure(descriptor: SerialDescriptor): CompositeDecoder {
        val inside =
            when (descriptor.kind) {
                StructureKind.LIST -> typed<List<Any?>>("a list").mapIndexed { k, item -> Part(k, item, "$where[$k]") }
                StructureKind.MAP -> typed<Map<String, Any?>>("an object").entries.flatMapIndexed(::entry)
                else -> fields(descriptor)
            }
        return ValueDecoder(value, where, inside)
    }

    private fun entry(
        number: Int,
        entry: Map.Entry<String, Any?>,
    ) = listOf(
        Part(2 * number, entry.key, where),
        Part(2 * number + 1, entry.value, "$where.${shorten(entry.key)}"),
    )

    private fun fields(descriptor: SerialDescriptor): List<Part> {
        val found = typed<Map<String, Any?>>("an object")
        val names = descriptor.elementNames.map(::snakeCase)
        (found.keys - names.toSet()).minOrNull()?.let { throw SchemaError("$where: unknown field ${shorten(it)}") }
        val lacking = names.indices.find { names[it] !in found && !descriptor.isElementOptional(it) }
        if (lacking != null) throw SchemaError("$where: the field '${names[lacking]}' is missing")
        return names.indices.filter { names[it] in found }.map { Part(it, found[names[it]], "$where.${names[it]}") }
    }

    /** Throws [SchemaError] for a rule across fields, which a class's `init` throws as an IllegalArgumentException. */
    override fun <T> decodeSerializableValue(deserializer: DeserializationStrategy<T>): T =
        try {
            super.decodeSerializableValue(deserializer)
        } catch (error: IllegalArgumentException) {
            throw SchemaError("$where: ${error.message}", error)
        }

    override fun decodeNotNullMark() = value != null

    override fun decodeString(): String = typed("a string")

    override fun decodeBoolean(): Boolean = typed("true or false")

    override fun decodeLong(): Long = typed("an integer")

    /** An integer beyond 32 bits counts as the largest: a cap on stages is none then, and a side too long. */
    override fun decodeInt(): Int = decodeLong().coerceIn(Int.MIN_VALUE.toLong(), Int.MAX_VALUE.toLong()).toInt()

    override fun decodeDouble(): Double = (value as? Long)?.toDouble() ?: typed("a number")

    override fun decodeEnum(enumDescriptor: SerialDescriptor): Int {
        val names = enumDescriptor.elementNames.toList()
        return names.indexOf(value).also { if (it < 0) refuse(names.joinToString(" or ") { name -> "'$name'" }) }
    }

    private inline fun <reified T> typed(expected: String): T = value as? T ?: refuse(expected)

    private fun refuse(expected: String): Nothing = throw SchemaError("$where: found ${shorten(value)}; expected $expected")
}

/** An object of any fields. */
internal object FreeObject : KSerializer<Map<String, Any?>> {
    override val descriptor: SerialDescriptor = buildClassSerialDescriptor("dvtedge.FreeObject")

    override fun deserialize(decoder: Decoder): Map<String, Any?> = (decoder as ValueDecoder).freeObject()

    override fun serialize(
        encoder: Encoder,
        value: Map<String, Any?>,
    ) = throw UnsupportedOperationException("manifests are written by dvt-edge")
}

/** `exitShares` as `exit_shares`. */
internal fun snakeCase(name: String): String = name.replace(CAPITAL) { "_" + it.value.lowercase() }

private val CAPITAL = Regex("[A-Z]")
