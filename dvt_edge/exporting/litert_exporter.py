"""Stages to LiteRT (TensorFlow Lite) in float32, by Google's own converter in an environment of its own."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from dvt_edge.device.manifest import Operators
from dvt_edge.errors import EngineError, ExportError, cause
from dvt_edge.exporting import litert_worker
from dvt_edge.exporting.exporters import CalibrationInputs, Converted
from dvt_edge.exporting.litert_worker import PROGRAM, STAGE
from dvt_edge.exporting.own_environment import LITERT
from dvt_edge.exporting.recipes import Recipe
from dvt_edge.network.stages import StageGraph
from dvt_edge.quiet import native_quiet, quiet


def export_stage(stage: StageGraph, recipe: Recipe, calibration: CalibrationInputs, folder: Path) -> Converted:
    """Write `<folder>/<stage.name>.tflite`. Raises ExportError, also without the environment of the converter.

    The interpreter does not say which operators its delegate takes: by convention all count as delegated.
    """
    where, artifact = f"{stage.name}: target {recipe.name}", folder / f"{stage.name}.tflite"
    if why := LITERT.why_not():
        raise ExportError(f"{where} needs {why}")
    with TemporaryDirectory(prefix="dvt-edge-litert-") as name:
        work = Path(name)
        try:
            with quiet(), torch.no_grad():
                torch.export.save(torch.export.export(stage, stage.example_inputs(), strict=False), work / STAGE)
            LITERT.run(litert_worker.__name__, work)
        except EngineError as error:
            raise ExportError(f"{where} failed ({error})") from error
        except Exception as error:
            raise ExportError(f"{where} failed ({cause(error)})") from error
        artifact.write_bytes((work / PROGRAM).read_bytes())
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with native_quiet():
        interpreter = Interpreter(model_content=artifact.read_bytes(), experimental_op_resolver_type=plain)
    return Converted(artifact, Operators(delegated=len(interpreter._get_ops_details()), undelegated=0))
