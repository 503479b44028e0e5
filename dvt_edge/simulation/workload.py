"""When images arrive and when the device is on a charger: fixed rate, Poisson, diurnal, or a trace file.

    Workload.ticks(control_s) -> Tick, Tick, ...   each a stretch of time with its arrivals, made as it is asked for

Everything is seeded and nothing is kept: memory does not grow with the number of images.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.schema import parse_json, shorten
from dvt_edge.errors import SchemaError, WorkloadError

HOUR = 3600.0
DAY = 24 * HOUR
MOST_IMAGES = 10_000_000  # in one tick: what is held in memory at a time
MOST_TICKS = 10_000_000
MOST_W = 1e6  # of a charger
FASTEST = 1e6  # images a second
LONGEST_GAP = 366 * DAY  # of a trace: past it the times are surely no seconds from its beginning


def check(ok: bool, message: str) -> None:
    if not ok:
        raise WorkloadError(message)


@dataclass(frozen=True)
class ChargeWindow:
    """The charger gives `watts` from `start_s` until `end_s`."""

    start_s: float
    end_s: float
    watts: float

    def __post_init__(self) -> None:
        check(
            math.isfinite(self.start_s) and self.start_s >= 0, f"charging from {self.start_s:g} s; expected 0 or more"
        )
        check(
            self.start_s < self.end_s < math.inf, f"charging until {self.end_s:g} s; expected after {self.start_s:g} s"
        )
        ok = 0 < self.watts <= MOST_W
        check(ok, f"charging at {self.watts:g} W; expected above 0, at most {MOST_W:g}")


class Tick:
    """`count` images arrive in [start_s, start_s + seconds); `charge_j` joules come from the charger meanwhile."""

    def __init__(self, start_s: float, seconds: float, count: int, charge_j: float, charging: bool) -> None:
        self.start_s, self.seconds, self.count, self.charge_j = start_s, seconds, count, charge_j
        self.charging = charging  # at the start

    step_s: float | None = None  # the interval between arrivals where it is the same throughout, before `start_s` too

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """(count,) seconds from the workload's beginning, rising."""
        raise NotImplementedError

    @property
    def first_s(self) -> float:
        return float(self.times[0])

    @property
    def last_s(self) -> float:
        return float(self.times[-1])


class Workload(Protocol):
    @property
    def duration_s(self) -> float | None:
        """None where only the end of the trace tells."""
        ...

    def ticks(self, control_s: float) -> Iterator[Tick]: ...


def charged_j(windows: Sequence[ChargeWindow], start_s: float, end_s: float) -> float:
    return math.fsum(w.watts * max(0.0, min(w.end_s, end_s) - max(w.start_s, start_s)) for w in windows)


def is_charging(windows: Sequence[ChargeWindow], time_s: float) -> bool:
    return any(w.start_s <= time_s < w.end_s for w in windows)


def check_ticks(count: float, control_s: float) -> None:
    check(count <= MOST_TICKS, f"{count:g} ticks of {control_s:g} s; expected at most {MOST_TICKS:,}: larger ones")


def tick_count(duration_s: float, control_s: float) -> int:
    """A rest that is but a rounding of the division is no tick."""
    count = duration_s / control_s - 1e-9
    check_ticks(count, control_s)
    return math.ceil(count)


def tick_edges(duration_s: float, control_s: float) -> Iterator[tuple[int, float, float]]:
    """Number, start and end of each tick; the last one may be shorter."""
    for k in range(tick_count(duration_s, control_s)):
        yield k, k * control_s, min((k + 1) * control_s, duration_s)


def check_rate(rate: float, duration_s: float) -> None:
    check(0 <= rate <= FASTEST, f"{rate:g} images a second; expected 0 to {FASTEST:g}")
    check(math.isfinite(duration_s) and duration_s > 0, f"duration {duration_s:g} s; expected above 0")


class FixedTick(Tick):
    def __init__(self, start_s: float, seconds: float, first: int, count: int, rate: float, *rest: object) -> None:
        super().__init__(start_s, seconds, count, *rest)  # type: ignore[arg-type]
        self.first, self.rate = first, rate
        self.step_s = 1 / rate if rate else math.inf

    @cached_property
    def times(self) -> NDArray[np.float64]:
        return np.arange(self.first, self.first + self.count) / self.rate

    @property
    def first_s(self) -> float:
        return self.first / self.rate

    @property
    def last_s(self) -> float:
        return (self.first + self.count - 1) / self.rate


@dataclass(frozen=True)
class FixedRate:
    """One image every 1 / `images_per_s` seconds, the first at 0."""

    images_per_s: float
    duration_s: float
    charging: tuple[ChargeWindow, ...] = ()

    def __post_init__(self) -> None:
        check_rate(self.images_per_s, self.duration_s)

    def ticks(self, control_s: float) -> Iterator[Tick]:
        rate, before = self.images_per_s, 0
        for _, start, end in tick_edges(self.duration_s, control_s):
            upto = arrivals_before(end, rate)
            charge = charged_j(self.charging, start, end), is_charging(self.charging, start)
            yield FixedTick(start, end - start, before, upto - before, rate, *charge)
            before = upto


def arrivals_before(time_s: float, rate: float) -> int:
    """How many of the times k / rate, in float64, are before `time_s`."""
    if rate == 0:
        return 0
    guess = math.ceil(time_s * rate)
    return next(k for k in range(max(0, guess - 2), guess + 3) if not k / rate < time_s)


class RandomTick(Tick):
    """Arrivals of an inhomogeneous Poisson process, given how many: their times have its own stream of numbers."""

    def __init__(self, diurnal: Diurnal, seed: tuple[int, ...], *rest: float) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self.diurnal, self.seed = diurnal, seed

    @cached_property
    def times(self) -> NDArray[np.float64]:
        random = np.random.default_rng(self.seed)
        kept, missing = [], self.count
        while missing:
            drawn = self.start_s + self.seconds * random.random(missing)
            if self.diurnal.depth:
                drawn = drawn[random.random(missing) * (1 + self.diurnal.depth) < self.diurnal.relative(drawn)]
            kept.append(drawn)
            missing -= len(drawn)
        return np.sort(np.concatenate(kept)) if kept else np.empty(0)


@dataclass(frozen=True)
class Diurnal:
    """Poisson arrivals whose rate follows the day: images_per_s (1 + depth cos(2 pi (t - peak) / day)).

    `images_per_s` is the mean over a day; `depth` 0 is a plain Poisson process, 1 one that stands still at night.
    """

    images_per_s: float
    duration_s: float
    depth: float = 0.8
    peak_hour: float = 14.0
    seed: int = 0
    charging: tuple[ChargeWindow, ...] = ()

    def __post_init__(self) -> None:
        check_rate(self.images_per_s, self.duration_s)
        check(0 <= self.depth <= 1, f"depth {self.depth:g}; expected 0 to 1")
        check(math.isfinite(self.peak_hour), f"peak_hour {self.peak_hour:g}; expected an hour of the day")

    def relative(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rate over its mean."""
        return 1 + self.depth * np.cos(2 * math.pi / DAY * (times - self.peak_hour * HOUR))

    def expected(self, start_s: float, end_s: float) -> float:
        """The mean number of arrivals: the integral of the rate."""
        turn, peak = 2 * math.pi / DAY, self.peak_hour * HOUR
        wave = math.sin(turn * (end_s - peak)) - math.sin(turn * (start_s - peak))
        return self.images_per_s * (end_s - start_s + self.depth / turn * wave)

    def ticks(self, control_s: float) -> Iterator[Tick]:
        counts = np.random.default_rng((self.seed, 0))
        for k, start, end in tick_edges(self.duration_s, control_s):
            mean = max(0.0, self.expected(start, end))
            found = f"{mean:g} images on average in one tick of {end - start:g} s"
            check(mean <= MOST_IMAGES, f"{found}; expected at most {MOST_IMAGES:,}: give a smaller control_s")
            count = int(counts.poisson(mean))
            charge = charged_j(self.charging, start, end), is_charging(self.charging, start)
            yield RandomTick(self, (self.seed, 1, k), start, end - start, count, *charge)


def Poisson(images_per_s: float, duration_s: float, seed: int = 0, charging: tuple[ChargeWindow, ...] = ()) -> Diurnal:
    """Independent arrivals at a constant rate."""
    return Diurnal(images_per_s, duration_s, depth=0.0, seed=seed, charging=charging)


class TraceTick(Tick):
    def __init__(self, start_s: float, seconds: float, arrivals: list[float], *rest: object) -> None:
        super().__init__(start_s, seconds, len(arrivals), *rest)  # type: ignore[arg-type]
        self.arrivals = arrivals

    @cached_property
    def times(self) -> NDArray[np.float64]:
        return np.array(self.arrivals, dtype=np.float64)


@dataclass(frozen=True)
class Trace:
    """A file of events in order of time, read as the simulation goes: docs/simulator.md has the two forms.

    CSV with the header `time_s,charging_w`, or .jsonl with objects of those fields. A line without charging_w is an
    image; with it, the charger gives that many watts from then on. The simulation ends at `duration_s`, by default
    with the tick of the last line.
    """

    path: Path
    duration_s: float | None = None

    def events(self) -> Iterator[tuple[float, float | None]]:
        """(seconds, None) an image, (seconds, watts) a charger. Raises WorkloadError naming the line."""
        try:
            objects = self.path.suffix.lower() == ".jsonl"
            with self.path.open(newline="", encoding="utf-8" if objects else "utf-8-sig") as file:  # Excel marks its
                lines = json_lines(file) if objects else csv_lines(file)
                before = 0.0
                for number, time_s, watts in lines:
                    where = f"{self.path}:{number}"
                    check(math.isfinite(time_s), f"{where}: time_s {time_s}; expected seconds")
                    check(time_s >= before, f"{where}: time_s {time_s:g} is before {before:g}; expected rising times")
                    near = time_s - before <= LONGEST_GAP
                    check(near, f"{where}: time_s {time_s:g}; expected seconds from the trace's beginning")
                    ok = watts is None or 0 <= watts <= MOST_W
                    check(ok, f"{where}: charging_w {watts}; expected 0 or more, at most {MOST_W:g}")
                    before = time_s
                    yield time_s, watts
        except OSError as error:
            raise WorkloadError(f"{self.path}: cannot be read ({error.strerror})") from error
        except (ValueError, csv.Error, SchemaError) as error:  # WorkloadError is none of them
            raise WorkloadError(f"{self.path}: {error}") from error

    def ticks(self, control_s: float) -> Iterator[Tick]:
        end_s = math.inf if self.duration_s is None else self.duration_s
        total = tick_count(end_s, control_s) if math.isfinite(end_s) else math.inf
        watts, charge_j, charging, charged_until = 0.0, 0.0, False, 0.0
        arrivals: list[float] = []
        k = 0

        def end_of(number: int) -> float:
            return (number + 1) * control_s if number + 1 < total else end_s

        def made() -> Tick:
            nonlocal arrivals, charge_j, charging, charged_until
            until = end_of(k)
            charge_j += watts * (until - charged_until)
            tick = TraceTick(k * control_s, until - k * control_s, arrivals, charge_j, charging)
            arrivals, charge_j, charging, charged_until = [], 0.0, watts > 0, until
            return tick

        for time_s, new_watts in self.events():
            if time_s >= end_s:
                break
            check_ticks(time_s / control_s, control_s)
            while time_s >= end_of(k):
                yield made()
                k += 1
            if new_watts is None:
                arrivals.append(time_s)
                check(len(arrivals) <= MOST_IMAGES, f"{self.path}: more than {MOST_IMAGES:,} images in one tick")
            else:
                charge_j += watts * (time_s - charged_until)
                watts, charged_until = new_watts, time_s
                charging = watts > 0 if time_s == k * control_s else charging
        last = k + 1 if math.isinf(total) else total
        while k < last:
            yield made()
            k += 1


def csv_lines(file: Iterable[str]) -> Iterator[tuple[int, float, float | None]]:
    rows = csv.reader(file)
    header = next(rows, None)
    if header not in (["time_s"], ["time_s", "charging_w"]):
        raise ValueError(f"header {header}; expected time_s,charging_w")
    for number, row in enumerate(rows, start=2):
        if not 1 <= len(row) <= len(header):
            raise ValueError(f"line {number}: {len(row)} fields; expected {len(header)}")
        yield number, number_of(row[0], number), number_of(row[1], number) if len(row) > 1 and row[1] else None


def json_lines(file: Iterable[str]) -> Iterator[tuple[int, float, float | None]]:
    for number, line in enumerate(file, start=1):
        event = parse_json(line, f"line {number}")
        if not isinstance(event, dict) or "time_s" not in event or event.keys() - {"time_s", "charging_w"}:
            raise ValueError(f"line {number}: expected an object of time_s and, for a charger, charging_w")
        for value in event.values():
            if isinstance(value, (bool, str)):
                raise ValueError(f"line {number}: {shorten(value)}; expected a number")
        watts = event.get("charging_w")
        yield number, number_of(event["time_s"], number), None if watts is None else number_of(watts, number)


def number_of(value: object, line: int) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"line {line}: {shorten(value)}; expected a number") from None
