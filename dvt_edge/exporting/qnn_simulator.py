"""Qualcomm's simulator of the HTP, the NPU of Snapdragon: compiles stages for a chip and runs them, on Linux x86-64.

It comes with onnxruntime-qnn, whose versions are not ours, so it lives in an environment of its own and runs as a
process of its own, `qnn_worker.py`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.engines import Arrays, Artifact, LoadStage, StageProgram
from dvt_edge.device.manifest import StageSpec
from dvt_edge.device.runtime import Runtime
from dvt_edge.errors import EngineError
from dvt_edge.exporting import qnn_worker
from dvt_edge.exporting.own_environment import QNN
from dvt_edge.exporting.qnn_chips import chip_of
from dvt_edge.exporting.qnn_worker import PROVIDER, receive, send
from dvt_edge.exporting.recipes import Recipe

LAST_WORDS = 4096  # bytes of what a worker that died said


class Simulator:
    """The simulator's process, with any number of stages in it. Use it in a `with`; safe to call from several threads.

    Raises EngineError, each in one line: where it is not installed, where a stage does not compile or run, and where
    the process ends.
    """

    def __init__(self) -> None:
        if why := QNN.why_not():
            raise EngineError(f"this needs {why}")
        self.folder = Path(tempfile.mkdtemp(prefix="dvt-edge-qnn-"))
        self.lock, self.errors = threading.Lock(), (self.folder / "stderr").open("w+b")
        self.process = subprocess.Popen(
            [QNN.python, "-I", qnn_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
            cwd=self.folder,  # the libraries leave files where they run
        )
        self.names = map(str, itertools.count())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.close()
            self.process.wait(timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, request: dict[str, Any], arrays: Arrays | None = None) -> tuple[dict[str, Any], Arrays]:
        requests, answers = self.process.stdin, self.process.stdout
        assert requests and answers
        with self.lock:
            try:
                send(requests, request, arrays)
                answer, found = receive(answers)
            except (OSError, EOFError) as error:
                raise EngineError(f"Qualcomm's simulator ended ({last_line(self.errors)})") from error
        if "error" in answer:
            raise EngineError(str(answer["error"])[:300])
        return answer, found

    def load(self, model: Path, soc: str, half: bool) -> StageProgram:
        """An ONNX file, compiled or not, as a function on named arrays."""
        name = next(self.names)
        chip = chip_of(soc).model
        answer, _ = self.ask({"do": "load", "name": name, "model": str(model), "chip": chip, "half": half})
        if answer["providers"][0] != PROVIDER:
            raise EngineError(f"{model.name}: runs on {answer['providers'][0]}; expected {PROVIDER}")

        def run(inputs: Arrays) -> Arrays:
            return self.ask({"do": "run", "name": name}, inputs)[1]

        return run

    def load_stage(self, bundle: CascadeBundle, soc: str, half: bool) -> LoadStage:
        """An engine's `load_stage` that runs what a bundle has compiled for one chip."""

        def load(artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram:
            for compiled in stage.compiled:
                if (compiled.soc, compiled.backend) == (soc, backend):
                    path = self.folder / f"{stage.name}.onnx"
                    path.write_bytes(bundle.read(compiled.file))
                    return self.load(path, soc, half)
            has = ", ".join(c.soc for c in stage.compiled) or "nothing"
            raise EngineError(f"{stage.name}: nothing compiled for {soc}; the bundle has: {has}")

        return load


@contextmanager
def simulated(bundle: CascadeBundle, recipe: Recipe) -> Iterator[Runtime]:
    """A runtime of what the bundle has compiled for the recipe's first chip, on that chip's simulator."""
    with Simulator() as simulator:
        load = simulator.load_stage(bundle, recipe.socs[0], recipe.precision == "float16")
        yield Runtime(bundle, load_stage=load)


def simulator_of(recipe: Recipe) -> str:
    """Where `simulated` runs, in words."""
    return f"{recipe.backend}, Qualcomm's simulator of {recipe.socs[0]} and no phone"


def compile_context(model: bytes, soc: str, half: bool) -> bytes:
    """An ONNX file as a context binary for a chip, wrapped in ONNX.

    In a process of its own, under names of its own: the compiler counts what it compiled, and hashes where it lies. The
    bytes are mostly the same each time; on a busy machine some hundred of them are not.
    """
    with Simulator() as simulator:
        (simulator.folder / "model.onnx").write_bytes(model)
        chip = chip_of(soc).model
        ask = {"do": "compile", "model": "model.onnx", "compiled": "context.onnx", "chip": chip, "half": half}
        simulator.ask(ask)
        return (simulator.folder / "context.onnx").read_bytes()


def last_line(stream: IO[bytes]) -> str:
    """What a process said last, in one line."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - LAST_WORDS))
    lines = stream.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines else "it said nothing"
