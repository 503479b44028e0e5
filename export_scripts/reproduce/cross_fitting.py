"""Thresholds from the other half of the test images, for data whose held-out images are unlike those of the test.

Halves are drawn at random; each image leaves by what the half that it is not in gives. No static model needs any.

Other images would have given other thresholds, so the intervals here redo it all: deal, search, and figures, on random
half-samples of the test images, whose figures scatter as those of the whole do from set to set (delete-half jackknife,
Shao and Wu 1989). They are drawn without replacement: what smooths a search leaves one image out, not its copies.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from results_tables import SHOWN_LOSSES

from dvt_edge.calibration.exit_logits import ExitLogits
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.exit_rule import simulate_exits
from dvt_edge.device.runtime import Result, Runtime
from dvt_edge.evaluation.curves import Evidence, Point, engine_ms, take_turns
from dvt_edge.evaluation.intervals import Interval
from dvt_edge.evaluation.study import at_temperature_1, cost_run, equal_run, loss_run
from dvt_edge.quiet import Report

CROSSED = "crossed: "  # before the name of a run by such thresholds
DRAWS, SEED = 400, 0
Exits = dict[str, NDArray[np.uint8]]  # (images,) where each leaves, by "<artifact>/<run>"
Images = NDArray[np.intp]  # places of images, in the order in which they are dealt into halves


def dealt(images: int) -> Images:
    """All of them, in the order of the page's figures."""
    return np.random.default_rng(SEED).permutation(images)


def half_samples(images: int) -> Iterator[Images]:
    """Random halves of them, `DRAWS` times."""
    rng = np.random.default_rng(SEED + 1)
    for _ in range(DRAWS):
        yield rng.permutation(images)[: images // 2]


def scatter(value: float, draws: ArrayLike) -> Interval:
    """The 95 % interval around `value` of a figure that half-samples have so."""
    found = np.asarray(draws, float)
    low, high = np.quantile(found - found.mean(), (0.025, 0.975))
    return value + float(low), value + float(high)


def halves(own: Evidence, order: Images) -> Iterator[tuple[Images, Images, Evidence]]:
    """(each half of the images, the other, both as evidence): to report on, with thresholds from the other."""
    first, second = np.split(order, [len(order) // 2])
    for half, other in ((first, second), (second, first)):
        yield half, other, Evidence(own.test.take(other), own.test.take(half))


def as_cheap(own: Evidence, other: Evidence, statics: Mapping[str, float] | None = None) -> dict[str, Point]:
    """The other cascade's best thresholds that cost no more on the search images than this one's at each aimed loss,
    and than each static model, of MACs by name."""
    front = own.front
    costs = {loss_run(loss): float(front.cost[front.reaching(front.last - loss)]) for loss in SHOWN_LOSSES}
    costs |= {cost_run(name): macs for name, macs in (statics or {}).items()}
    runs = {run: other.within(cost) for run, cost in costs.items()}
    return {run: other.at(thresholds) for run, thresholds in runs.items() if thresholds is not None}


def crossed_losses(own: Evidence, others: Mapping[str, Evidence], order: Images | None = None) -> Exits:
    """Of this cascade at each aimed loss, and of each other one that may cost as much. Images not in `order`: 0."""
    order = dealt(len(own.test)) if order is None else order
    found: Exits = {}

    def leave(name: str, run: str, half: Images, fold: Evidence, thresholds: Sequence[float]) -> None:
        exits = found.setdefault(f"{name}/{CROSSED}{run}", np.zeros(len(own.test), np.uint8))
        exits[half] = simulate_exits(fold.test_confidences, thresholds)

    theirs = {name: [fold for *_, fold in halves(other, order)] for name, other in others.items()}
    for index, (half, _, fold) in enumerate(halves(own, order)):
        for loss in SHOWN_LOSSES:
            leave(own.test.about.target, loss_run(loss), half, fold, fold.losing(loss).tolist())
        for name, folds in theirs.items():
            for run, point in as_cheap(fold, folds[index]).items():
                leave(name, run, half, folds[index], point.thresholds)
    return found


def as_accurate(
    own: Evidence, static: ExitLogits, order: Images
) -> Iterator[tuple[Images, Evidence, tuple[float, ...]]]:
    """Each half, with the cheapest thresholds that are as accurate as a static model on the other."""
    for half, other, fold in halves(own, order):
        elsewhere = static.correct[other, 0].mean()
        yield half, fold, fold.at(fold.reaching(float(elsewhere))).thresholds


def crossed_equal(own: Evidence, static: ExitLogits, name: str, order: Images | None = None) -> Exits:
    """Of an artifact, at the accuracy of the static model of that name. Images not in `order`: 0."""
    exits = np.zeros(len(own.test), np.uint8)
    for half, fold, thresholds in as_accurate(own, static, dealt(len(own.test)) if order is None else order):
        exits[half] = simulate_exits(fold.test_confidences, thresholds)
    return {f"{own.test.about.target}/{CROSSED}{equal_run(name, 0.0)}": exits}


class Redone(NamedTuple):
    """Of `crossed_equal`: intervals of its top-1 less the static model's, and of how many times fewer MACs it takes;
    the shares that leave at each exit, of all images and of each half-sample."""

    points: Interval
    fewer_macs: Interval
    shares: list[float]
    drawn_shares: list[list[float]]


def equal_intervals(own: Evidence, static: ExitLogits, report: Report) -> Redone:
    """`crossed_equal` on half-samples."""
    macs, whole = np.asarray(own.test.about.macs, float), static.about.macs[0]

    def figures(images: Images) -> tuple[float, float, list[float]]:
        [exits] = (found[images] for found in crossed_equal(own, static, "", images).values())
        right = own.test.correct[images, exits].mean() - static.correct[images, 0].mean()
        left = np.bincount(exits, minlength=len(macs)) / len(exits)
        return float(right), float(whole / macs[exits].mean()), left.tolist()

    points, fewer, shares = figures(dealt(len(own.test)))
    drawn = [figures(images) for images in told(len(own.test), f"{own.test.about.target}: half-samples", report)]
    right, cheaper, left = zip(*drawn, strict=True)
    return Redone(scatter(points, right), scatter(fewer, cheaper), shares, list(left))


def told(images: int, what: str, report: Report) -> Iterator[Images]:
    """`half_samples`, with progress."""
    for done, sample in enumerate(half_samples(images), 1):
        yield sample
        report(what, done, DRAWS)


Differences = Callable[[Exits, Images], dict[str, float]]  # of runs that left so, of these images, by their names


def loss_intervals(
    own: Evidence, others: Mapping[str, Evidence], differences: Differences, report: Report
) -> dict[str, Interval]:
    """Of what `differences` makes of `crossed_losses`, by its names; what half-samples often lack is left out."""
    order = dealt(len(own.test))
    values = differences(crossed_losses(own, others, order), order)
    drawn = [
        differences(crossed_losses(own, others, images), images)
        for images in told(len(own.test), f"{own.test.about.target}: half-samples at each loss", report)
    ]
    found = {}
    for name, value in values.items():
        had = [d[name] for d in drawn if name in d]
        if len(had) > DRAWS / 2:
            found[name] = scatter(value, had)
    return found


def crossed_time(
    own: Evidence,
    static: ExitLogits,
    bundles: tuple[CascadeBundle, CascadeBundle],
    images: LabelledImages,
    timed: int,
    redone: Redone,
    report: Report,
) -> dict[str, Any]:
    """Milliseconds at batch 1 of the cascade at a static model's accuracy, and of that, the two taking turns.

    `bundles` are the cascade's and the static model's; of each half of the test `images`, `timed` // 2 are run. The
    mean is of the shares that leave at each exit (`equal_intervals`), so that the interval holds both what other
    images would have taken and where they would have left.
    """
    target = own.test.about.target
    ours: list[Result] = []
    theirs: list[Result] = []
    for half, _, thresholds in as_accurate(own, static, dealt(len(own.test))):
        runtimes = {
            "cascade": Runtime(at_temperature_1(bundles[0]), thresholds=thresholds),
            "static": Runtime(bundles[1]),
        }
        sample = images.take(half[: timed // 2].tolist())
        found = take_turns(runtimes, sample, lambda done, of: report(f"{target}: timing a half", done, of))
        ours += found["cascade"]
        theirs += found["static"]
    exits, ms = np.array([r.exit for r in ours]), np.array([engine_ms(r) for r in ours])
    alone = np.array([engine_ms(r) for r in theirs])
    rng, drawn = np.random.default_rng(SEED), []
    for share in redone.drawn_shares:
        again = rng.integers(0, len(ms), len(ms))
        drawn.append(alone[again].mean() / weighted(ms[again], exits[again], share))
    mean = weighted(ms, exits, redone.shares)
    return {
        "images": len(ms),
        "mean_ms": mean,
        "static_mean_ms": statistics.mean(alone.tolist()),
        "less_time": scatter(float(alone.mean() / mean), drawn),
    }


def weighted(ms: NDArray[np.float64], exits: NDArray[np.int64], shares: Sequence[float]) -> float:
    """The mean of (images,) milliseconds if these shares left at each exit. An exit where none left has all images'."""
    of_exit = [ms[exits == k].mean() if (exits == k).any() else ms.mean() for k in range(len(shares))]
    return float(np.dot(of_exit, shares))
