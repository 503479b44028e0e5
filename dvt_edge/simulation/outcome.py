"""What a simulation says: counts, latencies, energy and a record over time. Each takes a fixed amount of memory."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.simulation.device_profile import Basis

SERIES = (
    *("time_s", "level", "temperature_c", "point"),
    *("arrived", "answered", "right", "dropped", "off", "late", "base_j"),
)
SERIES_ROWS = 2048  # at most; past it every second row goes
BINS_PER_DECADE = 232  # a bin is 1 % wide
SHORTEST_S, LONGEST_S = 1e-6, 1e5


@dataclass(frozen=True)
class Counts:
    """Images. Each that arrived was answered, dropped because it would have waited too long, or came while off."""

    arrived: int
    answered: int
    dropped: int
    off: int
    late: int  # answered after the deadline
    exits: tuple[int, ...]  # answered at each exit
    right: int | None  # None where labels are not known
    uncertified: int  # answered without a certificate

    @property
    def accuracy(self) -> float | None:
        """Right among those answered."""
        return None if self.right is None or not self.answered else self.right / self.answered

    @property
    def right_share(self) -> float | None:
        """Right among those that arrived: what a policy that dies early cannot win."""
        return None if self.right is None or not self.arrived else self.right / self.arrived

    @property
    def missed(self) -> int:
        """Deadlines missed while the device was on: dropped or late."""
        return self.dropped + self.late


@dataclass(frozen=True)
class Energy:
    """Joules; start + charged = end + base + stages + image + lost."""

    start_j: float
    end_j: float
    charged_j: float
    base_j: float  # what the device draws beside inference
    stage_j: tuple[float, ...]
    image_j: float  # of each image beside its stages
    lost_j: float  # in the battery when it could not pay for the next image

    @property
    def spent_j(self) -> float:
        return math.fsum((self.base_j, *self.stage_j, self.image_j, self.lost_j))

    @property
    def imbalance_j(self) -> float:
        """0 up to rounding: energy is conserved."""
        return self.start_j + self.charged_j - self.end_j - self.spent_j


@dataclass(frozen=True)
class Outcome:
    """One policy in one scenario. `series` columns are (rows,) float64, cumulative where they count: `Series`."""

    policy: str
    points: tuple[str, ...]
    point_images: tuple[int, ...]  # answered at each operating point
    simulated_s: float
    target_s: float | None
    empty_s: float | None  # when the battery was first empty; None if it never was
    total: Counts
    until_target: Counts | None
    latency_s: dict[str, float | None]  # p50, p95, p99
    energy: Energy
    hottest_c: float
    throttled_s: float
    basis: dict[str, Basis]
    series: dict[str, NDArray[np.float64]]

    @property
    def estimated(self) -> tuple[str, ...]:
        """The parts of the device profile that nobody measured."""
        return tuple(part for part, basis in self.basis.items() if basis == "estimated")

    @property
    def judged(self) -> Counts:
        """The counts that policies are compared by: until the target, where there is one."""
        return self.until_target or self.total

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "series"}
        for name in ("total", "until_target", "energy"):
            values[name] = None if values[name] is None else dataclasses.asdict(values[name])
        for name in ("total", "until_target"):
            counts: Counts | None = getattr(self, name)
            if counts is not None:
                values[name] |= {"accuracy": counts.accuracy, "right_share": counts.right_share}
        values["estimated"] = self.estimated
        values["series"] = {name: column.tolist() for name, column in self.series.items()}
        return values


class Tally:
    """Counts while they grow."""

    def __init__(self, stages: int) -> None:
        self.arrived = self.dropped = self.off = self.late = self.right = self.uncertified = 0
        self.exits = [0] * stages

    def add(self, exits: list[int], right: int, dropped: int, uncertified: int) -> None:
        self.exits = [a + b for a, b in zip(self.exits, exits, strict=True)]
        self.right += right
        self.dropped += dropped
        self.uncertified += uncertified

    def copy(self) -> Tally:
        return copy.copy(self)  # `add` replaces the list of exits

    def frozen(self, labelled: bool) -> Counts:
        return Counts(
            arrived=self.arrived,
            answered=sum(self.exits),
            dropped=self.dropped,
            off=self.off,
            late=self.late,
            exits=tuple(self.exits),
            right=self.right if labelled else None,
            uncertified=self.uncertified,
        )


@lru_cache(maxsize=1024)  # of one exit it is the same for hours
def bin_of(seconds: float) -> int:
    return int(BINS_PER_DECADE * math.log10(max(seconds, SHORTEST_S) / SHORTEST_S))


class Latency:
    """A histogram of seconds with bins 1 % wide from 1 microsecond to a day."""

    def __init__(self) -> None:
        self.counts = np.zeros(math.ceil(BINS_PER_DECADE * math.log10(LONGEST_S / SHORTEST_S)) + 1, dtype=np.int64)

    def add(self, seconds: NDArray[np.float64]) -> None:
        places = BINS_PER_DECADE * np.log10(np.maximum(seconds, SHORTEST_S) / SHORTEST_S)
        self.counts += np.bincount(places.astype(np.int64).clip(0, len(self.counts) - 1), minlength=len(self.counts))

    def add_equal(self, seconds: float, images: int) -> None:
        self.counts[min(bin_of(seconds), len(self.counts) - 1)] += images

    def percentiles(self) -> dict[str, float | None]:
        """Seconds within 0.5 %, at the middle of a bin; None where there was no image."""
        upto = self.counts.cumsum()
        found: dict[str, float | None] = {}
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            place = int(np.searchsorted(upto, share * upto[-1]))
            found[name] = SHORTEST_S * 10 ** ((place + 0.5) / BINS_PER_DECADE) if upto[-1] else None
        return found


class Series:
    """A row after each tick, or after every 2nd, 4th, ... so that there are never more than SERIES_ROWS.

    time_s, level, temperature_c, point (-1 while off); and, counted from the beginning, arrived, answered, right,
    dropped, off, late, base_j and answered_exit0, answered_exit1, ...
    """

    def __init__(self, stages: int) -> None:
        self.names = (*SERIES, *(f"answered_exit{k}" for k in range(stages)))
        self.rows: list[tuple[float, ...]] = []
        self.every, self.seen = 1, 0

    def add(self, time_s: float, level: float, temperature_c: float, point: int, tally: Tally, base_j: float) -> None:
        self.seen += 1
        if self.seen % self.every:
            return
        counts = (tally.arrived, sum(tally.exits), tally.right, tally.dropped, tally.off, tally.late)
        self.rows.append((time_s, level, temperature_c, point, *counts, base_j, *tally.exits))
        if len(self.rows) > SERIES_ROWS:
            self.rows, self.every = self.rows[1::2], 2 * self.every

    def columns(self) -> dict[str, NDArray[np.float64]]:
        table = np.array(self.rows, dtype=np.float64).reshape(len(self.rows), len(self.names))
        return {name: table[:, k].copy() for k, name in enumerate(self.names)}
