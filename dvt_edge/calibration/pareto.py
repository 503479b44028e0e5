"""Accuracy against cost for every joint choice of thresholds, and the front of the best.

An image that stage k - 1 does not answer costs c[k] - c[k-1] more and gains right[k] - right[k-1], so with
S_k(w) the sum of w over the images that pass the first k exits, and thresholds t,

    mean cost(t)    = c[0]           + sum over k of (c[k] - c[k-1]) S_k(1)(t) / n
    mean quality(t) = mean(right[0]) + sum over k of S_k(right[k] - right[k-1])(t) / n

S_k for every t at once is a histogram over the first k confidences, summed up along each axis. On a grid of a few
hundred candidate thresholds an exit this is exact for up to four exits; beyond, `ascend` moves one at a time.

The front of the raw figures flatters itself: the maximum over many thresholds picks up luck. With `smooth` the gains
are first replaced by a regression on the ranks of the confidences (`smoothing.py`). Costs are never smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.calibration.smoothing import smoothed

NEVER = 2.0  # a threshold that no confidence reaches
GRID = {2: 1000, 3: 300, 4: 100}  # exits -> candidate thresholds an exit: at most about 1e6 cells
ASCENT_GRID = 200  # candidates an exit where there are more exits
PRICES = np.geomspace(1e-3, 1e1, 41)  # of the whole cost range, in quality: the slopes that `ascend` tries
ASCENT_BANDWIDTH = 0.06
REFINEMENTS, GAPS = 12, 16  # rounds between the points that prices find, and gaps in cost a round
STEPS, MOVED = (64, 32, 16, 8) * 2, 64  # how far one exit's candidate is then moved, and of how many points

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Front:
    """Points by rising cost and rising quality.

    `thresholds` is (points, exits) float32; `cost`, in the unit given, and `quality`, a fraction, are (points,) means
    over the images searched: smoothed ones where the search smoothed, of up to four exits. `last` is the quality of
    always running every stage.
    """

    thresholds: NDArray[np.float32]
    cost: Floats
    quality: Floats
    last: float

    def __len__(self) -> int:
        return len(self.cost)

    def within(self, budget: float) -> int | None:
        """Index of the best point whose cost is at most `budget`; None where even the cheapest costs more."""
        affordable = int(np.searchsorted(self.cost, budget * (1 + 1e-12), side="right"))
        return affordable - 1 if affordable else None

    def reaching(self, quality: float) -> int | None:
        """Index of the cheapest point of at least this quality; None where there is none."""
        index = int(np.searchsorted(self.quality, quality - 1e-12, side="left"))
        return index if index < len(self) else None


def pareto_front(
    values: NDArray[np.float32],
    right: NDArray[Any],
    cost: Sequence[float],
    *,
    smooth: bool = True,
    grid: int | None = None,
) -> Front:
    """The front over joint thresholds. Exact on the grid for up to four exits, a good heuristic beyond.

    `values` is (images, exits) finite confidences; `right` (images, exits), what an exit's answer counts;
    `cost` is cumulative, one an exit. `grid` is the number of candidate thresholds an exit.
    """
    exits = values.shape[1]
    if exits == 1:
        quality = np.array([np.mean(right, dtype=np.float64)])
        return Front(np.zeros((1, 1), np.float32), np.array([float(cost[0])]), quality, float(quality[0]))
    size = grid or GRID.get(exits, ASCENT_GRID)
    choices = [candidates(values[:, k], size) for k in range(exits - 1)]
    if exits > max(GRID):
        return ascend(values, np.asarray(right, dtype=np.float64), np.asarray(cost, dtype=np.float64), choices, smooth)
    cost_surface, quality_surface = surfaces(values, right, cost, choices, smooth)
    kept = best(cost_surface.ravel(), quality_surface.ravel())
    cells = np.unravel_index(kept, cost_surface.shape)
    columns = [choice[cell] for choice, cell in zip(choices, cells, strict=True)]
    thresholds = np.stack([*columns, np.zeros(len(kept), np.float32)], axis=1)
    return Front(thresholds, cost_surface.ravel()[kept], quality_surface.ravel()[kept], float(quality_surface.flat[-1]))


def candidates(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """At most `size` rising thresholds: all leave, then midway between neighbouring values at even ranks, NEVER."""
    ordered = np.sort(values)
    ranks = np.unique(np.linspace(0, len(ordered), max(size, 2) - 1).astype(np.int64)[1:-1])
    upper = np.unique(ordered[ranks])
    upper = upper[upper > ordered[0]]
    lower = ordered[np.searchsorted(ordered, upper, side="left") - 1]
    middle = ((lower.astype(np.float64) + upper) / 2).astype(np.float32)
    middle = np.where(middle > lower, middle, upper)
    return np.concatenate([np.zeros(1, np.float32), middle, np.full(1, NEVER, np.float32)])


def surfaces(
    values: NDArray[np.float32],
    right: NDArray[Any],
    cost: Sequence[float],
    choices: Sequence[NDArray[np.float32]],
    smooth: bool,
) -> tuple[Floats, Floats]:
    """(cost, quality) of every joint threshold: an axis for each exit but the last, `choices` along it."""
    images, exits = values.shape
    shape = tuple(len(c) for c in choices)
    cost_surface = np.full(shape, float(cost[0]))
    quality_surface = np.full(shape, float(np.mean(right[:, 0], dtype=np.float64)))
    cell = np.zeros(images, np.int64)
    for k in range(1, exits):
        bins = shape[k - 1] - 1  # between neighbouring thresholds
        cell = cell * bins + np.searchsorted(choices[k - 1], values[:, k - 1], side="right") - 1
        box = tuple(size - 1 for size in shape[:k])
        gain = np.asarray(right[:, k], dtype=np.float64) - right[:, k - 1]
        count, gained = histogram(cell, np.ones(images), box), histogram(cell, gain, box)
        if smooth:
            gained = smoothed(count, gained, histogram(cell, gain**2, box))
        rest = (slice(None),) * k + (None,) * (exits - 1 - k)
        cost_surface += (float(cost[k]) - float(cost[k - 1])) / images * passing(count)[rest]
        quality_surface += passing(gained)[rest] / images
    return cost_surface, quality_surface


def histogram(cells: NDArray[np.int64], weights: Floats, shape: tuple[int, ...]) -> Floats:
    """The sum of the weights in each cell of a grid of that shape."""
    return np.bincount(cells, weights, math.prod(shape)).reshape(shape).astype(np.float64)


def passing(bins: Floats) -> Floats:
    """The sum over all bins below each threshold, along every axis; one longer than the bins."""
    total = np.zeros(tuple(size + 1 for size in bins.shape))
    inner = total[(slice(1, None),) * bins.ndim]
    inner[...] = bins
    for axis in range(bins.ndim):
        np.cumsum(inner, axis=axis, out=inner)
    return total


def best(cost: Floats, quality: Floats) -> NDArray[np.int64]:
    """Indices of the points that no other one beats in both, by rising cost."""
    order = np.lexsort((-quality, cost))
    ahead = np.maximum.accumulate(quality[order])
    better = np.ones(len(order), dtype=bool)
    better[1:] = ahead[1:] > ahead[:-1] + 1e-12
    return order[better]


# -- more exits than a grid can hold ------------------------------------------------------------------------------


def ascend(
    values: NDArray[np.float32], right: Floats, cost: Floats, choices: Sequence[NDArray[np.float32]], smooth: bool
) -> Front:
    """The front among the thresholds that maximise quality - price * cost, for many prices.

    Coordinate ascent: with all other thresholds fixed, the best one for an exit is exact. It starts from the answer to
    the price before and from the median confidences, so that one poor local maximum does not decide.
    """
    binned = [np.searchsorted(c, v, side="right") - 1 for c, v in zip(choices, values.T, strict=False)]
    starts = [tuple(int(share * (len(c) - 1)) for c in choices) for share in (0.5, 1.0)]
    found: set[tuple[int, ...]] = set(starts)
    warm = starts[-1]
    for price in PRICES / (cost[-1] - cost[0]):
        reward = right - price * cost
        ends = {climb(binned, reward, choices, start, smooth) for start in (starts[0], warm)}
        warm = max(ends, key=lambda end: float(reward[np.arange(len(values)), leave(binned, end)].mean()))
        found |= ends
    found |= {(0,) * len(choices), tuple(len(c) - 1 for c in choices)}  # all leave at once, or at the last exit
    cells, costs, qualities = refined(np.array(sorted(found)), binned, right, cost)
    thresholds = np.stack([c[cells[:, k]] for k, c in enumerate(choices)], axis=1)
    thresholds = np.concatenate([thresholds, np.zeros((len(cells), 1), np.float32)], axis=1)
    return Front(thresholds, costs, qualities, float(right[:, -1].mean()))


def refined(
    cells: NDArray[np.int64], binned: Sequence[NDArray[np.int64]], right: Floats, cost: Floats
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """(cells, cost, quality) of the front, with points in its interior, which no price finds.

    In the widest gaps in cost, what lies half-way between both neighbours is tried, also with one exit's threshold of
    either and the reverse; then points with one exit's threshold moved. What no other point beats is kept.
    """
    rows = np.arange(len(right))
    seen: set[tuple[int, ...]] = set()
    known, costs, qualities = cells[:0], np.empty(0), np.empty(0)

    def with_these(cells: NDArray[np.int64]) -> None:
        """Add what is not known yet, and keep the front."""
        nonlocal known, costs, qualities
        new = sorted(set(map(tuple, cells.tolist())) - seen)
        seen.update(new)
        left = [leave(binned, row) for row in new]
        costs = np.concatenate([costs, [cost[e].mean() for e in left]])
        qualities = np.concatenate([qualities, [right[rows, e].mean() for e in left]])
        known = np.concatenate([known, np.array(new, dtype=np.int64).reshape(-1, cells.shape[1])])
        kept = best(costs, qualities)
        known, costs, qualities = known[kept], costs[kept], qualities[kept]

    with_these(cells)
    for _ in range(REFINEMENTS):
        widest = np.argsort(-np.diff(costs))[:GAPS]
        below, above = known[widest], known[widest + 1]
        middle = (below + above) // 2
        tried = [middle]
        for k in range(known.shape[1]):
            for end in (below, above):
                one, other = middle.copy(), end.copy()
                one[:, k], other[:, k] = end[:, k], middle[:, k]
                tried += [one, other]
        with_these(np.concatenate(tried))
    for step in STEPS:
        spread = known[np.unique(np.linspace(0, len(known) - 1, MOVED).astype(np.int64))]
        moves = np.concatenate([d * np.eye(known.shape[1], dtype=np.int64) for d in (-step, step)])
        with_these(np.clip(spread[:, None] + moves, 0, known.max(axis=0)).reshape(-1, known.shape[1]))
    return known, costs, qualities


def climb(
    binned: Sequence[NDArray[np.int64]],
    reward: Floats,
    choices: Sequence[NDArray[np.float32]],
    start: tuple[int, ...],
    smooth: bool,
    rounds: int = 20,
) -> tuple[int, ...]:
    """Thresholds, as indices of `choices`, that no change of a single one improves; or where `rounds` end."""
    cells = list(start)
    for _ in range(rounds):
        before = tuple(cells)
        for k in reversed(range(len(choices))):
            later = reward[:, -1]
            for m in reversed(range(k + 1, len(choices))):
                later = np.where(binned[m] >= cells[m], reward[:, m], later)
            here = np.ones(len(reward), dtype=bool)
            for m in range(k):
                here &= binned[m] < cells[m]
            bins, gain = binned[k][here], (later - reward[:, k])[here]
            box = (len(choices[k]) - 1,)
            total = histogram(bins, gain, box)
            if smooth:
                count, squared = histogram(bins, np.ones(len(gain)), box), histogram(bins, gain**2, box)
                total = smoothed(count, total, squared, (ASCENT_BANDWIDTH,))
            cells[k] = int(np.argmax(passing(total)))
        if tuple(cells) == before:
            break
    return tuple(cells)


def leave(binned: Sequence[NDArray[np.int64]], cells: Sequence[int]) -> NDArray[np.int64]:
    """The exit of each image at thresholds given as indices."""
    exits = np.full(len(binned[0]), len(cells))
    for k in reversed(range(len(cells))):
        exits = np.where(binned[k] >= cells[k], k, exits)
    return exits
