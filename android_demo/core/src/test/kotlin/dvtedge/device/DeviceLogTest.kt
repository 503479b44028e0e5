package dvtedge.device

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.io.FileOutputStream
import java.io.IOException

/** The device log of docs/device-log.md: the same bytes in every language. */
class DeviceLogTest {
    @TempDir
    lateinit var folder: File

    private val golden = golden("device_log.json")
    private val expected = File(GOLDEN, "device_log.jsonl").readText().split("\n")

    @TestFactory
    fun lines() =
        tests(golden["records"].list.indices.map { Json(it.toLong()) }, { "record ${it.int}" }) { case ->
            val line = encode(recordOf(golden["records"].list[case.int]), case.long)
            assertEquals(expected[case.int + 1] + "\n", line.toString(Charsets.UTF_8))
        }

    /** Written one after another, whole and with the pixels beside it; what is there is not overwritten. */
    @Test
    fun aWholeFile() {
        val file = File(folder, "x.jsonl")
        LogWriter(file, headerOf(golden["header"])).use { log ->
            for (record in golden["records"].list.map(::recordOf)) {
                log.write(record)
                assertEquals('\n'.code.toByte(), file.readBytes().last())
            }
            assertEquals(listOf(0, 1), List(2) { log.writePixels(ByteArray(3) { _ -> it.toByte() }) })
        }
        assertArrayEquals(File(GOLDEN, "device_log.jsonl").readBytes(), file.readBytes())
        assertArrayEquals(byteArrayOf(0, 0, 0, 1, 1, 1), File(folder, "log.pixels").readBytes())
        assertThrows<IOException> { LogWriter(file, headerOf(golden["header"])) }
    }

    /** Where the log cannot be begun, neither of its files is left, and what was there before is. */
    @Test
    fun aLogThatCannotBeBegunLeavesNothing() {
        val file = File(folder, "x.jsonl")
        val header = headerOf(golden["header"])
        val taken = File(folder, checkNotNull(header.pixels)).also { it.writeText("kept") }
        assertThrows<IOException> { LogWriter(file, header) }
        assertEquals(listOf(taken), folder.listFiles()?.toList())
        assertEquals("kept", taken.readText())
        assertThrows<IllegalArgumentException> { LogWriter(file, header.copy(app = "x".repeat(1 shl 20))) }
        assertEquals(listOf(taken), folder.listFiles()?.toList())
    }

    /** What Python's reader and Swift's writer refuse. */
    @TestFactory
    fun headersThatNobodyReads(): List<DynamicTest> {
        val good = headerOf(golden["header"])
        val bad =
            listOf("", ".", "..", "a/b", "/x", "a\\b", "a\u0000").map<String, () -> Any> { { good.copy(pixels = it) } } +
                listOf("", "x", "A".repeat(64), "0".repeat(65)).flatMap<String, () -> Any> {
                    listOf({ good.copy(bundleSha256 = it) }, { good.copy(artifactSha256 = it) })
                } +
                listOf(0 to 3, 65 to 3, 2 to 0, 2 to (1 shl 17) + 1).map<Pair<Int, Int>, () -> Any> { (stages, classes) ->
                    { good.copy(stages = stages, classes = classes, backends = List(stages) { "cpu" }) }
                } + { good.copy(backends = emptyList()) }
        return bad.mapIndexed { index, made ->
            DynamicTest.dynamicTest("header $index") { assertThrows<IllegalArgumentException> { made() } }
        }
    }

    /** A number that JSON has not ends the record, not the log. */
    @Test
    fun whatIsNotFiniteIsNotWritten() {
        val file = File(folder, "x.jsonl")
        LogWriter(file, headerOf(golden["header"])).use { log ->
            assertThrows<IllegalArgumentException> { log.write(StateRecord(Double.NaN, true, true, false)) }
            log.write(StateRecord(1.0, true, true, false))
        }
        assertEquals(
            listOf(expected[0], """{"event":"idle","seq":0,"time_s":1.000000,"screen_on":true,"charging":false}""", ""),
            file.readText().split("\n"),
        )
    }

    /** A file that takes no more than so many bytes, as on a disk that becomes full. */
    private class Full(
        file: File,
        private var room: Int,
    ) : FileOutputStream(file) {
        override fun write(bytes: ByteArray) {
            val taken = minOf(room, bytes.size)
            super.write(bytes, 0, taken)
            room -= taken
            if (taken < bytes.size) throw IOException("No space left on device")
        }

        fun empty() {
            room = Int.MAX_VALUE
        }
    }

    /** Nothing follows a torn line or image, not even when there is room again. */
    @Test
    fun nothingIsWrittenAfterAWriteThatFailed() {
        val sample = StateRecord(1.0, idle = true, screenOn = true, charging = false)
        for (pixelsTorn in listOf(false, true)) {
            val file = File(folder, "$pixelsTorn.jsonl")
            val pixels = "$pixelsTorn.pixels"
            val header = headerOf(golden["header"]).copy(pixels = pixels)
            val size = encode(header).size
            val files = ArrayList<Full>()
            val room = mapOf(pixels to 4, file.name to size + if (pixelsTorn) 1000 else 10)
            LogWriter(file, header) { Full(it, room.getValue(it.name)).also(files::add) }.use { log ->
                assertEquals(0, log.writePixels(ByteArray(3)))
                val tearing: () -> Unit = { if (pixelsTorn) log.writePixels(ByteArray(3)) else log.write(sample) }
                assertEquals("No space left on device", assertThrows<IOException> { tearing() }.message)
                files.forEach(Full::empty)
                for (call in listOf({ log.write(sample) }, { log.writePixels(ByteArray(3)) })) {
                    val said = assertThrows<IOException> { call() }.message
                    val cause = "IOException: No space left on device"
                    assertEquals("$file: nothing is written after a write that failed ($cause)", said)
                }
            }
            assertEquals(if (pixelsTorn) size else size + 10, file.readBytes().size)
            assertEquals(if (pixelsTorn) 4 else 3, File(folder, pixels).readBytes().size)
        }
    }

    /** Half of a surrogate pair, which UTF-8 has not. */
    @Test
    fun loneSurrogatesAreReplaced() {
        val said = "\ud83d, \ude00, \ude00\ud83d, \ud83d\ud83d\ude00\ude00, \ud83d"
        val line = encode(ErrorRecord(1.0, "DataError", said)).toString(Charsets.UTF_8)
        assertTrue("\"message\":\"\ufffd, \ufffd, \ufffd\ufffd, \ufffd\ud83d\ude00\ufffd, \ufffd\"}" in line, line)
    }

    /** A line that no reader takes is not written. */
    @Test
    fun aLineOverOneMebibyteIsRefused() {
        val short = encode(ErrorRecord(1.0, "DataError", "")).size
        assertEquals(1 shl 20, encode(ErrorRecord(1.0, "DataError", "x".repeat((1 shl 20) - short))).size)
        assertThrows<IllegalArgumentException> { encode(ErrorRecord(1.0, "DataError", "x".repeat((1 shl 20) - short + 1))) }
    }

    /** An error's message names no file, neither ours nor those that an engine tells of; nor what a foreign error says. */
    @Test
    fun errorsNameNoFiles() {
        val foreign = IOException("/data/data/x/My model.onnx: gone")
        val cases =
            mapOf(
                BundleError("/data/user/0/My bundle.zip: 'labels.json' has 3 bytes") to "...: '...' has 3 bytes",
                EngineError("stage0: stage0.onnx did not run (${cause(foreign)})", foreign) to
                    "stage0: ... did not run (IOException)",
                DataError("an image of 3x4 in 0.5 bytes") to "an image of 3x4 in 0.5 bytes",
                foreign to "IOException",
                OutOfMemoryError("2 GB") to "OutOfMemoryError",
            )
        for ((error, message) in cases) {
            assertEquals(ErrorRecord(1.0, error.javaClass.simpleName, message, "7"), ErrorRecord.of(error, 1.0, "7"))
        }
    }

    /** Of a model that does not load neither the file's name is told, in whatever letters, nor what the engine says of it. */
    @Test
    fun anEnginesErrorNamesNoFile() {
        val stage = fakeBundle().manifest.stages[0]
        for (name in listOf("model.onnx", "modèle.onnx", "mode\u0300le.onnx", "模型-1.onnx", "модель.модель")) {
            val artifact = Artifact(name, mapOf(name to byteArrayOf(1, 2, 3)))
            val error = assertThrows<EngineError> { OnnxStageRunner.load(artifact, stage, "CPUExecutionProvider", 1) }
            val expected = "stage0: onnxruntime cannot load ... (OrtException)"
            assertEquals(ErrorRecord(1.0, "EngineError", expected, "7"), ErrorRecord.of(error, 1.0, "7"))
        }
    }

    private fun headerOf(json: Json) =
        LogHeader(
            json["bundle_sha256"].string,
            json["artifact_sha256"].string,
            json["target"].string,
            json["stages"].int,
            json["classes"].int,
            json["app"].string,
            json["engine"].string,
            json["device"].string,
            json["os"].string,
            json["backends"].list.map { it.string },
            json["threads"].int,
            PowerSource.valueOf(json["power_source"].string.uppercase()),
            json["units_checked"].list.map { it.string },
            json["every_stage"].boolean,
            json["data"].string,
            json["pixels"].string,
        )

    private fun recordOf(json: Json): Record {
        fun <T> field(
            name: String,
            read: Json.() -> T,
        ) = if (json.has(name)) json[name].orNull(read) else null
        val time = json["time_s"].double
        return when (json["event"].string) {
            "error" -> {
                ErrorRecord(time, json["kind"].string, json["message"].string, field("id") { string })
            }

            "image" -> {
                ImageRecord(
                    time,
                    json["id"].string,
                    json["pixels_sha256"].string,
                    json["exit"].int,
                    json["label"].int,
                    json["label_name"].string,
                    json["confidence"].doubles,
                    json["stage_ms"].doubles,
                    json["preprocess_ms"].double,
                    json["total_ms"].double,
                    json["point"].string,
                    json["degraded"].boolean,
                    json["uncertified"].boolean,
                    field("pixels") { int },
                    field("logits") { list.map { it.floats } }.orEmpty(),
                    field("top5_labels") { list.map { row -> row.list.map { it.int } } }.orEmpty(),
                    field("top5") { list.map { it.floats } }.orEmpty(),
                    field("why") { string },
                    field("max_stage") { int },
                )
            }

            else -> {
                StateRecord(
                    time,
                    json["event"].string == "idle",
                    json["screen_on"].boolean,
                    json["charging"].boolean,
                    field("awake_s") { double },
                    field("battery_level") { double },
                    field("charge_uah") { long },
                    field("current_ua") { long },
                    field("voltage_mv") { long },
                    field("temperature_c") { double },
                    field("thermal") { Thermal.valueOf(string.uppercase()) },
                    field("headroom") { double },
                    field("low_power") { boolean },
                )
            }
        }
    }
}
