"""One module per inference engine, each with `load_stage`: an artifact in, a function on named arrays out.

    load_stage(artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram

An artifact is bytes, not a path: what runs is what was verified. A program copies what it returns, checks that
`backend` runs it, and takes inputs in the manifest's order. `load` is the boundary: whatever an engine raises is an
EngineError beyond it, and outputs are what the manifest declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from dvt_edge.device.manifest import StageSpec
from dvt_edge.errors import DvtEdgeError, EngineError, cause, packages

Arrays = dict[str, NDArray[Any]]
EXTRAS = {"onnxruntime": "onnx", "executorch": "executorch", "coreml": "coreml", "litert": "litert"}


@dataclass(frozen=True)
class Artifact:
    """What a stage runs: the files at and below `name`, by their paths in the bundle."""

    name: str
    files: dict[str, bytes]

    @classmethod
    def at(cls, path: Path) -> Artifact:
        """Of a file or folder on disk, as an exporter wrote it."""
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        return cls(path.name, {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in inside})

    @property
    def content(self) -> bytes:
        """Of an artifact that is one file. Raises EngineError of a folder."""
        if self.name not in self.files:
            raise EngineError(f"{self.name}: a folder; expected a file")
        return self.files[self.name]


class StageProgram(Protocol):
    """Named arrays in, named arrays out; safe to call from several threads."""

    def __call__(self, inputs: Arrays) -> Arrays: ...


class LoadStage(Protocol):
    def __call__(self, artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram: ...


def engine_for(name: str) -> LoadStage:
    """The `load_stage` of an engine. Raises MissingPackageError naming the extra to install."""
    with packages(f"engine {name}", EXTRAS[name]):
        return import_module(f"dvt_edge.device.engines.{name}_engine").load_stage


def load(load_stage: LoadStage, artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram:
    """A stage's program whose outputs are held against the manifest. It and its program raise own errors only."""
    try:
        program = load_stage(artifact, stage, backend, threads)
    except DvtEdgeError:
        raise
    except Exception as error:  # of the engine's own kinds
        raise EngineError(f"{stage.name}: {artifact.name} cannot be loaded ({cause(error)})") from error

    def run(inputs: Arrays) -> Arrays:
        try:
            outputs = program(inputs)
        except DvtEdgeError:
            raise
        except Exception as error:
            raise EngineError(f"{stage.name}: {artifact.name} did not run ({cause(error)})") from error
        for tensor in stage.outputs:
            found = outputs.get(tensor.name)
            if found is None or found.shape != tensor.shape or found.dtype.name != tensor.dtype:
                words = "nothing" if found is None else f"{found.dtype} {found.shape}"
                expected = f"{tensor.dtype} {tensor.shape}"
                raise EngineError(f"{stage.name}: {artifact.name} gave {words} as {tensor.name!r}; expected {expected}")
        return outputs

    return run
