package dvtedge.demo

import dvtedge.device.Engine
import dvtedge.device.EngineError
import dvtedge.device.LoadStage
import dvtedge.device.Manifest
import dvtedge.device.OnnxStageRunner
import java.io.File

/** What runs bundles in this app. [folder] is private to it, for engines that read files. */
open class Engines(
    private val folder: File,
) {
    /** What can run a bundle's stages here, the manifest's own first. */
    open fun backends(manifest: Manifest): List<String> {
        val others = if (manifest.engine == Engine.ONNXRUNTIME) OnnxStageRunner.backends() else emptyList()
        return (listOf(manifest.backend) + others).distinct()
    }

    /**
     * How stages are loaded to run on [backend]. Another one than the manifest's may leave operators to the CPU, which the
     * stage's backend then says. Throws [EngineError] for an engine that the app lacks.
     */
    fun loader(
        manifest: Manifest,
        backend: String,
    ): LoadStage =
        when {
            manifest.engine == Engine.ONNXRUNTIME -> {
                LoadStage { artifact, stage, own, threads ->
                    OnnxStageRunner.load(artifact, stage, backend, threads, mayFallBack = backend != own)
                }
            }

            manifest.engine == Engine.EXECUTORCH && ExecuTorchStageRunner.isThere -> {
                LoadStage { artifact, stage, own, threads ->
                    ExecuTorchStageRunner.load(folder, artifact, stage, own, threads)
                }
            }

            else -> {
                throw EngineError("a bundle for the engine ${manifest.engine.name.lowercase()}, which this app lacks")
            }
        }

    /** The engine's name and version, for a device log. */
    fun nameOf(manifest: Manifest): String = if (manifest.engine == Engine.EXECUTORCH) EXECUTORCH else OnnxStageRunner.engine()
}
