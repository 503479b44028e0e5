"""How many images any policy can get right by the target: what even the best could not beat.

    Scenario -> right answers          a Lagrangian dual over ticks; docs/simulator.md says it in words

It holds for every policy over the scenario's points, with caps or without, whether it lasts, dies and comes back, or
drops images: a policy chooses once a tick, whatever it spends comes out of the battery or the charger, and a device of
a given speed cannot drop more images than come too fast for its slowest stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvt_edge.simulation.replay import Replay
from dvt_edge.simulation.simulator import Scenario
from dvt_edge.simulation.workload import Tick

BLOCK = 65_536  # images of a tick at a time


@dataclass(frozen=True)
class Span:
    """What no policy changes, per tick: (ticks,). `dropped` is the most images that any policy may drop."""

    starts: NDArray[np.float64]
    seconds: NDArray[np.float64]
    edges: NDArray[np.int64]  # (ticks + 1,) images before each
    charge_j: NDArray[np.float64]
    dropped: NDArray[np.int64]


def ticks_until(scenario: Scenario, target_s: float) -> Iterator[Tick]:
    """Those that begin before the target."""
    for tick in scenario.workload.ticks(scenario.control_s):
        if tick.start_s >= target_s - 1e-6:
            return
        yield tick


def span_of(scenario: Scenario, target_s: float) -> Span:
    crowd = Crowd(scenario, max_slowdown(scenario, target_s))
    rows = [(t.start_s, t.seconds, t.count, t.charge_j, crowd.dropped(t)) for t in ticks_until(scenario, target_s)]
    starts, seconds, counts, charge_j, dropped = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    edges = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Span(starts, seconds, edges, charge_j, dropped.astype(np.int64))


def max_slowdown(scenario: Scenario, target_s: float) -> float:
    """How slow the device can become: at the temperature of the costliest tick, if that went on."""
    base_w, most_j = scenario.profile.base_w(scenario.screen), max(scenario.costs.exit_j)
    powers = [base_w + tick.count * most_j / tick.seconds for tick in ticks_until(scenario, target_s)]
    thermal = scenario.profile.thermal
    return thermal.slowdown(thermal.ambient_c + max(powers, default=base_w) * thermal.resistance_k_per_w)


class Crowd:
    """The most images that may be dropped, tick by tick, if each takes as long as the slowest.

    An image is dropped where more than the deadline's work waits. Over any stretch that begins with an idle device and
    in which it is busy, the images served have made up that work and the time of the stretch; so those dropped are at
    most the work that came, less the time and the deadline, in images. The most over disjoint stretches is found as the
    most that can be earned by trading on work less time, at a fee of the deadline. Work left from the tick before needs
    no beginning.
    """

    def __init__(self, scenario: Scenario, slow: float) -> None:
        self.serve_s, self.deadline_s = slow * max(scenario.costs.exit_s), scenario.deadline_s
        self.behind_s = 0.0  # at most so much work may be waiting at the end of the last tick

    def dropped(self, tick: Tick) -> int:
        serve_s, most_s = self.serve_s, self.deadline_s + self.serve_s
        if tick.count == 0:
            self.behind_s = max(0.0, self.behind_s - tick.seconds)
            return 0
        if tick.step_s is not None and serve_s <= tick.step_s and self.behind_s <= tick.first_s - tick.start_s:
            self.behind_s = max(0.0, tick.last_s + serve_s - tick.start_s - tick.seconds)
            return 0
        arrive = tick.times - tick.start_s
        before = serve_s * np.arange(tick.count) - arrive  # work that came less time, before each image
        waits = before + np.maximum(self.behind_s, np.maximum.accumulate(-before))
        left_s = float(waits[-1]) + serve_s - (tick.seconds - float(arrive[-1]))
        if waits.max() <= self.deadline_s - 1e-9:
            self.behind_s = max(0.0, left_s)
            return 0
        earned, holding = 0.0, self.behind_s  # with the work of the tick before, the stretch has begun
        for value in (before + serve_s).tolist():
            holding = max(holding, earned - (value - serve_s))
            earned = max(earned, holding + value - self.deadline_s)
        self.behind_s = max(0.0, min(left_s, most_s))
        return min(tick.count, math.floor(earned / serve_s + 1e-6))


def most_right(scenario: Scenario, replay: Replay, target_s: float) -> float:
    """The bound. At the price of energy at which whole ticks are best bought within the budget, each tick is worth at
    most that of the best point and cap over the images up to any moment in it, since a device may die there, and of
    being off; the images that may be dropped are counted as right and not paid for.
    """
    span, stages = span_of(scenario, target_s), replay.stages
    caps = (None, *range(stages - 1))
    columns = [(point, cap) for point in range(len(scenario.points)) for cap in caps]
    exit_j, base_w = np.array(scenario.costs.exit_j), scenario.profile.base_w(scenario.screen)
    budget = scenario.start_level * scenario.profile.battery.joules + float(span.charge_j.sum())
    shape = len(span.starts), len(columns)
    energy, right, saved = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    late = span.starts >= replay.shift_s
    for phase in (late, ~late):
        if not phase.any():
            continue
        for column, (point, cap) in enumerate(columns):
            stream = replay.stream(float(span.starts[int(phase.argmax())]), point, cap)
            marks = stream.upto_each(span.edges[1:][phase]) - stream.upto_each(span.edges[:-1][phase])
            energy[phase, column], right[phase, column] = marks[:, :-1] @ exit_j, marks[:, -1]
            saved[phase, column] = dearest(marks[:, :-1], span.dropped[phase], exit_j)
    whole = energy - saved + base_w * span.seconds[:, None]
    everything = float(right.max(axis=1).sum()) if shape[0] else 0.0
    price = best_price(whole, right, budget)
    if price == 0:
        return everything
    worth = price * budget
    for number, tick in enumerate(ticks_until(scenario, target_s)):
        best = np.zeros(len(columns))
        total = np.zeros(len(columns))
        first = int(span.edges[number])
        for begin in range(0, tick.count, BLOCK):
            arrive = tick.times[begin : begin + BLOCK] - tick.start_s
            streams = [replay.stream(tick.start_s, point, cap) for point, cap in columns]
            gains = np.stack([s.worths(first + begin, len(arrive), price * exit_j) for s in streams])
            sums = total[:, None] + gains.cumsum(axis=1)
            total = sums[:, -1].copy()
            best = np.maximum(best, (sums - price * base_w * arrive).max(axis=1))
        worth += float((best + price * saved[number]).max())
    return min(everything, worth * (1 + 1e-9))


def dearest(exits: NDArray[np.int64], images: NDArray[np.int64], exit_j: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joules of the `images` (ticks,) dearest of those that leave at each exit (ticks, exits)."""
    left, total = images.copy(), np.zeros(len(images))
    for exit_ in np.argsort(-exit_j):
        taken = np.minimum(left, exits[:, exit_])
        total += taken * exit_j[exit_]
        left -= taken
    return total


def best_price(energy: NDArray[np.float64], right: NDArray[np.float64], budget: float) -> float:
    """Right answers a joule at which the dual is least, for ticks (rows) that may be off too. 0: energy is no limit."""

    def spent(price: float) -> float:
        worth = right - price * energy
        best = worth.argmax(axis=1)[:, None]
        paid = np.take_along_axis(energy, best, axis=1) * (np.take_along_axis(worth, best, axis=1) > 0)
        return float(paid.sum())

    if spent(0.0) <= budget or not len(energy):
        return 0.0
    low, high = 0.0, 1.0
    while spent(high) > budget and high < 1e12:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > budget else (low, middle)
    return high
