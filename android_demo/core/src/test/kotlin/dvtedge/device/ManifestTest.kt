package dvtedge.device

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File

/** Manifests, paths and the hash of the artifacts: the same answers as in Python. */
class ManifestTest {
    @TempDir
    lateinit var folder: File

    @TestFactory
    fun manifests() =
        tests(golden("manifests/index.json")["cases"].list, { it["file"].string }) { case ->
            val content = File(GOLDEN, "manifests/${case["file"].string}").readBytes()
            File(folder, MANIFEST).writeBytes(content)
            assertEquals(case["error"].string, errorOf { CascadeBundle.open(folder) })
            if (case.has(
                    "artifacts_sha256",
                )
            ) {
                assertEquals(case["artifacts_sha256"].string, parseManifest(content).artifactsSha256)
            }
            if (case.has("uncertified")) checkCertificates(parseManifest(content), case["uncertified"])
        }

    private fun checkCertificates(
        manifest: Manifest,
        expected: Json,
    ) {
        assertEquals(expected.value, manifest.operatingPoints.associate { it.name to manifest.uncertified(it.name) })
        for (point in manifest.provedPoints) assertEquals(expected[point.name].value == null, point.certificate != null)
    }

    @TestFactory
    fun plainPaths() = tests(paths["plain"].list, { shorten(it.string) }) { checkPath(it.string) }

    @TestFactory
    fun pathsThatAreNotPlain() =
        tests(paths["not_plain"].list, { shorten(it.string) }) { assertThrows<UnsafePathError> { checkPath(it.string) } }

    @TestFactory
    fun pathsTogether() =
        tests(paths["together"].list, { it["paths"].value.toString() }) { case ->
            val names = case["paths"].list.map { it.string }
            for (order in listOf(names, names.reversed())) {
                val error = if (case["accepted"].boolean) null else "UnsafePathError"
                assertEquals(
                    error,
                    errorOf {
                        PathTree(LinkedHashSet(order)).also {
                            if (order.toSet().size <
                                order.size
                            ) {
                                throw UnsafePathError("twice")
                            }
                        }
                    },
                )
            }
        }

    private val paths get() = golden("manifests/paths.json")

    @Test
    fun hashOfTheArtifacts() {
        val case = golden("artifacts_sha256.json")
        val good = parseManifest(File(GOLDEN, "manifests/good.json").readBytes())
        val files =
            (case["files"].value as Map<*, *>)
                .map { (path, hash) ->
                    path as String to FileSpec(hash as String, 1)
                }.toMap()
        val stages = case["artifacts"].list.map { good.stages.first().copy(artifact = it.string) }
        val rows =
            good.operatingPoints.map {
                it.copy(
                    thresholds = List(stages.size) { 0.5 },
                    exitShares = List(stages.size) { 0.0 },
                )
            }
        val made =
            good.copy(
                stages = stages,
                files = files,
                operatingPoints = rows,
                confidence = good.confidence.copy(temperature = List(stages.size) { 1.0 }),
                golden = good.golden.copy(images = 0, image = emptyList(), logits = emptyList()),
            )
        assertEquals(case["artifacts_sha256"].string, made.artifactsSha256)
    }

    /** Half the fields of Python's dataclasses would be lost silently if the two drifted apart: each is in the schema. */
    @Test
    fun fieldsAreThoseOfTheSchema() {
        val schema = Json(parseJson(File(GOLDEN, "../../dvt_edge/device/manifest.schema.json").readBytes(), "schema"))
        val known =
            listOf(
                Manifest.serializer(),
                StageSpec.serializer(),
                TensorSpec.serializer(),
                OperatingPoint.serializer(),
                Certificate.serializer(),
                PowerPolicy.serializer(),
                Rule.serializer(),
                EnergyQueue.serializer(),
                CalibrationRecord.serializer(),
                Verification.serializer(),
                ExitQuality.serializer(),
                Golden.serializer(),
                FileSpec.serializer(),
                ModelSpec.serializer(),
                TrainedOn.serializer(),
                Preprocessing.serializer(),
                ConfidenceSpec.serializer(),
                Operators.serializer(),
                Compiled.serializer(),
                ImageSize.serializer(),
            ).associate { it.descriptor.serialName.substringAfterLast('.') to it.descriptor }
        val definitions = (schema["\$defs"].value as Map<*, *>).mapValues { Json(it.value) } + ("Manifest" to schema)
        assertEquals(definitions.keys.map { it.toString() }.toSet(), known.keys)
        for ((name, descriptor) in known) {
            val fields =
                (0 until descriptor.elementsCount).associate {
                    snakeCase(descriptor.getElementName(it)) to
                        !descriptor.isElementOptional(it)
                }
            val definition = definitions.getValue(name)
            val required = if (definition.has("required")) definition["required"].list.map { it.string }.toSet() else emptySet()
            assertEquals(
                (definition["properties"].value as Map<*, *>).keys.associate { it.toString() to (it in required) },
                fields,
                name,
            )
        }
    }
}
