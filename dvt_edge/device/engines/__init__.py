"""One module per inference engine, each with `load_stage`: an artifact in, a function on named arrays out.

    load_stage(artifact: Path, stage: StageSpec, backend: str, threads: int) -> StageProgram

A program copies what it returns, checks that `backend` runs it, and takes inputs in the manifest's order.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from dvt_edge.device.manifest import StageSpec
from dvt_edge.errors import packages

Arrays = dict[str, NDArray[Any]]
EXTRAS = {"onnxruntime": "onnx", "executorch": "executorch", "coreml": "coreml"}


class StageProgram(Protocol):
    """Named arrays in, named arrays out; safe to call from several threads."""

    def __call__(self, inputs: Arrays) -> Arrays: ...


class LoadStage(Protocol):
    def __call__(self, artifact: Path, stage: StageSpec, backend: str, threads: int) -> StageProgram: ...


def engine_for(name: str) -> LoadStage:
    """The `load_stage` of an engine. Raises MissingPackageError naming the extra to install."""
    with packages(f"engine {name}", EXTRAS[name]):
        return import_module(f"dvt_edge.device.engines.{name}_engine").load_stage
