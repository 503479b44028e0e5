"""What a device's log says of power: samples checked by physics, and watts above idling while images are in work.

A gauge shows the mean power over some window before each sample, or the power at that moment. With u the share of that
window in which images were in work, power is idle + busy x u. `busy` is total energy above idling by total u, so that
pauses, bursts and lag cancel; which window the gauge has is what fits the record best. A charge counter adds up without
a window; it is used where it says more. Where windows that fit about as well give other answers, or the spread is too
wide, there is no answer but a refusal. docs/energy-model.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvt_edge.errors import SchemaError
from dvt_edge.simulation.log_samples import (
    GAP_S,
    LAG_S,
    MOST_W,
    Array,
    Samples,
    Work,
    check_clock,
    check_flow,
    check_watts,
    power,
)

LEAST_SAMPLES = 10  # of each kind that is averaged
WINDOWS_S = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, LAG_S)  # of a gauge, that are tried
BLOCKS = 20


@dataclass(frozen=True)
class Energy:
    """Watts: idling by screen state, and above that while images are in work; `spread` is relative, 95 %, of these."""

    idle_w: dict[bool, float]
    screen_on: bool  # while images ran
    busy_w: float
    spread: float
    words: str  # how it was found


def measure_energy(samples: Samples, work: Work, limit: float) -> Energy:
    """Raises SchemaError where the samples break physics, are too few, or leave a spread above `limit`."""
    where = samples.source
    t, watts = np.array(samples.t), power(samples)
    screen, idle = np.array(samples.screen, bool), np.array(samples.idle, bool)
    end, seconds = np.array(work.end), np.array(work.seconds)
    if len(end) < LEAST_SAMPLES:
        raise SchemaError(f"{where}: {len(end)} images; expected at least {LEAST_SAMPLES}")
    check_clock(samples, work)
    settle = LAG_S if samples.version > 1 else 0.0
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
    if not (known & near).any():
        raise SchemaError(f"{where}: samples while images ran have no current or voltage: energy cannot be measured")
    check_flow(samples, watts)
    scene = Scene(where, samples.version, t, watts, near, end, seconds, idle_w[on], idle_error)
    counted = by_counter(scene, np.array(samples.charge_uah), np.array(samples.voltage_mv) / 1e3)
    try:
        best = by_gauge(scene, limit)
    except TooWideError:
        if counted is None or not counted.spread <= limit:
            raise
        best = counted
    if counted is not None and counted.spread < best.spread:
        best = counted
    return Energy(idle_w, on, best.busy_w, best.spread, best.words)


class TooWideError(SchemaError):
    """The gauge says too little; nothing is wrong with what it says."""


@dataclass(frozen=True)
class Scene:
    """Samples at `t` (NaN where the gauge said nothing), and the images; `near` are samples that images bear on."""

    where: str
    version: int
    t: Array
    watts: Array
    near: NDArray[np.bool_]
    end: Array
    seconds: Array
    idle_w: float  # the screen as it was while images ran
    idle_error: float  # its standard error


@dataclass(frozen=True)
class Estimate:
    busy_w: float
    spread: float
    words: str


def by_counter(scene: Scene, charge_uah: Array, volts: Array) -> Estimate | None:
    """Busy watts by what a counter of charge lost while images ran; None without one.

    Between two samples it loses what was drawn; it moves in steps, and each run of samples without a gap has two ends.
    """
    step = np.diff(scene.t)
    usual = step[scene.near[1:] & scene.near[:-1]]
    if not len(usual):
        return None
    good = scene.near & ~np.isnan(charge_uah) & ~np.isnan(volts)
    joined = good[1:] & good[:-1] & (step <= max(GAP_S, 3 * float(np.median(usual))))
    lost = np.abs(np.diff(charge_uah))[joined]
    if not lost.any():
        return None
    quantum = float(lost[lost > 0].min())
    before, after = np.flatnonzero(joined), np.flatnonzero(joined) + 1
    joules = -np.diff(charge_uah)[joined] * 3.6e-3 * (volts[before] + volts[after]) / 2
    work = done_until(scene.t[after], scene.end, scene.seconds) - done_until(scene.t[before], scene.end, scene.seconds)
    busy, span = float(work.sum()), float(step[joined].sum())
    if not busy > 0:
        return None
    drawn = abs(float(joules.sum()))
    runs = 1 + int((np.diff(before) > 1).sum())
    ends = quantum * 3.6e-3 * float(np.nanmean(volts)) * math.sqrt(runs / 6)
    watts = (drawn - scene.idle_w * span) / busy
    error = math.hypot(ends, scene.idle_error * span) / busy
    if not 0 < watts <= MOST_W:
        return None
    return Estimate(watts, 1.96 * error / watts, f"the charge counter over {span:.0f} s")


def by_gauge(scene: Scene, limit: float) -> Estimate:
    """Busy watts from the samples near images. Raises TooWideError for a spread above `limit`."""
    where, version, t, end, seconds = scene.where, scene.version, scene.t, scene.end, scene.seconds
    above, use, idle_error = scene.watts - scene.idle_w, scene.near & ~np.isnan(scene.watts), scene.idle_error
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
        raise TooWideError(
            f"{where}: a gauge that reads at once and one that averages explain the samples alike, and give "
            f"{min(as_good):.2f} to {max(as_good):.2f} W of busy time: take samples by a clock, not at the images"
        )
    if spread > limit:
        more = math.ceil((spread / limit) ** 2)
        raise TooWideError(
            f"{where}: {busy_w:.3f} W of busy time within {spread:.1%}; at most {limit:.1%} is asked: "
            f"log about {more} times as long, idling too"
        )
    how = "means between records" if window < 0 else "readings at once" if window == 0 else f"means over {window:g} s"
    return Estimate(busy_w, max(spread, apart), f"{int(use.sum())} samples, {how}")


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
    at_once = window <= 0
    k = np.searchsorted(end - seconds, t, side="right")
    now = (k > 0) & (t <= np.r_[-math.inf, end][k])
    lasted = done_until(t, end, seconds) - done_until(t - window, end, seconds)
    return np.where(at_once, now, lasted / np.where(at_once, 1, window))


def done_until(moment: Array, end: Array, seconds: Array) -> Array:
    """Seconds of work before each moment."""
    k = np.searchsorted(end - seconds, moment, side="right")
    over = np.maximum(0.0, np.r_[-math.inf, end][k] - moment)
    return np.asarray(np.r_[0.0, np.cumsum(seconds)][k] - over)


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
