@file:Suppress("ktlint:standard:filename")

package org.pytorch.executorch

import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder

/*
 * Hand-written signatures of what the app calls of org.pytorch:executorch-android 1.x, whose sources are
 * extension/android/executorch_android in github.com/pytorch/executorch. They hold the app's spelling, and prove nothing of the
 * engine: there is none behind them but what a test puts there. Gradle builds the app with the library itself, never with these.
 */

enum class DType { UINT8, INT8, INT16, INT32, INT64, HALF, FLOAT, DOUBLE }

/** Data in C order. As in the library, a buffer that is handed in is not copied, an array is. */
class Tensor private constructor(
    private val data: ByteBuffer,
    private val shape: LongArray,
    private val dtype: DType,
) {
    fun dtype(): DType = dtype

    fun shape(): LongArray = shape.copyOf()

    val dataAsFloatArray: FloatArray
        get() {
            check(dtype == DType.FLOAT) { "Tensor of type $dtype cannot return data as float array." }
            return data.asFloatBuffer().let { FloatArray(it.remaining()).also(it::get) }
        }

    val dataAsUnsignedByteArray: ByteArray
        get() {
            check(dtype == DType.UINT8) { "Tensor of type $dtype cannot return data as unsigned byte array." }
            return data.duplicate().let { ByteArray(it.capacity()).also(it::get) }
        }

    companion object {
        @JvmStatic
        fun fromBlobUnsigned(
            data: ByteBuffer,
            shape: LongArray,
        ): Tensor {
            require(data.isDirect) { "Data buffer must be direct (java.nio.ByteBuffer#allocateDirect)" }
            require(data.order() == ByteOrder.nativeOrder()) { "Data buffer must have native byte order" }
            require(data.capacity().toLong() == shape.fold(1L, Long::times)) { "Inconsistent data capacity" }
            return Tensor(data, shape.copyOf(), DType.UINT8)
        }

        @JvmStatic
        fun fromBlob(
            data: FloatArray,
            shape: LongArray,
        ): Tensor {
            require(data.size.toLong() == shape.fold(1L, Long::times)) { "Inconsistent data capacity" }
            val copy = ByteBuffer.allocateDirect(4 * data.size).order(ByteOrder.nativeOrder())
            copy.asFloatBuffer().put(data)
            return Tensor(copy, shape.copyOf(), DType.FLOAT)
        }
    }
}

class EValue private constructor(
    private val tensor: Tensor,
) {
    fun toTensor(): Tensor = tensor

    companion object {
        @JvmStatic
        fun from(tensor: Tensor): EValue = EValue(tensor)
    }
}

class MethodMetadata internal constructor(
    val name: String,
    val backends: Array<String>,
)

/** What a test puts behind [Module]; the library has no such thing. */
interface MadeUpProgram {
    val backends: Array<String>

    fun forward(inputs: List<EValue>): List<EValue>

    fun destroy()
}

class Module private constructor(
    private val program: MadeUpProgram,
) : Closeable {
    fun forward(vararg inputs: EValue): Array<EValue> = program.forward(inputs.toList()).toTypedArray()

    fun getMethodMetadata(name: String): MethodMetadata = MethodMetadata(name, program.backends)

    fun destroy() = program.destroy()

    override fun close() = destroy()

    companion object {
        const val LOAD_MODE_FILE = 0

        /** Not the library's: takes a path, a load mode and a number of threads. */
        var madeUp: ((String, Int, Int) -> MadeUpProgram)? = null

        @JvmStatic
        @JvmOverloads
        fun load(
            modelPath: String?,
            loadMode: Int = LOAD_MODE_FILE,
            numThreads: Int = 0,
        ): Module {
            val load = madeUp ?: throw UnsatisfiedLinkError("signatures of executorch-android without its library")
            return Module(load(modelPath!!, loadMode, numThreads))
        }
    }
}
