package dvtedge.device

import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.zip.ZipEntry
import java.util.zip.ZipFile
import java.util.zip.ZipOutputStream
import kotlin.random.Random

private const val BUNDLES = 1_000
private const val MAX_SECONDS = 5.0 // for one of them

/**
 * Damaged and hostile bundles, by a seed: each opens and can be read whole, or is refused by an own error in one printable
 * line that names it. Nothing else escapes, and nothing takes long.
 */
class BundleFuzzTest {
    @TempDir
    lateinit var folder: File

    private val zips = File(GOLDEN, "bundles").listFiles { file -> file.extension == "zip" }!!.sorted().map { it.readBytes() }
    private val good = File(GOLDEN, "bundles/good-deflated.zip")
    private val files =
        ZipFile(good).use { zip -> zip.entries().toList().associate { it.name to zip.getInputStream(it).readBytes() } }

    @Test
    fun onlyOwnErrors() {
        val outcomes = HashMap<String, Int>()
        for (number in 0 until BUNDLES) {
            val random = Random(number)
            val path = if (random.nextInt(3) == 0) hostileFolder(random, number) else hostileZip(random, number)
            val start = System.nanoTime()
            val outcome = outcomeOf(path)
            val seconds = (System.nanoTime() - start) / 1e9
            assertTrue(seconds < MAX_SECONDS, "bundle $number took $seconds s")
            outcomes.merge(outcome, 1, Int::plus)
            path.deleteRecursively()
        }
        println("mutated bundles: ${outcomes.entries.sortedByDescending { it.value }}")
        assertTrue(outcomes.size > 6, "$outcomes") // the mutations reach more than one check
    }

    private fun outcomeOf(path: File): String =
        try {
            val bundle = CascadeBundle.open(path)
            bundle.labels
            bundle.manifest.stages.indices
                .forEach(bundle::artifact)
            if (bundle.manifest.golden.images >
                0
            ) {
                bundle.manifest.stages.indices
                    .forEach { bundle.goldenImages(it) to bundle.goldenLogits(it) }
            }
            "opens"
        } catch (error: BundleError) {
            val message = error.message!!
            assertTrue(message.length < 1000 && message == printable(message) && path.path in message, message)
            error.name
        }

    private fun hostileZip(
        random: Random,
        number: Int,
    ): File {
        val content =
            when (random.nextInt(3)) {
                0 -> damaged(random, zips.random(random))
                1 -> damaged(random, packed(files, stored = true))
                else -> packed(hostileFiles(random), stored = random.nextBoolean())
            }
        return File(folder, "$number.zip").also { it.writeBytes(content) }
    }

    private fun hostileFolder(
        random: Random,
        number: Int,
    ): File {
        val path = File(folder, "$number")
        for ((name, content) in hostileFiles(random)) {
            val file = File(path, name)
            if (!file.canonicalPath.startsWith(path.canonicalPath + "/")) continue
            file.parentFile.mkdirs()
            if (file.parentFile.isDirectory && !file.isDirectory) file.writeBytes(content)
        }
        return path
    }

    /** The files of a good bundle with a damaged or restructured manifest, or changed, or with others beside them. */
    private fun hostileFiles(random: Random): Map<String, ByteArray> {
        val manifest = files.getValue(MANIFEST)
        return when (random.nextInt(5)) {
            0 -> files + (MANIFEST to damaged(random, manifest))
            1, 2 -> files + (MANIFEST to restructured(random, manifest.decodeToString()).toByteArray())
            3 -> files + (files.keys.random(random).let { it to damaged(random, files.getValue(it)) })
            else -> (files + (NAMES.random(random) to ByteArray(3))).filterKeys { random.nextInt(20) > 0 }
        }
    }

    private fun packed(
        files: Map<String, ByteArray>,
        stored: Boolean,
    ): ByteArray {
        val made = ByteArrayOutputStream()
        ZipOutputStream(made).use { zip ->
            zip.setLevel(if (stored) 0 else 6)
            for ((name, content) in files) {
                zip.putNextEntry(ZipEntry(name))
                zip.write(content)
            }
        }
        return made.toByteArray()
    }

    /** A few bytes set, cut, doubled, put in, or numbers set to extremes. */
    private fun damaged(
        random: Random,
        content: ByteArray,
    ): ByteArray {
        var made = content
        repeat(listOf(1, 1, 2, 5, 20).random(random)) {
            val at = random.nextInt(made.size + 1)
            val end = minOf(made.size, at + listOf(1, 2, 4, 30, 300).random(random))
            val (before, part, after) = Triple(made.copyOf(at), made.copyOfRange(at, end), made.copyOfRange(end, made.size))
            made =
                when (random.nextInt(5)) {
                    0 -> before + random.nextBytes(part.size) + after
                    1 -> before + after
                    2 -> before + part + part + after
                    3 -> before + ByteArray(part.size) { listOf(0, -1, 127).random(random).toByte() } + after
                    else -> if (random.nextInt(4) == 0) before else before + random.nextBytes(4) + part + after
                }
        }
        return made
    }

    /** A manifest some of whose keys, numbers, strings or brackets are others. */
    private fun restructured(
        random: Random,
        manifest: String,
    ): String {
        var made = manifest
        repeat(listOf(1, 1, 1, 2, 6).random(random)) {
            val tokens = TOKEN.findAll(made).toList()
            if (tokens.isEmpty()) return made
            val token = tokens.random(random)
            made = made.replaceRange(token.range, VALUES.random(random))
        }
        return made
    }

    private companion object {
        val TOKEN = Regex("""-?[0-9.]+|"[^"]*"|null|\[|\{""")
        val NAMES =
            listOf(
                "x",
                "../x",
                "a//b",
                "con",
                "nul.txt",
                "a.",
                "a ",
                "LABELS.json",
                "labels.json/x",
                "golden",
                "é",
                "e\u0301",
                "\u202e",
                "y/".repeat(40) + "z",
                "x".repeat(200),
                "Manifest.json",
            )
        val VALUES =
            listOf(
                "null",
                "true",
                "0",
                "-1",
                "1",
                "2147483648",
                "9007199254740991",
                "9007199254740992",
                "1e400",
                "1.0",
                "0.5",
                "-0",
                "\"\"",
                "\"x\"",
                "\"\\ud800\"",
                "\"\\u001b[31m\\n\"",
                "[]",
                "{}",
                "[[]]",
                "{\"a\": {}}",
                "[",
                "\"nominal\"",
                "\"" + "x".repeat(5000) + "\"",
                "[".repeat(70),
                "1" + "0".repeat(500),
                "\"../x\"",
                "\"labels.json\"",
                "\"" + "f".repeat(64) + "\"",
            )
    }
}
