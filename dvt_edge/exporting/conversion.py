"""The stages of one export, converted one after another, or each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt_edge import machine
from dvt_edge.device.manifest import StageSpec
from dvt_edge.errors import packages
from dvt_edge.exporting.exporters import Converted, exporter_for
from dvt_edge.exporting.gate import keep_promise
from dvt_edge.exporting.recipes import Recipe
from dvt_edge.machine import spread
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.stages import StageChain, StageGraph, split
from dvt_edge.quiet import Report

WORTHWHILE = 5_000_000  # parameters: with fewer a process of its own takes longer to start than a stage to convert
PACKAGE = "cascade.mlpackage"  # of all stages
PROCESS = 2 * 2**30  # bytes that one takes at most: 1.4e9 of a ViT-S with all its stages in one


@dataclass(frozen=True)
class Conversion:
    """What converting a stage takes, all of it picklable: called with the stage's index, it writes the artifact.

    `converted` is `cascade`, or the same in float with its outliers moved; `pixels` are those of the images that set
    ranges, (n, size, size, 3) uint8; `threads` is what PyTorch may use, None: as it is.
    """

    cascade: Cascade
    converted: Cascade
    recipe: Recipe
    pixels: NDArray[np.uint8]
    folder: Path
    threads: int | None = None

    def __call__(self, index: int) -> StageSpec:
        """Raises ExportError, also where the artifact's operators are not what the recipe promises."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        recipe = self.recipe
        stage = split(self.converted, recipe.layout, recipe.state)[index]
        with packages(f"target {recipe.name}", recipe.extra):
            converted = exporter_for(recipe)(stage, recipe, lambda: self.inputs(index), self.folder)
        keep_promise(recipe, stage.name, converted.operators)
        return stage_spec(self.cascade, stage, converted)

    def inputs(self, index: int) -> Iterator[tuple[Tensor, ...]]:
        """Those of one stage, one image at a time through PyTorch: memory does not grow with the images."""
        chain = StageChain(split(self.cascade, state=self.recipe.state))
        for image in self.pixels:
            ready, _ = chain.run(torch.from_numpy(image)[None], last=index)[index]
            yield tuple(ready.values())


def workers_for(cascade: Cascade) -> int:
    """Processes that convert its stages soonest: one for small stages, else one a stage, as cores and memory allow."""
    if sum(p.numel() for p in cascade.parameters()) < WORTHWHILE:
        return 1
    return max(1, min(cascade.config.num_exits, os.cpu_count() or 1, machine.free_memory() // PROCESS))


def convert_stages(conversion: Conversion, workers: int, report: Report) -> tuple[StageSpec, ...]:
    """Every stage converted, in `workers` processes. Raises what a conversion raises, EngineError where one died."""
    stages = range(conversion.cascade.config.num_exits)
    workers = min(workers, len(stages))
    if workers > 1:
        conversion = replace(conversion, threads=max(1, torch.get_num_threads() // workers))
    found: dict[int, StageSpec] = {}
    what = f"{conversion.recipe.name}: converting {len(stages)} stages"
    report(what, 0, len(stages))
    for index, spec in spread(conversion, stages, workers):
        found[index] = spec
        report(what, len(found), len(stages))
    specs = tuple(found[index] for index in stages)
    return in_one_package(specs, conversion.folder) if conversion.recipe.one_package else specs


def in_one_package(stages: tuple[StageSpec, ...], folder: Path) -> tuple[StageSpec, ...]:
    """The stages as functions of one package, in place of theirs."""
    from dvt_edge.exporting.coreml_exporter import share

    share([folder / stage.artifact for stage in stages], folder / PACKAGE)
    return tuple(replace(stage, artifact=PACKAGE) for stage in stages)


def stage_spec(cascade: Cascade, stage: StageGraph, converted: Converted) -> StageSpec:
    """A converted stage as the manifest has it. Whatever its layout, the runtime hands pixels over."""
    return StageSpec(
        name=stage.name,
        artifact=converted.artifact.name,
        grid=stage.grid,
        macs=stage.macs(),
        parameters=stage.parameter_count(),
        inputs=(split(cascade)[stage.index].inputs[0], *stage.inputs[1:]),
        outputs=stage.outputs,
        operators=converted.operators,
        compiled=converted.compiled,
    )
