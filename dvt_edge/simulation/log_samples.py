"""What a device's log says of time and power, read and held against physics: units that cannot be are refused.

A refusal says what the values look like: milliamperes, volts, seconds, a sign that flips, a clock that jumps.
docs/device-log.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.device_log import ImageRecord, StateRecord
from dvt_edge.device.log_reader import LogReader
from dvt_edge.errors import SchemaError
from dvt_edge.validation.log_batches import JUMP_S

Array = NDArray[np.float64]

LEAST_W, MOST_W = 0.02, 20.0  # of a device that is awake
LEAST_V, MOST_V = 2.5, 10.0  # of its battery
UNSUPPORTED = 2**31 - 1  # microamperes: at and beyond it an API says that it has none
GAP_S = 3.0  # between samples: longer ones say nothing of the time between
LAG_S = 10.0  # of a gauge, at most


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
        current, charge = record.current_ua, record.charge_uah
        if current is not None and abs(current) >= UNSUPPORTED:
            self.unsupported += 1
            current = None
        if charge is not None and (charge < 0 or charge == UNSUPPORTED):
            charge = None
        self.seq.append(record.seq)
        self.t.append(record.time_s)
        for column, value in (
            (self.current_ua, current),
            (self.voltage_mv, record.voltage_mv),
            (self.charge_uah, charge),
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
    return samples, work


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
    slack = 3 * quantum + 0.05 * counted + float(np.nanmax(current)) * LAG_S / 3600
    if abs(counted - flowed) > slack:
        ratio = flowed / counted if counted else math.inf
        named = {1e3: "charge_uah looks like milliampere hours", 1e-3: "charge_uah looks like nanoampere hours"}
        looks = next((words for scale, words in named.items() if 0.8 < ratio / scale < 1.25), "one of them is wrong")
        raise SchemaError(
            f"{samples.source}: charge_uah fell by {counted:.0f} where current_ua makes {flowed:.0f}: {looks}"
        )
