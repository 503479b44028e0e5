"""Which layers int8 hurts: each layer or group rounded alone, and all but it; what to keep in float for a bound."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from dvt_edge.data.images import LabelledImages
from dvt_edge.exporting.emulation import Answers, Emulation, answers
from dvt_edge.exporting.outliers import normalised, smoothed
from dvt_edge.exporting.recipes import Recipe, inside
from dvt_edge.network.cascade import Cascade
from dvt_edge.quiet import Report
from dvt_edge.validation.compare import ErrorMeter, sort_key

By = Literal["layer", "block", "kind"]
MOST_KEPT = 0.25  # of the groups: above that another recipe is the better answer


@dataclass(frozen=True)
class ExitLoss:
    """One exit against float, on the same images."""

    sqnr_db: float | None  # null: equal
    agreement: float  # share of images with the same label
    top1_change: float | None  # null: no labels


@dataclass(frozen=True)
class Group:
    """Layers that are switched together; `name` is a pattern that `keep_float` takes."""

    name: str
    layers: tuple[str, ...]
    alone: tuple[ExitLoss, ...]  # only it rounded
    without: tuple[ExitLoss, ...]  # all but it


@dataclass(frozen=True)
class Sensitivity:
    model: str
    target: str
    by: By
    images: int
    calibration_images: int
    data: str
    aim_db: float
    everything: tuple[ExitLoss, ...]
    groups: tuple[Group, ...]  # the one that costs most first
    keep_float: tuple[str, ...]  # what to keep so that every exit has `aim_db`
    kept: tuple[ExitLoss, ...]  # all but these
    reached: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def patterns(layers: Sequence[str], by: By) -> list[str]:
    """The groups of layers, each as a pattern, in the order of the network."""
    return list(dict.fromkeys(pattern(name, by) for name in layers))


def pattern(layer: str, by: By) -> str:
    """ "stage0.blocks.3.attn.qkv" itself, "stage0.blocks.3" or "stage0.blocks.*.attn.qkv"."""
    parts = layer.split(".")
    if by == "layer" or parts[1] != "blocks":
        return layer
    kept = parts[:3] if by == "block" else [*parts[:2], "*", *parts[3:]]
    return ".".join(kept)


def sensitivity(
    cascade: Cascade,
    recipe: Recipe,
    calibration: LabelledImages,
    measured: LabelledImages,
    by: By = "layer",
    aim_db: float | None = None,
    report: Report | None = None,
) -> Sensitivity:
    """Ranges of `calibration`, losses on `measured`: other images.

    Raises ExportError for a recipe without static int8.
    """
    ranges = list(normalised(calibration, cascade.config))
    if recipe.quantization is not None and recipe.quantization.smooth is not None:
        cascade = smoothed(cascade, ranges, recipe.quantization.smooth)
    else:
        cascade = copy.deepcopy(cascade)  # the emulation changes what it is given
    emulation = Emulation(cascade, recipe, ranges)
    images, labels = list(normalised(measured, cascade.config)), measured.labels
    exact = answers(emulation, images, ())

    def losses(found: Answers) -> tuple[ExitLoss, ...]:
        return tuple(loss(y, z, labels) for y, z in zip(found.exit_logits(), exact.exit_logits(), strict=True))

    every = frozenset(emulation.layers)
    rounded = answers(emulation, images, every, exact)
    names = patterns(list(emulation.layers), by)
    members = {name: tuple(x for x in emulation.layers if inside(x, name)) for name in names}
    groups = []
    for done, name in enumerate(names):
        alone = losses(answers(emulation, images, members[name], exact))
        without = losses(answers(emulation, images, every - set(members[name]), rounded))
        groups.append(Group(name, members[name], alone, without))
        if report:
            report(f"{recipe.name}: {name}", done + 1, len(names))
    aim = aim_db if aim_db is not None else recipe.bounds.min_sqnr_db or 0.0
    keep: list[str] = []
    kept = losses(rounded)
    while worst(kept)[1] < aim and len(keep) < max(1, MOST_KEPT * len(groups)):
        exit_, _ = worst(kept)
        left = [g for g in groups if g.name not in keep and g.alone[exit_].sqnr_db is not None]
        if not left:
            break
        keep.append(min(left, key=lambda g: sort_key(g.alone[exit_].sqnr_db)).name)
        still = every - {layer for name in keep for layer in members[name]}
        kept = losses(answers(emulation, images, still, rounded))
        if report:
            report(f"{recipe.name}: {len(keep)} kept in float", len(names), len(names))
    return Sensitivity(
        cascade.config.name,
        recipe.name,
        by,
        len(measured),
        len(calibration),
        measured.source,
        aim,
        losses(rounded),
        tuple(sorted(groups, key=lambda g: worst(g.alone)[1])),
        tuple(keep),
        kept,
        worst(kept)[1] >= aim,
    )


def worst(found: Sequence[ExitLoss]) -> tuple[int, float]:
    """The exit of the lowest SQNR, and that."""
    return min(((k, sort_key(one.sqnr_db)) for k, one in enumerate(found)), key=lambda pair: pair[1])


def loss(found: Tensor, exact: Tensor, labels: Sequence[int] | None) -> ExitLoss:
    meter = ErrorMeter()
    meter.add(found.numpy(), exact.numpy())
    ours, theirs = found.argmax(1).numpy(), exact.argmax(1).numpy()
    change = None if labels is None else float(np.mean(ours == labels) - np.mean(theirs == labels))
    return ExitLoss(meter.sqnr_db, float(np.mean(ours == theirs)), change)
