package dvtedge.device

import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.io.FilterInputStream
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.util.concurrent.FutureTask
import java.util.zip.ZipEntry
import java.util.zip.ZipFile
import java.util.zip.ZipOutputStream
import kotlin.concurrent.thread

/** Bundles as folders, .zips and streams: opened whole, or refused by the error that Python gives. */
class BundleTest {
    @TempDir
    lateinit var folder: File

    private val golden = golden("bundles/index.json")
    private val good = File(GOLDEN, "bundles/good-deflated.zip")

    @TestFactory
    fun zips() =
        tests(golden["cases"].list, { it["file"].string }) { case ->
            val file = File(GOLDEN, "bundles/${case["file"].string}")
            assertEquals(case["error"].value, errorOf { CascadeBundle.open(file) })
            if (case["error"].value == null) checkGood(CascadeBundle.open(file))
        }

    private fun checkGood(bundle: CascadeBundle) {
        assertEquals(listOf("cat", "dog", "ship"), bundle.labels)
        assertEquals(listOf(48), bundle.goldenImages().map { it.size })
        assertEquals(listOf(3), bundle.goldenLogits(0).map { it.size })
        val reasons = bundle.manifest.operatingPoints.associate { it.name to bundle.manifest.uncertified(it.name) }
        assertEquals(golden["uncertified"].value, reasons)
    }

    @TestFactory
    fun recipes() =
        tests(golden["recipes"].list, { it["name"].string }) { recipe ->
            val file = File(folder, "x.zip")
            ZipOutputStream(file.outputStream()).use { zip ->
                for (entry in if (recipe.has("entries")) recipe["entries"].list else emptyList()) {
                    zip.putNextEntry(ZipEntry(entry["name"].string))
                    zip.write(ByteArray(entry["times"].int) { _ -> entry["byte"].int.toByte() })
                }
                repeat(if (recipe.has("empty_entries")) recipe["empty_entries"].int else 0) { zip.putNextEntry(ZipEntry("$it")) }
            }
            assertEquals("ArchiveError", errorOf { CascadeBundle.open(file) })
        }

    @Test
    fun aFolderIsWhatItsZipIs() = checkGood(CascadeBundle.open(unpacked()))

    @Test
    fun aStreamIsCopiedWholeOrNotAtAll() {
        val copy = File(folder, "copy.zip")
        checkGood(CascadeBundle.open(good.inputStream(), copy))
        val bad = File(GOLDEN, "bundles/changed-byte.zip")
        val error = assertThrows<ChangedFileError> { CascadeBundle.open(bad.inputStream(), File(folder, "bad.zip")) }
        assertTrue(error.message!!.startsWith("${File(folder, "bad.zip")}: "), error.message)
        assertEquals(listOf("copy.zip"), folder.list()!!.toList())
        assertThrows<ChangedFileError> { CascadeBundle.open(bad.inputStream(), copy) }
        checkGood(CascadeBundle.open(copy))
    }

    /** Another caller with the same copy does not get into this one's way, at whatever byte it comes. */
    @Test
    fun twoStreamsForOneCopy() {
        val copy = File(folder, "copy.zip")
        val slow =
            object : FilterInputStream(good.inputStream()) {
                private var first = true

                override fun read(
                    into: ByteArray,
                    offset: Int,
                    count: Int,
                ): Int {
                    if (!first) return super.read(into, offset, count)
                    first = false
                    return super.read(into, offset, 100).also { checkGood(CascadeBundle.open(good.inputStream(), copy)) }
                }
            }
        checkGood(CascadeBundle.open(slow, copy))
        assertEquals(listOf("copy.zip"), folder.list()!!.toList())
    }

    /** Where a bundle is replaced while it is opened, one of both is opened: never a mixture, and no error. */
    @Test
    fun oneThatIsReplacedMeanwhile() {
        val (path, link) = File(folder, "bundle").toPath() to File(folder, "next").toPath()

        fun put(number: Int) {
            val made = unpacked(File(folder, "v$number"))
            File(made, ".manifest.json.%08d".format(number)).writeText("{") // may lie there: no two are alike
            Files.createSymbolicLink(link, made.toPath())
            Files.move(link, path, StandardCopyOption.ATOMIC_MOVE)
            File(folder, "v${number - 2}").deleteRecursively()
        }
        put(0)
        val replacing = FutureTask { (1..60).forEach(::put) }.also { thread(block = it::run) }
        var opened = 0
        while (!replacing.isDone) {
            checkGood(CascadeBundle.open(path.toFile()))
            opened += 1
        }
        replacing.get()
        assertTrue(opened > 1)
    }

    /** What runs is what was verified: a file that changed after opening is not handed out. */
    @Test
    fun whatChangedAfterOpeningIsNotRead() {
        val bundle = CascadeBundle.open(unpacked())
        val artifact = bundle.manifest.stages[1].artifact
        val before = bundle.artifact(1).content
        File(folder, artifact).appendText("x")
        assertThrows<ChangedFileError> { bundle.artifact(1) }
        File(folder, artifact).writeBytes(before)
        assertArrayEquals(before, bundle.artifact(1).content)
        File(folder, artifact).delete()
        assertThrows<ChangedFileError> { bundle.artifact(1) }

        val zip = File(folder, "x.zip")
        good.copyTo(zip)
        val zipped = CascadeBundle.open(zip)
        assertArrayEquals(before, zipped.artifact(1).content)
        zip.writeBytes(File(GOLDEN, "bundles/missing-file.zip").readBytes())
        assertEquals(
            "ChangedFileError",
            errorOf {
                bundle.manifest.files.keys
                    .forEach(zipped::read)
            },
        )
        zip.delete()
        assertThrows<ChangedFileError> { zipped.labels }
    }

    /** A deflate stream that begins with a block of the type that there is not. */
    @Test
    fun aDamagedDeflateStreamIsRefused() {
        val zip = good.readBytes()
        val text = zip.toString(Charsets.ISO_8859_1)
        val header = Regex("PK\u0003\u0004.{4}\u0008.{21}labels.json", RegexOption.DOT_MATCHES_ALL).find(text)!!.range
        val extra = zip[header.first + 28].toInt()
        zip[header.last + 1 + extra] = 7
        val file = File(folder, "x.zip").also { it.writeBytes(zip) }
        val error = assertThrows<ArchiveError> { CascadeBundle.open(file) }
        assertTrue(error.message!!.startsWith("$file: not a readable .zip of a bundle (ZipException: "), error.message)
    }

    /** Programs that read a .zip from its front would see another file than those that read it by its directory. */
    @Test
    fun anotherNameInTheLocalHeaderIsRefused() {
        val zip = File(GOLDEN, "bundles/good-stored.zip").readBytes()
        val text = zip.toString(Charsets.ISO_8859_1)
        val header = Regex("PK\u0003\u0004.{26}labels.json", RegexOption.DOT_MATCHES_ALL).find(text)!!.range.last
        zip[header] = 'm'.code.toByte()
        val file = File(folder, "x.zip").also { it.writeBytes(zip) }
        val error = assertThrows<ArchiveError> { CascadeBundle.open(file) }
        assertTrue("another name in its local header" in error.message!!, error.message)
    }

    @Test
    fun linksAreRefused() {
        val artifact =
            unpacked().resolve(
                CascadeBundle
                    .open(folder)
                    .manifest.stages[0]
                    .artifact,
            )
        val elsewhere = File(folder.parentFile, "elsewhere-${folder.name}")
        artifact.copyTo(elsewhere)
        artifact.delete()
        Files.createSymbolicLink(artifact.toPath(), elsewhere.toPath())
        assertThrows<UnsafePathError> { CascadeBundle.open(folder) }
        elsewhere.delete()
    }

    @Test
    fun aFolderBehindALinkIsRefused() {
        val inside = unpacked().resolve("golden")
        assertTrue(inside.isDirectory)
        val elsewhere = File(folder.parentFile, "golden-${folder.name}")
        inside.copyRecursively(elsewhere)
        inside.deleteRecursively()
        Files.createSymbolicLink(inside.toPath(), elsewhere.toPath())
        assertThrows<UnsafePathError> { CascadeBundle.open(folder) }
        elsewhere.deleteRecursively()
    }

    @Test
    fun whatIsNotListedIsRefused() {
        unpacked()
        File(folder, "empty/deep").mkdirs()
        File(folder, ".manifest.json.abcd1234").writeText("{")
        checkGood(CascadeBundle.open(folder))
        File(folder, "empty/deep/x").writeText("x")
        assertThrows<MissingFileError> { CascadeBundle.open(folder) }
    }

    @Test
    fun whatIsNoBundleIsRefused() {
        assertThrows<MissingFileError> { CascadeBundle.open(File(folder, "nothing")) }
        assertThrows<ManifestError> { CascadeBundle.open(folder) }
        assertThrows<ArchiveError> { CascadeBundle.open(File("/dev/null")) }
    }

    /** A message is one printable line, whatever a manifest or path says. */
    @Test
    fun messagesArePrintable() {
        val manifest =
            File(
                GOLDEN,
                "manifests/good.json",
            ).readText().replaceFirst("\"format\"", "\"\\u001b[31m\\n\\u202e\": 1, \"format\"")
        File(folder, MANIFEST).writeText(manifest)
        val message = assertThrows<ManifestError> { CascadeBundle.open(folder) }.message!!
        assertFalse(message.any { it < ' ' || it == '\u202e' }, message)
        assertTrue(message.startsWith("$folder: ") && "u001b" in message)
    }

    private fun unpacked(into: File = folder): File {
        ZipFile(good).use { zip ->
            for (entry in zip.entries()) {
                val file = File(into, entry.name)
                file.parentFile.mkdirs()
                file.writeBytes(zip.getInputStream(entry).readBytes())
            }
        }
        return into
    }
}
