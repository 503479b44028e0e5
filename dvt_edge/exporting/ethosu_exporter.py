"""Stages to ExecuTorch for Ethos-U85, Arm's NPU of small devices: everything int8, compiled by Vela.

Vela and the TOSA tools want versions that are not ours: `ethosu_worker.py` lowers, in a process that finds those first.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from dvt_edge.device.manifest import Operators
from dvt_edge.errors import EngineError, ExportError, cause
from dvt_edge.exporting import ethosu_worker
from dvt_edge.exporting.ethosu_worker import INPUTS, OPERATORS, PROGRAM, STAGE
from dvt_edge.exporting.exporters import CalibrationInputs, Converted
from dvt_edge.exporting.own_environment import ETHOS_U
from dvt_edge.exporting.recipes import Recipe
from dvt_edge.network.stages import StageGraph
from dvt_edge.quiet import quiet


def export_stage(stage: StageGraph, recipe: Recipe, calibration: CalibrationInputs, folder: Path) -> Converted:
    """Write `<folder>/<stage.name>.pte`. Raises ExportError, also without the environment of Vela."""
    where = f"{stage.name}: target {recipe.name}"
    if why := ETHOS_U.why_not():
        raise ExportError(f"{where} needs {why}")
    assert recipe.quantization is not None
    images = list(islice(calibration(), recipe.quantization.calibration_images))
    if not images:
        raise ExportError(f"{where} failed (no calibration images)")
    artifact = folder / f"{stage.name}.pte"
    with TemporaryDirectory(prefix="dvt-edge-ethos-u-") as name:
        work = Path(name)
        try:
            with quiet(), torch.no_grad():
                torch.export.save(torch.export.export(stage, stage.example_inputs(), strict=False), work / STAGE)
        except Exception as error:
            raise ExportError(f"{where} failed ({cause(error)})") from error
        np.savez(work / INPUTS, *(np.stack([t.numpy() for t in column]) for column in zip(*images, strict=True)))
        try:
            ETHOS_U.run(ethosu_worker.__name__, work)
        except EngineError as error:
            raise ExportError(f"{where} failed ({error})") from error
        artifact.write_bytes((work / PROGRAM).read_bytes())
        found = json.loads((work / OPERATORS).read_text())
    return Converted(artifact, Operators(found["delegated"], sum(found["left"].values()), found["left"]))
