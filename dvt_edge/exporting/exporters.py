"""One module per engine, each with `export_stage`: a PyTorch stage in, an artifact file and its operator counts out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from dvt_edge.device.manifest import Compiled, Operators
from dvt_edge.errors import packages
from dvt_edge.exporting.recipes import Recipe, recipe_for

if TYPE_CHECKING:
    from torch import Tensor

    from dvt_edge.network.stages import StageGraph

FLOAT32 = {"onnxruntime": "onnx-fp32", "executorch": "executorch-xnnpack-fp32"}

# Fresh calibration inputs of one stage, one image at a time, in the order of the stage's inputs.
CalibrationInputs = Callable[[], Iterator[tuple["Tensor", ...]]]


@dataclass(frozen=True)
class Converted:
    artifact: Path  # a file, or the folder of an .mlpackage
    operators: Operators
    compiled: tuple[Compiled, ...] = ()  # for one chip each, beside the artifact


class ExportStage(Protocol):
    def __call__(
        self, stage: StageGraph, recipe: Recipe, calibration: CalibrationInputs, folder: Path
    ) -> Converted: ...


def exporter_for(recipe: Recipe) -> ExportStage:
    """The `export_stage` of the recipe's engine, or backend. Raises MissingPackageError naming the extra to install."""
    module = {"QNNExecutionProvider": "qnn", "EthosUBackend": "ethosu"}.get(recipe.backend, recipe.engine)
    with packages(f"target {recipe.name}", recipe.extra):
        return import_module(f"dvt_edge.exporting.{module}_exporter").export_stage


def in_float32(stage: StageGraph, engine: str) -> bytes:
    """The stage as the artifact of an engine's float32 recipe; what a quantized one is held against."""
    recipe = recipe_for(FLOAT32[engine])
    with TemporaryDirectory() as folder:
        return exporter_for(recipe)(stage, recipe, lambda: iter(()), Path(folder)).artifact.read_bytes()
