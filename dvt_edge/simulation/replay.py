"""Logged logits as an endless stream of images: where each leaves, at every operating point, in a seeded order.

Images come in one seeded order, again and again. Sums over any stretch of that stream are differences of prefix sums,
so that a tick of the simulator costs the same for ten images as for ten thousand.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dvt_edge.calibration.exit_logits import ExitLogits
from dvt_edge.device.exit_rule import confidences, simulate_exits
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.operating_point import OperatingPoint
from dvt_edge.errors import SimulationError


@dataclass(frozen=True)
class Shift:
    """From `at_s` on, images are drawn anew from the same set with weights exp(strength x rank of difficulty), rank
    0 for the easiest and 1 for the hardest; difficulty is the first exit's lack of confidence.
    """

    at_s: float
    strength: float = 3.0

    def __post_init__(self) -> None:
        if not (self.at_s >= 0 and np.isfinite(self.strength)):
            raise SimulationError(f"shift at {self.at_s:g} s of strength {self.strength:g}; expected finite, from 0 s")


class Stream:
    """The exits of the images in their order, at one operating point and cap, with prefix sums over it."""

    def __init__(self, exits: NDArray[np.int64], right: NDArray[np.bool_] | None, stages: int) -> None:
        self.exits, self.size, self.stages = exits, len(exits), stages
        marks = np.zeros((self.size + 1, stages + 1), dtype=np.int64)
        marks[np.arange(1, self.size + 1), exits] = 1
        if right is not None:
            marks[1:, stages] = right
        self.sums = marks.cumsum(axis=0)
        self.right = marks[1:, stages]

    def stretch(self, first: int, count: int) -> tuple[list[int], int]:
        """Of images `first` to `first + count` of the endless stream: leaving at each exit, and right."""
        (before, start), (cycles, end) = divmod(first, self.size), divmod(first + count, self.size)
        sums = self.sums[end] - self.sums[start]
        if cycles > before:
            sums = sums + (cycles - before) * self.sums[-1]
        *exits, right = sums.tolist()
        return exits, right

    def upto_each(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) positions -> (n, stages + 1) counts by exit and right ones before them."""
        cycles, rest = np.divmod(positions, self.size)
        return self.sums[rest] + cycles[:, None] * self.sums[-1]

    def worths(self, first: int, count: int, exit_price: NDArray[np.float64]) -> NDArray[np.float64]:
        """(count,) 1 for each right image and 0 for others, less the price of its exit."""
        places = np.arange(first, first + count) % self.size
        return self.right[places] - exit_price[self.exits[places]]

    def stretch_exits(self, first: int, count: int) -> NDArray[np.int64]:
        """(count,) exits, image by image."""
        first %= self.size
        return self.exits[np.arange(first, first + count) % self.size]


def dice(seed: int) -> np.random.Generator:
    """For the order of the images; arrivals have streams of their own."""
    return np.random.default_rng((seed, 2))


class Replay:
    """The streams of one set of images, made when they are first needed. Without labels none counts as right.

    Raises SimulationError for logits that are not finite, naming image and exit, or points of another cascade.
    """

    def __init__(
        self,
        logits: ExitLogits,
        confidence: ConfidenceSpec,
        points: Sequence[OperatingPoint],
        seed: int,
        shift: Shift | None = None,
    ) -> None:
        self.logits, self.points, self.stages, self.labelled = (
            logits,
            points,
            logits.about.exits,
            logits.labels is not None,
        )
        if len(logits) == 0:
            raise SimulationError(f"{logits.about.data}: no images to replay")
        for point in points:
            if len(point.thresholds) != self.stages:
                raise SimulationError(
                    f"point {point.name!r} has {len(point.thresholds)} thresholds; the logits have {self.stages} exits"
                )
        if len(confidence.temperature) != self.stages:
            raise SimulationError(f"{len(confidence.temperature)} temperatures; the logits have {self.stages} exits")
        bad = ~np.isfinite(logits.logits).all(axis=2)
        if bad.any():
            image, exit_ = np.argwhere(bad)[0].tolist()
            raise SimulationError(f"{logits.about.data}: the logits of image {image}, exit {exit_} are not finite")
        columns = [
            confidences(logits.logits[:, k], t, confidence.measure) for k, t in enumerate(confidence.temperature)
        ]
        self.values = np.stack(columns, axis=1)
        random = dice(seed)
        self.orders = [random.permutation(len(logits))]
        if shift is not None:
            rank = np.empty(len(logits))
            rank[np.argsort(-self.values[:, 0], kind="stable")] = np.linspace(0, 1, len(logits))
            weights = np.exp(shift.strength * (rank - (shift.strength > 0)))  # the largest is 1, of either sign
            self.orders.append(random.choice(len(logits), size=len(logits), p=weights / weights.sum()))
        self.shift_s = np.inf if shift is None else shift.at_s
        self.streams: dict[tuple[bool, int, int | None], Stream] = {}

    def reordered(self, seed: int) -> Replay:
        """The same images in another seeded order, without a shift: what does not depend on the order is kept."""
        other = copy.copy(self)
        other.orders = [dice(seed).permutation(len(self.logits))]
        other.shift_s, other.streams = np.inf, {}
        return other

    @cached_property
    def correct(self) -> NDArray[np.bool_] | None:
        return self.logits.correct if self.labelled else None

    def stream(self, time_s: float, point: int, cap: int | None = None) -> Stream:
        """The stream of point number `point`, no stage after `cap`, as it is at `time_s`."""
        key = (time_s >= self.shift_s, point, cap)
        if key not in self.streams:
            order = self.orders[key[0]]
            last = self.stages - 1 if cap is None else min(cap, self.stages - 1)
            exits = simulate_exits(self.values[order, : last + 1], self.points[point].thresholds[: last + 1])
            right = None if self.correct is None else self.correct[order, exits]
            self.streams[key] = Stream(exits, right, self.stages)
        return self.streams[key]
