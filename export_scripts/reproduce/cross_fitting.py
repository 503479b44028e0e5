"""Thresholds from the other half of the test images, for data whose held-out images are unlike those of the test.

Halves are drawn at random; each image leaves by what the half that it is not in gives. No static model needs any.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results_tables import SHOWN_LOSSES

from dvt_edge.calibration.exit_logits import ExitLogits
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.exit_rule import simulate_exits
from dvt_edge.device.runtime import Runtime
from dvt_edge.evaluation.curves import Evidence, Point, engine_ms, take_turns
from dvt_edge.evaluation.intervals import times_less
from dvt_edge.evaluation.study import at_temperature_1, equal_run
from dvt_edge.quiet import Report

CROSSED = "crossed: "  # before the name of a run by such thresholds
Exits = dict[str, NDArray[np.uint8]]  # (images,) where each leaves, by "<artifact>/<run>"


def halves(own: Evidence) -> Iterator[tuple[NDArray[np.intp], Evidence]]:
    """Each half of the test images: to report on, with thresholds from the other."""
    order = np.random.default_rng(0).permutation(len(own.test))
    first, second = np.split(order, [len(order) // 2])
    for half, other in ((first, second), (second, first)):
        yield half, Evidence(some(own.test, other), some(own.test, half))


def some(logits: ExitLogits, images: NDArray[np.intp]) -> ExitLogits:
    assert logits.labels is not None
    return ExitLogits(logits.logits[images], logits.labels[images], replace(logits.about, images=len(images)))


def as_cheap(own: Evidence, other: Evidence) -> dict[str, Point]:
    """The other cascade's best thresholds that cost no more on the search images than this one's at each aimed loss."""
    found = {}
    for loss in SHOWN_LOSSES:
        cost = own.front.cost[own.front.reaching(own.front.last - loss)]
        if (index := other.front.within(float(cost))) is not None:
            found[f"loses {100 * loss:g} %"] = other.at(other.front.thresholds[index])
    return found


def crossed_losses(own: Evidence, others: Mapping[str, Evidence]) -> Exits:
    """Of this cascade at each aimed loss, and of each other one that may cost as much."""
    found: Exits = {}

    def leave(name: str, run: str, half: NDArray[np.intp], fold: Evidence, thresholds: Sequence[float]) -> None:
        exits = found.setdefault(f"{name}/{CROSSED}{run}", np.zeros(len(own.test), np.uint8))
        exits[half] = simulate_exits(fold.test_confidences, thresholds)

    theirs = {name: [fold for _, fold in halves(other)] for name, other in others.items()}
    for index, (half, fold) in enumerate(halves(own)):
        for loss in SHOWN_LOSSES:
            leave(own.test.about.target, f"loses {100 * loss:g} %", half, fold, fold.losing(loss).tolist())
        for name, folds in theirs.items():
            for run, point in as_cheap(fold, folds[index]).items():
                leave(name, run, half, folds[index], point.thresholds)
    return found


def as_accurate(own: Evidence, static: ExitLogits) -> Iterator[tuple[NDArray[np.intp], Evidence, tuple[float, ...]]]:
    """Each half, with the cheapest thresholds that are as accurate as a static model on the other."""
    for half, fold in halves(own):
        elsewhere = np.delete(static.correct[:, 0], half).mean()
        yield half, fold, fold.at(fold.reaching(float(elsewhere))).thresholds


def crossed_equal(own: Evidence, static: ExitLogits, name: str) -> Exits:
    """Of an artifact, at the accuracy of the static model of that name."""
    exits = np.zeros(len(own.test), np.uint8)
    for half, fold, thresholds in as_accurate(own, static):
        exits[half] = simulate_exits(fold.test_confidences, thresholds)
    return {f"{own.test.about.target}/{CROSSED}{equal_run(name, 0.0)}": exits}


def crossed_time(
    own: Evidence,
    static: ExitLogits,
    bundles: tuple[CascadeBundle, CascadeBundle],
    images: LabelledImages,
    timed: int,
    report: Report,
) -> dict[str, Any]:
    """Milliseconds at batch 1 of the cascade at a static model's accuracy, and of that, the two taking turns.

    `bundles` are the cascade's and the static model's; of each half of the test `images`, `timed` // 2 are run.
    """
    target = own.test.about.target
    ours: list[float] = []
    theirs: list[float] = []
    for half, _, thresholds in as_accurate(own, static):
        runtimes = {
            "cascade": Runtime(at_temperature_1(bundles[0]), thresholds=thresholds),
            "static": Runtime(bundles[1]),
        }
        sample = images.take(half[: timed // 2].tolist())
        found = take_turns(runtimes, sample, lambda done, of: report(f"{target}: timing a half", done, of))
        ours += map(engine_ms, found["cascade"])
        theirs += map(engine_ms, found["static"])
    return {
        "images": len(ours),
        "mean_ms": statistics.mean(ours),
        "static_mean_ms": statistics.mean(theirs),
        "less_time": times_less(theirs, ours),
    }
