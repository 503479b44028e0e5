"""95 % intervals for what a study compares: what other images of the same kind would have given.

Where both sides answered the same images, rows are drawn with both answers (a paired bootstrap, Efron 1979): most
images are easy or hard for both, and what they share is no part of the difference. No interval here holds what another
seed of training would have given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dvt_edge.calibration.confidence import wilson

Interval = tuple[float, float]
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
DRAWS, SEED = 2000, 0


def bootstrap(rows: ArrayLike, statistic: Statistic, weights: ArrayLike | None = None) -> Interval:
    """Of a statistic of the means of (images, values) rows, which are drawn whole; percentiles.

    `statistic` maps (draws, values) means to (draws,). `weights`, where given, is how many images have each row.
    """
    table = np.asarray(rows, dtype=np.float64)
    if weights is None:
        table, counts = np.unique(table, axis=0, return_counts=True)
    else:
        counts = np.asarray(weights)
    images = int(counts.sum())
    drawn = np.random.default_rng(SEED).multinomial(images, counts / images, DRAWS)
    low, high = np.quantile(statistic(drawn @ table / images), (0.025, 0.975))
    return float(low), float(high)


def paired_difference(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Interval:
    """Of the top-1 of two models that answered the same (images,), ours less theirs; a fraction."""
    return bootstrap(np.stack([ours, theirs], axis=1), lambda means: means[:, 0] - means[:, 1])


def unpaired_difference(ours: tuple[int, int], theirs: tuple[int, int]) -> Interval:
    """The same from (right answers, images) alone, as if of two sets of images: Newcombe (1998), method 10.

    On the same images it is too wide, since the answers of two models go together.
    """
    p, q = ours[0] / ours[1], theirs[0] / theirs[1]
    (p_low, p_high), (q_low, q_high) = wilson(*ours), wilson(*theirs)
    low = p - q - math.hypot(p - p_low, q_high - q)
    return low, p - q + math.hypot(p_high - p, q - q_low)


def times_fewer(costs: ArrayLike, whole: float, weights: ArrayLike | None = None) -> Interval:
    """Of `whole` over the mean of (images,) costs; `weights`, where given, is how many images have each cost."""
    column = np.asarray(costs, dtype=np.float64)[:, None]
    return bootstrap(column, lambda means: whole / means[:, 0], weights)


def times_less(theirs: list[float], ours: list[float]) -> Interval:
    """Of the mean of theirs over that of ours, of the same (images,), such as milliseconds."""

    def ratio(means: NDArray[np.float64]) -> NDArray[Any]:
        return means[:, 0] / means[:, 1]

    return bootstrap(np.stack([theirs, ours], axis=1), ratio)
