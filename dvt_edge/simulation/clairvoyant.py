"""A policy that knows the workload: what every other is measured against.

It sees how many images each tick will bring, what each point would spend on them and get right, and solves for the best
point of every tick under the battery's energy: a linear programme whose dual is a bound that no policy over these
points can beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.device_state import DeviceState
from dvt_edge.device.power_policy import Choice, PowerPolicy, PowerTable, allowed_rows
from dvt_edge.errors import SimulationError
from dvt_edge.simulation.bound import most_right, ticks_until
from dvt_edge.simulation.replay import Replay
from dvt_edge.simulation.simulator import Scenario

LOOK_AHEAD = 16  # beginnings of charges
LEAST_PRICE = 1e-300  # right answers a joule


@dataclass(frozen=True)
class Plan:
    """A point for each tick, so that the battery lasts until the target; and the most images that any policy could get
    right by then, whether it lasts or not (`bound.most_right`).
    """

    points: NDArray[np.int64]  # (ticks,)
    bound_right: float
    arrived: int

    @property
    def bound(self) -> float | None:
        """No policy over these points has more right of those that arrive; None where none do."""
        return self.bound_right / self.arrived if self.arrived else None


class PlanChooser:
    """Follows a plan; after its end, its last point."""

    def __init__(self, plan: Plan, table: PowerTable) -> None:
        self.plan, self.rows = plan, table.rows

    def choose(self, number: int, state: DeviceState) -> Choice:
        row = self.rows[self.plan.points[min(number, len(self.plan.points) - 1)]]
        return Choice(row.name, None, not row.certified)

    def used(self, images: int, energy_j: float) -> None:
        pass


def best_plan(scenario: Scenario, allow_uncertified: bool, replay: Replay | None = None) -> Plan:
    """The clairvoyant's plan. Memory grows with the number of ticks, not of images.

    Where a point takes more time than a tick has, it counts as many of its images as there is time for; heat and chance
    may have more dropped. `replay` is of the scenario, made where it is not given. Raises SimulationError without a
    target or labels.
    """
    target_s = scenario.target_s
    if target_s is None:
        raise SimulationError("the clairvoyant policy needs a target lifetime")
    replay = replay or scenario.replay()
    if not replay.labelled:
        raise SimulationError(f"{scenario.logits.about.data}: no labels, so no accuracy to plan for")
    policy = PowerPolicy(scenario.points[0].name, allow_uncertified=allow_uncertified)
    allowed = np.array(allowed_rows(policy, scenario.power_table))
    base_w = scenario.profile.base_w(scenario.screen)
    starts, seconds, counts, gains = (
        [],
        [],
        [],
        [],
    )  # per tick: seconds, images, joules that the battery gains beside images
    for tick in ticks_until(scenario, target_s):
        starts.append(tick.start_s)
        seconds.append(tick.seconds)
        counts.append(tick.count)
        gains.append((tick.charge_j, base_w * tick.seconds))
    edges = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    exit_s, exit_j = np.array(scenario.costs.exit_s), np.array(scenario.costs.exit_j)
    late = np.array(starts) >= replay.shift_s
    energy, right = np.zeros((len(starts), len(allowed))), np.zeros((len(starts), len(allowed)))
    for phase in (late, ~late):
        if not phase.any():
            continue
        time_s = starts[int(phase.argmax())]
        for column, point in enumerate(allowed):
            stream = replay.stream(time_s, int(point))
            marks = stream.upto_each(edges[1:][phase]) - stream.upto_each(edges[:-1][phase])
            work_s = np.maximum(marks[:, :-1] @ exit_s, 1e-300)
            served = np.minimum(1.0, np.array(seconds)[phase] / work_s)
            energy[phase, column] = served * (marks[:, :-1] @ exit_j)
            right[phase, column] = served * marks[:, -1]
    capacity_j = scenario.profile.battery.joules
    charge_j, base_j = np.array(gains).reshape(-1, 2).T
    start_j = scenario.start_level * capacity_j
    columns = timetable(energy, right, charge_j, base_j, start_j, capacity_j)
    return Plan(allowed[columns], most_right(scenario, replay, target_s), int(edges[-1]))


@dataclass(frozen=True)
class Packed:
    """One column a row, the price of energy at which it is best, and the bound on the sum: `knapsack`.

    `slack` tells plans of one price apart: the share of what could still be spent at it; joules left over where the
    price is 0; below 0 the missing joules where it is infinite.
    """

    columns: NDArray[np.int64]
    price: float
    bound: float
    slack: float

    @property
    def dearness(self) -> tuple[float, float]:
        """To compare plans by how dear energy is in them."""
        return float(f"{self.price:.6g}"), -self.slack


def knapsack(energy: NDArray[np.float64], right: NDArray[np.float64], budget: float) -> Packed:
    """One column a row that maximises the sum of `right` with the sum of `energy` within `budget`.

    Both are (rows, columns). By the price of energy: at each price every row takes its best column; the bound is the
    Lagrangian dual at the best price; the columns are those of the price just above, and of the one just below in
    rows spread evenly for as long as the budget allows. Where even the cheapest columns cost more, it is those, at an
    infinite price, and nothing is within the bound.
    """
    rows = np.arange(len(energy))

    def at(price: float) -> tuple[NDArray[np.int64], float]:
        worth = right - price * energy
        best = worth == worth.max(axis=1, keepdims=True)  # of equals the cheapest: at price 0 there may be many
        chosen = np.where(best, energy, np.inf).argmin(axis=1)
        return chosen, float(energy[rows, chosen].sum())

    lavish, cost = at(0.0)
    if cost <= budget:
        return Packed(lavish, 0.0, float(right[rows, lavish].sum()), budget - cost)
    cheapest = energy.argmin(axis=1)
    if (least := float(energy[rows, cheapest].sum())) > budget:
        return Packed(cheapest, math.inf, -math.inf, budget - least)
    low, high = 0.0, 1.0
    while at(high)[1] > budget:
        low, high = high, high * 2
    while high - low > 1e-9 * high and high > LEAST_PRICE:
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[1] > budget else (low, middle)
    frugal, cost = at(high)
    lavish, _ = at(low)
    bound = float((right - high * energy).max(axis=1).sum()) + high * budget
    spread = np.argsort((rows * ((math.sqrt(5) - 1) / 2)) % 1, kind="stable")
    extra = np.maximum(0.0, (energy[rows, lavish] - energy[rows, frugal])[spread]).cumsum()
    taken = spread[extra <= budget - cost]
    chosen = frugal.copy()
    chosen[taken] = lavish[taken]
    least, most = at(high * (1 + 1e-6))[1], at(high * (1 - 1e-6))[1]
    return Packed(chosen, high, bound, (budget - least) / (most - least))


def timetable(
    energy: NDArray[np.float64],
    right: NDArray[np.float64],
    charge_j: NDArray[np.float64],
    base_j: NDArray[np.float64],
    start_j: float,
    capacity_j: float,
) -> NDArray[np.int64]:
    """One column a row, as `knapsack`, where the battery is charged on the way: never empty, to within a tick, and
    never charged in vain.

    Up to the charge before which energy is dearest, energy has one price; then the rest likewise. Where the battery
    would be full before a charge ends, more is spent before it. Looks LOOK_AHEAD charges ahead.
    """
    total = len(energy)
    net = charge_j - base_j
    begins = [k for k in range(1, total) if charge_j[k] > charge_j[k - 1] * (1 + 1e-9)]  # or grow stronger
    columns, first, battery_j = np.zeros(total, dtype=np.int64), 0, start_j

    def packed(end: int, left_j: float = 0.0) -> tuple[int, Packed]:
        budget = battery_j + float(net[first:end].sum()) - left_j
        return end, knapsack(energy[first:end], right[first:end], budget)

    def levels(end: int, plan: Packed) -> tuple[float, int, int]:
        """The level at `end`; when the first charge that fills the battery is over, and when it is first empty: else
        `total`.
        """
        level_j, full_at, empty_at = battery_j, total, total
        gains = net[first:end] - energy[np.arange(first, end), plan.columns]
        for k, gain in enumerate(gains.tolist(), start=first):
            level_j += gain
            if level_j < 0:
                empty_at = k if empty_at == total and level_j < -1e-9 * capacity_j else empty_at
                level_j = 0.0
            if level_j > capacity_j:
                level_j = capacity_j
                full_at = k + 1 if full_at in (total, k) else full_at
        return level_j, full_at, empty_at

    while first < total:
        plans = [packed(end) for end in (*[k for k in begins if k > first][:LOOK_AHEAD], total)]
        end, plan = max(plans, key=lambda p: p[1].dearness)
        level_j, full_at, empty_at = levels(end, plan)
        while full_at < end or (empty_at < end and end > plans[0][0]):
            nearer = [p for p in plans if p[0] < min(full_at, end)]
            plans = [*nearer, packed(full_at, capacity_j)] if full_at < end else nearer
            end, plan = max(plans, key=lambda p: p[1].dearness)
            level_j, full_at, empty_at = levels(end, plan)
        columns[first:end] = plan.columns
        first, battery_j = end, level_j
    return columns
