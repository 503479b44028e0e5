"""Time per stage: PyTorch in eager mode and each target, taking turns in one process.

Two PyTorch baselines: the reuse as published (interpolate and pool), and ours (constant maps, the same numbers).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dvt_edge.data.reading import open_images
from dvt_edge.device.engines import Artifact, engine_for, load
from dvt_edge.device.preprocess import preprocess
from dvt_edge.errors import ConfigError
from dvt_edge.exporting.conversion import stage_spec
from dvt_edge.exporting.exporters import exporter_for
from dvt_edge.exporting.recipes import Recipe
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import load_cascade
from dvt_edge.network.presets import config_for
from dvt_edge.network.published import as_published
from dvt_edge.network.stages import StageChain, StageGraph, split
from dvt_edge.quiet import Report

WARM_UP = 2
RANDOM_IMAGES = 8  # calibration of random weights, whose accuracy nobody asks for


@dataclass(frozen=True)
class Timing:
    stage: str
    engine: str
    ms: float
    ratio_published: float  # to PyTorch eager with the reuse as published
    ratio_eager: float  # to PyTorch eager with the reuse as a constant map


def cascade_to_time(checkpoint: str, model: str | None) -> Cascade:
    """A checkpoint's cascade, or for "random:<model>" one with seeded random weights."""
    if checkpoint.startswith("random:"):
        torch.manual_seed(0)
        return Cascade(config_for(checkpoint.removeprefix("random:"))).eval()
    return load_cascade(checkpoint, model)


def benchmark(
    cascade: Cascade,
    recipes: Sequence[Recipe],
    calibration: str | None,
    threads: int,
    rounds: int,
    only: Sequence[int] | None,
    report: Report,
) -> list[Timing]:
    """Median milliseconds per stage and engine, batch 1. PyTorch's own thread count is restored afterwards.

    Raises ConfigError for stages in `only` that the cascade does not have.
    """
    if unknown := set(only or ()) - set(range(cascade.config.num_exits)):
        raise ConfigError(f"stage {min(unknown)}; {cascade.config.name} has 0 to {cascade.config.num_exits - 1}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory(prefix="dvt-edge-bench-") as folder:
            stages = [k for k in range(cascade.config.num_exits) if not only or k in only]
            return [
                timing
                for k in stages
                for timing in time_stage(cascade, k, recipes, calibration, threads, rounds, Path(folder), report)
            ]
    finally:
        torch.set_num_threads(before)


def time_stage(
    cascade: Cascade,
    index: int,
    recipes: Sequence[Recipe],
    calibration: str | None,
    threads: int,
    rounds: int,
    folder: Path,
    report: Report,
) -> list[Timing]:
    stage, published = split(cascade)[index], split(as_published(cascade))[index]
    inputs = next(real_inputs(cascade, stage, calibration))
    arrays = {spec.name: tensor.numpy() for spec, tensor in zip(stage.inputs, inputs, strict=True)}

    def eager(graph: StageGraph) -> Callable[[], Any]:
        return torch.inference_mode()(lambda: graph(*inputs))

    runs = {"PyTorch, as published": eager(published), "PyTorch, constant maps": eager(stage)}
    for recipe in recipes:
        report(f"{recipe.name}: converting {stage.name}", 0, rounds)
        target = folder / recipe.name
        target.mkdir(exist_ok=True)
        graph = split(cascade, recipe.layout)[index]
        given = partial(real_inputs, cascade, stage, calibration) if recipe.layout == "NHWC" else lambda: iter(())
        converted = exporter_for(recipe)(graph, recipe, given, target)
        spec = stage_spec(cascade, graph, converted)
        program = load(engine_for(recipe.engine), Artifact.at(converted.artifact), spec, recipe.backend, threads)
        runs[recipe.name] = lambda program=program: program(arrays)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(-WARM_UP, rounds):
        for name, call in runs.items():
            start = time.perf_counter()
            call()
            if round_ >= 0:
                times[name].append((time.perf_counter() - start) * 1e3)
        report(f"timing {stage.name}", max(0, round_ + 1), rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    first, second = list(medians.values())[:2]
    return [Timing(stage.name, name, ms, ms / first, ms / second) for name, ms in medians.items()]


def real_inputs(cascade: Cascade, stage: StageGraph, calibration: str | None) -> Iterator[tuple[Tensor, ...]]:
    """Inputs of one stage from images at `calibration`, or from random pixels where there is none."""
    config, chain = cascade.config, StageChain(split(cascade))
    if calibration:
        images: Any = (preprocess(i, config.image_size, config.resize) for i in open_images(calibration).shuffled())
    else:
        generator = np.random.default_rng(0)
        size = (config.image_size, config.image_size, 3)
        images = (generator.integers(0, 256, size, dtype=np.uint8) for _ in range(RANDOM_IMAGES))
    for pixels in images:
        ready, _ = chain.run(torch.from_numpy(pixels)[None], last=stage.index)[stage.index]
        yield tuple(ready.values())
