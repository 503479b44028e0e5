"""What each stage of a bundle takes: bytes on disk, the time until it can run, and memory.

    python -m dvt_edge.evaluation.footprint BUNDLE STAGE THREADS        one measurement, as a line of JSON

A first load is measured in a process of its own that has imported the engine and loaded nothing, several times; files
come from the system's cache. Memory is what the process's peak of resident memory rises by from there until a stage has
run once. Other stages are not loaded: the sum over stages is more than one process with all of them takes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.engines import engine_for
from dvt_edge.device.runtime import Runtime
from dvt_edge.errors import DvtEdgeError, EngineError
from dvt_edge.machine import peak_memory
from dvt_edge.quiet import Report

LOADS = 3  # of which the median counts


@dataclass(frozen=True)
class Footprint:
    """Of one stage."""

    stage: str
    artifact_bytes: int
    load_ms: float  # read, verified, and loaded by the engine
    first_run_ms: float
    peak_bytes: int


def footprints(bundle: CascadeBundle, threads: int, report: Report) -> list[Footprint]:
    """Raises EngineError where the bundle's engine does not run here."""
    engine_for(bundle.manifest.engine)  # a package that lacks is named once, here
    found, stages = [], bundle.manifest.stages
    for index, stage in enumerate(stages):
        runs: list[dict[str, Any]] = []
        for turn in range(LOADS):
            report(f"{bundle.manifest.target}: first loads", index * LOADS + turn, LOADS * len(stages))
            runs.append(in_its_own_process(bundle.path, index, threads))
        load, first, peak = (statistics.median(run[key] for run in runs) for key in ("load_ms", "run_ms", "peak_bytes"))
        found.append(Footprint(stage.name, bundle.artifact_size(index), load, first, int(peak)))
    return found


def in_its_own_process(bundle: Path, index: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "dvt_edge.evaluation.footprint", str(bundle.resolve()), str(index), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise EngineError(said[-1])
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def measure(path: Path, index: int, threads: int) -> dict[str, float]:
    """Here, in this process, which should not have loaded a stage before."""
    runtime = Runtime(CascadeBundle.open(path), threads=threads)  # imports the engine
    spec = runtime.manifest.stages[index]
    inputs = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in spec.inputs}
    before, start = peak_memory(), time.perf_counter()
    program = runtime.program(index)
    loaded = time.perf_counter()
    program(inputs)
    ran = time.perf_counter()
    return {
        "load_ms": (loaded - start) * 1e3,
        "run_ms": (ran - loaded) * 1e3,
        "peak_bytes": peak_memory() - before,
    }


def main(words: Sequence[str]) -> int:
    try:
        print(json.dumps(measure(Path(words[0]), int(words[1]), int(words[2]))))
    except DvtEdgeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
