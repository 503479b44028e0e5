"""What a device's log says of power: samples checked by physics, and watts above idling while images are in work.

A gauge shows the mean power over some window before each sample, or the power at that moment. With u the share of that
window in which images were in work, power is idle + busy x u. `busy` is total energy above idling by total u, so that
pauses, bursts and lag cancel; which window the gauge has is what fits the record best. Where windows that fit about as
well give other answers, or the spread is too wide, there is no answer but a refusal. docs/energy-model.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.device_log import ErrorRecord, ImageRecord, StateRecord
from dvt_edge.device.log_reader import LogReader
from dvt_edge.errors import SchemaError

Array = NDArray[np.float64]

LEAST_SAMPLES = 10  # of each kind that is averaged
LEAST_W, MOST_W = 0.02, 20.0  # of a device that is awake
LEAST_V, MOST_V = 2.5, 10.0  # of its battery
SETTLE_S = 10.0  # the longest window of a gauge that is tried
WINDOWS_S = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, SETTLE_S)
UNSUPPORTED = 2**31 - 1  # microamperes: at and beyond it an API says that it has no current
GAP_S = 3.0  # between samples: longer ones say nothing of the time between
JUMP_S = 1.0  # that `time_s` may gain on `awake_s` with the screen on
BLOCKS = 20


@dataclass
class Samples:
    """The samples of one log in order of time, as arrays; NaN where the system did not say. `t`, `awake` in seconds."""

    source: str
    version: int
    seq: list[int] = field(default_factory=list)
    t: list[float] = field(default_factory=list)
    current_ua: list[float] = field(default_factory=list)
    voltage_mv: list[float] = field(default_factory=list)
    charge_uah: list[float] = field(default_factory=list)
    awake: list[float] = field(default_factory=list)
    screen: list[bool] = field(default_factory=list)
    idle: list[bool] = field(default_factory=list)
    unsupported: int = 0

    def add(self, record: StateRecord) -> None:
        if record.charging:
            raise SchemaError(
                f"{self.source}: record {record.seq}: logged while charging, when the current is not the device's; "
                "unplug it"
            )
        current = record.current_ua
        if current is not None and abs(current) >= UNSUPPORTED:
            self.unsupported += 1
            current = None
        self.seq.append(record.seq)
        self.t.append(record.time_s)
        for column, value in (
            (self.current_ua, current),
            (self.voltage_mv, record.voltage_mv),
            (self.charge_uah, record.charge_uah),
            (self.awake, record.awake_s),
        ):
            column.append(math.nan if value is None else value)
        self.screen.append(record.screen_on)
        self.idle.append(record.event == "idle")


@dataclass
class Work:
    """The images of one log: when each ended, how long it took, and its stages' times, in seconds and milliseconds."""

    end: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stage_ms: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, image: ImageRecord) -> None:
        self.end.append(image.time_s)
        self.seconds.append(image.total_ms / 1e3)
        self.stage_ms.append(image.stage_ms)


@dataclass(frozen=True)
class Energy:
    """Watts: idling by screen state, and above that while images are in work; `spread` is relative, 95 %, of these."""

    idle_w: dict[bool, float]
    screen_on: bool  # while images ran
    busy_w: float
    spread: float
    words: str  # how it was found


def read_energy(reader: LogReader) -> tuple[Samples, Work]:
    """All of a log that bears on time and energy. Raises SchemaError for a clock that goes back, and while charging."""
    source = reader.path.name
    samples, work, before = Samples(source, reader.header.log), Work(), -math.inf
    for record in reader:
        if record.time_s < before:
            raise SchemaError(
                f"{source}: record {record.seq}: the clock jumps from {before:.3f} back to {record.time_s:.3f} s: "
                "nothing can be said of energy"
            )
        before = record.time_s
        if isinstance(record, StateRecord):
            samples.add(record)
        elif isinstance(record, ImageRecord):
            work.add(record)
        else:
            assert isinstance(record, ErrorRecord)
    return samples, work


def measure_energy(samples: Samples, work: Work, limit: float) -> Energy:
    """Raises SchemaError where the samples break physics, are too few, or leave a spread above `limit`."""
    where = samples.source
    t, watts = np.array(samples.t), power(samples)
    screen, idle = np.array(samples.screen, bool), np.array(samples.idle, bool)
    end, seconds = np.array(work.end), np.array(work.seconds)
    if len(end) < LEAST_SAMPLES:
        raise SchemaError(f"{where}: {len(end)} images; expected at least {LEAST_SAMPLES}")
    check_clock(samples, work)
    settle = SETTLE_S if samples.version > 1 else 0.0
    near = near_images(t, end, seconds, settle)
    on = screen_of(where, screen[near & ~idle])
    known = ~np.isnan(watts)
    idle_w, idle_error = {}, 0.0
    for state in sorted({bool(s) for s in screen[idle]}):
        chosen = watts[idle & known & ~near & (screen == state)]
        words = f"idle samples with the screen {'on' if state else 'off'}"
        if (idle & (screen == state)).any() and not (known & idle & (screen == state)).any():
            raise SchemaError(f"{where}: {words} without current or voltage: energy cannot be measured there")
        if len(chosen) < LEAST_SAMPLES:
            apart = f", {settle:g} s apart from images" if settle else ""
            raise SchemaError(f"{where}: {len(chosen)} {words}{apart}; expected at least {LEAST_SAMPLES}")
        idle_w[state] = float(chosen.mean())
        check_watts(where, idle_w[state], f"a phone that idles, the screen {'on' if state else 'off'}, at")
        if state == on:
            idle_error = float(chosen.std()) / math.sqrt(len(chosen))
    if on not in idle_w:
        raise SchemaError(f"{where}: no idle samples with the screen {'on' if on else 'off'}, as in the images")
    use = known & near
    if not use.any():
        raise SchemaError(f"{where}: samples while images ran have no current or voltage: energy cannot be measured")
    check_flow(samples, watts)
    return fit(where, samples.version, t, watts - idle_w[on], use, end, seconds, idle_w, idle_error, on, limit)


def fit(
    where: str,
    version: int,
    t: Array,
    above: Array,
    use: NDArray[np.bool_],
    end: Array,
    seconds: Array,
    idle_w: dict[bool, float],
    idle_error: float,
    on: bool,
    limit: float,
) -> Energy:
    """Busy watts from samples `above` idling at `t`, of which those in `use` are near images."""
    step = np.diff(t, prepend=t[0] - 1)
    usual = float(np.median(step[use]))
    gap = max(GAP_S, 3 * usual)
    step = np.minimum(step, usual) if version == 1 else step
    whole = t - np.maximum.accumulate(np.where(np.diff(t, prepend=-math.inf) > gap, t, -math.inf))  # since the last gap
    weight = np.where(step > gap, 0.0, step)
    found: list[tuple[float, float, float, float]] = []  # residual, window, busy watts, spread
    for window in (-1.0,) if version == 1 else WINDOWS_S:
        chosen = use & (weight > 0) & ((whole >= window) | (version == 1))
        if chosen.sum() < LEAST_SAMPLES:
            continue
        share = in_work(t[chosen], step[chosen] if window < 0 else np.full(int(chosen.sum()), window), end, seconds)
        busy = float(share @ weight[chosen])
        if not busy > 0:
            continue
        watts = float(above[chosen] @ weight[chosen]) / busy
        residual = (above[chosen] - watts * share) * weight[chosen]
        error = math.hypot(block_error(residual) / busy, idle_error * weight[chosen].sum() / busy)
        found.append(
            (float(np.mean((above[chosen] - watts * share) ** 2)), window, watts, 1.96 * error / abs(watts or 1))
        )
    if not found:
        raise SchemaError(f"{where}: fewer than {LEAST_SAMPLES} samples while images ran; expected one a second")
    misfit, window, busy_w, spread = min(found)
    as_good = [f[2] for f in found if f[0] <= misfit * 1.25 + (1e-3 * busy_w) ** 2]
    apart = (max(as_good) - min(as_good)) / abs(busy_w or 1)
    if not busy_w > 0:
        raise SchemaError(f"{where}: images draw {busy_w:.3f} W less or no more than idling; expected more")
    if busy_w > MOST_W:
        slow = usual > 100
        looks = (
            "time_s looks like milliseconds" if slow else "the images' times look like seconds, where ms are expected"
        )
        raise SchemaError(f"{where}: {busy_w:.0f} W while images are in work, more than a phone can draw: {looks}")
    if apart > limit:
        raise SchemaError(
            f"{where}: a gauge that reads at once and one that averages explain the samples alike, and give "
            f"{min(as_good):.2f} to {max(as_good):.2f} W of busy time: take samples by a clock, not at the images"
        )
    if spread > limit:
        more = math.ceil((spread / limit) ** 2)
        raise SchemaError(
            f"{where}: {busy_w:.3f} W of busy time within {spread:.1%}; at most {limit:.1%} is asked: "
            f"log about {more} times as long, idling too"
        )
    how = "means between records" if window < 0 else "readings at once" if window == 0 else f"means over {window:g} s"
    return Energy(idle_w, on, busy_w, max(spread, apart), f"{int(use.sum())} samples, {how}")


def power(samples: Samples) -> Array:
    """Watts of each sample; NaN where unknown. Raises SchemaError for units that cannot be."""
    where, current = samples.source, np.array(samples.current_ua, float)
    volts = np.array(samples.voltage_mv, float) / 1e3
    if not (~np.isnan(volts)).any() or not (~np.isnan(current)).any():
        raise SchemaError(f"{where}: samples without current or voltage: energy cannot be measured")
    typical = float(np.nanmedian(volts))
    if not LEAST_V <= typical <= MOST_V:
        scales = {1e3: "volts", 1e-3: "microvolts"}
        looks = [name for scale, name in scales.items() if LEAST_V <= typical * scale <= MOST_V]
        words = f"looks like {looks[0]}" if looks else "is no battery's"
        raise SchemaError(f"{where}: voltage_mv is {typical * 1e3:g}, which {words}; millivolts are expected")
    odd = (volts < LEAST_V) | (volts > MOST_V)
    if odd.any():
        k = int(odd.argmax())
        raise SchemaError(f"{where}: record {samples.seq[k]}: voltage_mv {volts[k] * 1e3:g} among {typical * 1e3:g}")
    signs = np.sign(current[~np.isnan(current)])
    if (signs > 0).any() and (signs < 0).any():
        rare = -1 if (signs < 0).sum() < (signs > 0).sum() else 1
        k = int(np.nanargmax(np.sign(current) == rare))
        raise SchemaError(f"{where}: record {samples.seq[k]}: current_ua changes its sign to {current[k]:g}")
    watts: Array = np.abs(current) * 1e-6 * volts
    return watts


def check_watts(where: str, watts: float, words: str) -> None:
    if LEAST_W <= watts <= MOST_W:
        return
    looks = {1e3: "milliamperes", 1e6: "amperes", 1e-3: "nanoamperes"}
    found = next((name for scale, name in looks.items() if LEAST_W <= watts * scale <= MOST_W), None)
    said = f"{watts * 1e3:.3g} mW" if watts < 1 else f"{watts:.0f} W"
    end = f"current_ua looks like {found}" if found else "current_ua cannot be in microamperes"
    raise SchemaError(f"{where}: {words} {said}: {end}")


def check_clock(samples: Samples, work: Work) -> None:
    """Images must fit into the time of the log, and `time_s` may run ahead of `awake_s` with the screen off only."""
    where = samples.source
    seconds, end = np.array(work.seconds), np.array(work.end)
    for k, times in enumerate(work.stage_ms):
        if sum(times) > work.seconds[k] * 1e3 * 1.01 + 0.1:
            took = work.seconds[k] * 1e3
            raise SchemaError(f"{where}: the image at {end[k]:.3f} s took {took:g} ms and its stages {sum(times):g} ms")
    if len(end) > 1:
        span = end[-1] - end[0]
        use = float(seconds[1:].sum()) / span if span > 0 else math.inf
        if use > 1.02:
            raise SchemaError(
                f"{where}: work takes {use:.0%} of the time of the images; are times in ms and time_s in seconds?"
            )
        if not seconds.sum() > 0:
            raise SchemaError(f"{where}: work takes 0% of the time of the images; are times in ms?")
    t, awake, screen = np.array(samples.t), np.array(samples.awake), np.array(samples.screen, bool)
    known = np.flatnonzero(~np.isnan(awake))
    gained = np.diff(t[known]) - np.diff(awake[known])
    bad = (gained > JUMP_S) & screen[known][1:] & screen[known][:-1] | (gained < -JUMP_S)
    if bad.any():
        k = int(bad.argmax())
        raise SchemaError(
            f"{where}: record {samples.seq[known[k + 1]]}: the clock jumps by {gained[k]:+.3f} s against awake_s "
            "with the screen on: nothing can be said of energy"
        )


def check_flow(samples: Samples, watts: Array) -> None:
    """The charge counter, where there is one, falls by the current's integral."""
    charge, t = np.array(samples.charge_uah), np.array(samples.t)
    current = np.abs(np.array(samples.current_ua))
    step = np.diff(t)
    both = ~np.isnan(charge) & ~np.isnan(current)
    good = both[1:] & both[:-1] & (step <= max(GAP_S, 3 * float(np.median(step)) if len(step) else GAP_S))
    fallen = np.abs(np.diff(charge))[good]
    if not len(fallen) or not fallen.any():
        return
    quantum = float(fallen[fallen > 0].min())
    counted = abs(float(np.diff(charge)[good].sum()))
    flowed = float((current[1:] * step)[good].sum()) / 3600
    # A gauge lags, and the counter moves in steps: only what neither explains counts.
    slack = 3 * quantum + 0.05 * counted + float(np.nanmax(current)) * SETTLE_S / 3600
    if abs(counted - flowed) > slack:
        ratio = flowed / counted if counted else math.inf
        named = {1e3: "charge_uah looks like milliampere hours", 1e-3: "charge_uah looks like nanoampere hours"}
        looks = next((words for scale, words in named.items() if 0.8 < ratio / scale < 1.25), "one of them is wrong")
        raise SchemaError(
            f"{samples.source}: charge_uah fell by {counted:.0f} where current_ua makes {flowed:.0f}: {looks}"
        )


def near_images(t: Array, end: Array, seconds: Array, settle: float) -> NDArray[np.bool_]:
    """Whether a sample is taken while images run one after another, or within `settle` after it; pauses are apart."""
    start = end - seconds
    cadence = float(np.median(np.diff(end))) if len(end) > 1 else 0.0
    breaks = np.flatnonzero(start[1:] - end[:-1] > max(2.0, 10 * cadence))
    first, last = np.r_[0, breaks + 1], np.r_[breaks, len(end) - 1]
    k = np.searchsorted(start[first], t, side="right") - 1
    inside = (k >= 0) & (t <= end[last[np.maximum(k, 0)]] + settle + 1e-9)
    return np.asarray(inside)


def in_work(t: Array, window: Array, end: Array, seconds: Array) -> Array:
    """The share of (t - window, t] in which images were in work; whether one was at t, where the window is 0."""
    start = end - seconds
    total = np.r_[0.0, np.cumsum(seconds)]

    def until(moment: Array) -> Array:
        """Seconds of work before a moment."""
        k = np.searchsorted(start, moment, side="right")
        over = np.maximum(0.0, np.r_[-math.inf, end][k] - moment)
        return np.asarray(total[k] - over)

    at_once = window <= 0
    k = np.searchsorted(start, t, side="right")
    now = (k > 0) & (t <= np.r_[-math.inf, end][k])
    return np.where(at_once, now, (until(t) - until(t - window)) / np.where(at_once, 1, window))


def block_error(residual: Array) -> float:
    """The standard error of the sum of residuals that depend on their neighbours: from sums over blocks."""
    blocks = [float(b.sum()) for b in np.array_split(residual, min(BLOCKS, len(residual) // 2))]
    count = len(blocks)
    return math.sqrt(count / (count - 1) * math.fsum(b * b for b in blocks))


def screen_of(where: str, states: Sequence[bool] | NDArray[np.bool_]) -> bool:
    """The one state of the screen while images ran."""
    found = {bool(s) for s in states}
    if len(found) != 1:
        raise SchemaError(f"{where}: images with the screen on and off, or no sample; expected one of them throughout")
    return found.pop()
