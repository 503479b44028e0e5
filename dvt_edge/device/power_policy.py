"""The power policy. Normative: docs/power-policy.md says it in words, and Kotlin and Swift mirror these functions.

    device's state + what was used since -> operating point and cap, and the memory for the next call

Pure functions in float64, standard library only. Two parts in one policy: an ordered table of rules, and below it,
where no rule matches, a virtual energy queue that makes the battery last a given time (drift plus penalty:
Neely, Stochastic Network Optimization, 2010; for early exits: arXiv 2305.14094).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dvt_edge.device.device_state import THERMAL, Thermal
from dvt_edge.device.schema import require

if TYPE_CHECKING:
    from dvt_edge.device.device_state import DeviceState
    from dvt_edge.device.operating_point import OperatingPoint

LONGEST_STEP_S = 86400.0  # between two calls: a clock that leaps further has been set
LONGEST_MEAN_S = 86400.0  # over which the draw is averaged
LARGEST_STEP = 0.06  # of a full battery: the coarsest steps in which a level is learned from
FASTEST_DRAIN_S = 3600.0  # in which no device empties a full battery


@dataclass(frozen=True)
class Rule:
    """The operating point and cap for states in which every condition that is not null holds."""

    point: str
    max_stage: int | None = None
    battery_below: float | None = None  # a fraction; does not hold where the level is unknown
    charging: bool | None = None
    low_power: bool | None = None
    thermal_at_least: Thermal | None = None

    def __post_init__(self) -> None:
        limit = self.battery_below
        require(limit is None or 0 < limit <= 1, f"battery_below {limit}; expected above 0 and at most 1")
        require(self.max_stage is None or self.max_stage >= 0, f"max_stage {self.max_stage}; expected 0 or more")


@dataclass(frozen=True)
class EnergyQueue:
    """How patiently a lifetime target is held: see docs/power-policy.md.

    `window_s` is the time over which the queue averages; `images_per_s` the mean rate expected until the target,
    null to learn it.
    """

    window_s: float = 1800.0
    images_per_s: float | None = None

    def __post_init__(self) -> None:
        require(math.isfinite(self.window_s) and self.window_s > 0, f"window_s {self.window_s}; expected above 0")
        rate = self.images_per_s
        require(rate is None or (math.isfinite(rate) and rate > 0), f"images_per_s {rate}; expected above 0 or null")


@dataclass(frozen=True)
class PowerPolicy:
    """Rules in order, the first that matches wins; then the queue, where it can decide; then `otherwise`."""

    otherwise: str  # an operating point
    rules: tuple[Rule, ...] = ()
    queue: EnergyQueue | None = None
    hysteresis: float = 0.03  # a battery rule that holds is left only at battery_below + hysteresis
    dwell_s: float = 60.0  # at least so long between a change and a move to something costlier
    cool_s: float = 60.0  # a device counts as hot as it was at any time so long ago
    allow_uncertified: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.hysteresis < 1, f"hysteresis {self.hysteresis}; expected 0 <= hysteresis < 1")
        for name, seconds in (("dwell_s", self.dwell_s), ("cool_s", self.cool_s)):
            require(math.isfinite(seconds) and seconds >= 0, f"{name} {seconds}; expected 0 or more")

    @property
    def points(self) -> tuple[str, ...]:
        """Every operating point it names."""
        return tuple(dict.fromkeys((self.otherwise, *(rule.point for rule in self.rules))))


@dataclass(frozen=True)
class PointRow:
    """What a policy knows of an operating point. `exit_shares` are the shares of images that leave at each exit,
    `energy_j` is the mean joules an image takes on this device.
    """

    name: str
    accuracy: float
    certified: bool
    exit_shares: tuple[float, ...]
    energy_j: float | None = None


@dataclass(frozen=True)
class PowerTable:
    """What a policy knows of bundle and device. Rows are by rising cost. `exit_j` is the mean joules of an image that
    leaves at each exit, `capacity_j` of a full battery; None where not known. `base_w` is the watts beside inference
    that are believed before any are learned.
    """

    stages: int
    rows: tuple[PointRow, ...]
    exit_j: tuple[float, ...] | None = None
    capacity_j: float | None = None
    base_w: float = 0.0

    def index(self, name: str) -> int:
        return next(i for i, row in enumerate(self.rows) if row.name == name)


@dataclass(frozen=True)
class Choice:
    """`uncertified` says that no certificate covers the answers: an uncertified point, or a cap below its exits."""

    point: str
    max_stage: int | None
    uncertified: bool


class Drain(NamedTuple):
    """What the battery showed: from it the watts beside inference are learned."""

    shown_j: float | None = None  # the joules left at the last call
    counted: bool = False  # by a counter, else by the level
    since_s: float | None = None  # when they last fell; None where that is not known
    used_j: float = 0.0  # by images since then
    base_j: float = 0.0  # beside images, of all that was learned from
    base_s: float = 0.0  # seconds of it


class Memory(NamedTuple):
    """What the policy remembers; the caller keeps it. Start with `Memory()`. Times are seconds since the first call."""

    choice: Choice | None = None
    rule: int | None = None  # the rule that held
    since_s: float = 0.0  # when the choice last changed
    now_s: float = 0.0  # of the last call
    clock_s: float | None = None  # the last time that the device's clock showed
    hot_s: tuple[float, ...] = (-math.inf,) * 3  # when it was last fair, serious, critical, or hotter than that
    seen: int = 0  # images since the first call
    images: int = 0  # images since the last call
    used_j: float = 0.0  # joules they took
    queue_j: float | None = None
    drain: Drain = Drain()


def power_table(
    points: Sequence[OperatingPoint],
    exit_j: Sequence[float] | None = None,
    capacity_j: float | None = None,
    base_w: float = 0.0,
) -> PowerTable:
    """The table of a bundle's points (`Manifest.proved_points`) on a device: see PowerTable."""

    def energy(point: OperatingPoint) -> float | None:
        return None if exit_j is None else math.fsum(map(operator.mul, point.exit_shares, exit_j))

    def accuracy(point: OperatingPoint) -> float:
        known = (q for q in (point.expected_top1, point.top1) if q is not None)
        return next(known, point.agreement)

    rows = tuple(PointRow(p.name, accuracy(p), p.certificate is not None, p.exit_shares, energy(p)) for p in points)
    joules = None if exit_j is None else tuple(exit_j)
    return PowerTable(len(points[0].thresholds), rows, joules, capacity_j, base_w)


def used(memory: Memory, images: int, energy_j: float) -> Memory:
    """The memory after `images` more images that took `energy_j` joules together: 0 where that is no number above."""
    energy_j = energy_j if math.isfinite(energy_j) and energy_j > 0 else 0.0
    return memory._replace(seen=memory.seen + images, images=memory.images + images, used_j=memory.used_j + energy_j)


def choose(policy: PowerPolicy, table: PowerTable, state: DeviceState, memory: Memory) -> tuple[Choice, Memory]:
    """The operating point and cap for now, and the memory for the next call."""
    allowed = allowed_rows(policy, table)
    step_s, timed = step_of(state, memory)
    now_s = memory.now_s + step_s
    heat = THERMAL.index(state.thermal)
    hot_s = (now_s,) * heat + memory.hot_s[heat:]
    drain = follow_drain(table, state, memory, now_s, timed)
    queue_j, adaptive = follow_queue(policy, table, allowed, state, memory, now_s, drain)
    rule = matching_rule(policy, state, held_thermal(policy, state, hot_s, now_s), memory.rule)
    if rule is not None:
        wanted, cap = table.index(policy.rules[rule].point), policy.rules[rule].max_stage
    else:
        wanted, cap = table.index(policy.otherwise) if adaptive is None else adaptive, None
    if not policy.allow_uncertified:
        wanted, cap = certified_row(table, allowed, wanted), None
    if cap is not None and cap >= table.stages - 1:
        cap = None
    row = table.rows[wanted]
    choice = Choice(row.name, cap, uncertified=not row.certified or cap is not None)
    since_s, before = memory.since_s, memory.choice
    if before is None:
        since_s = now_s
    elif choice != before:
        by_heat = rule is not None and policy.rules[rule].thermal_at_least is not None
        if costs_more(table, choice, before) and not by_heat and now_s - memory.since_s < policy.dwell_s:
            choice = before
        else:
            since_s = now_s
    clock_s = memory.clock_s if state.known_time is None else state.known_time
    return choice, Memory(choice, rule, since_s, now_s, clock_s, hot_s, memory.seen, 0, 0.0, queue_j, drain)


def allowed_rows(policy: PowerPolicy, table: PowerTable) -> tuple[int, ...]:
    """Rows that may be chosen: all, or the certified ones, or the costliest where none is certified."""
    rows = range(len(table.rows))
    if policy.allow_uncertified:
        return tuple(rows)
    return tuple(i for i in rows if table.rows[i].certified) or (rows[-1],)


def certified_row(table: PowerTable, allowed: Sequence[int], wanted: int) -> int:
    """`wanted` if it is allowed, else the next costlier one that is, else the costliest that is."""
    return next((i for i in allowed if i >= wanted), allowed[-1])


def mean_cost(table: PowerTable, choice: Choice) -> float:
    """What an image takes on average, no stage after the cap: joules where they are known, else stages."""
    last = table.stages - 1 if choice.max_stage is None else choice.max_stage
    total = 0.0
    for exit_, share in enumerate(table.rows[table.index(choice.point)].exit_shares):
        leaves = min(exit_, last)
        total += share * (leaves + 1.0 if table.exit_j is None else table.exit_j[leaves])
    return total


def costs_more(table: PowerTable, a: Choice, b: Choice) -> bool:
    """Whether `a` takes more on average than `b`, or as much at a later point of the table."""
    return (mean_cost(table, a), table.index(a.point)) > (mean_cost(table, b), table.index(b.point))


def step_of(state: DeviceState, memory: Memory) -> tuple[float, bool]:
    """Seconds since the last call, and whether they are known: a clock that goes back or leaps ahead says nothing."""
    if state.known_time is None or memory.clock_s is None:
        return 0.0, False
    step_s = state.known_time - memory.clock_s
    return (step_s, True) if 0 <= step_s <= LONGEST_STEP_S else (0.0, False)


def held_thermal(policy: PowerPolicy, state: DeviceState, hot_s: Sequence[float], now_s: float) -> int:
    """The hottest thermal state of the last `cool_s` seconds, as its place in THERMAL."""
    now = THERMAL.index(state.thermal)
    for k in range(len(hot_s), now, -1):
        if now_s - hot_s[k - 1] < policy.cool_s:
            return k
    return now


def matching_rule(policy: PowerPolicy, state: DeviceState, thermal: int, held: int | None) -> int | None:
    """Index of the first rule whose conditions hold; `held` is the one that did before, for the hysteresis."""
    level = state.known_level
    for index, rule in enumerate(policy.rules):
        if rule.battery_below is not None:
            limit = rule.battery_below + (policy.hysteresis if index == held else 0.0)
            if level is None or level >= limit:
                continue
        if rule.charging is not None and rule.charging != state.charging:
            continue
        if rule.low_power is not None and rule.low_power != state.low_power:
            continue
        if rule.thermal_at_least is not None and thermal < THERMAL.index(rule.thermal_at_least):
            continue
        return index
    return None


def shown_j(table: PowerTable, state: DeviceState) -> float | None:
    """The joules left as the battery shows them: by its counter, else by the level."""
    level, left_j = state.known_level, state.known_energy
    if left_j is not None:
        return left_j
    return None if level is None or table.capacity_j is None else level * table.capacity_j


def follow_drain(table: PowerTable, state: DeviceState, memory: Memory, now_s: float, timed: bool) -> Drain:
    """What is known of the draw after this call: learned from one fall of the joules shown to the next."""
    before, shown, counted = memory.drain, shown_j(table, state), state.known_energy is not None
    anew = Drain(shown, counted, None, 0.0, before.base_j, before.base_s)
    if shown is None or before.shown_j is None or counted != before.counted or state.charging or not timed:
        return anew
    fell_j, used_j = before.shown_j - shown, before.used_j + memory.used_j
    if fell_j == 0:
        return Drain(shown, counted, before.since_s, used_j, before.base_j, before.base_s)
    largest = LARGEST_STEP + (now_s - memory.now_s) / FASTEST_DRAIN_S
    if fell_j < 0 or table.capacity_j is None or fell_j > largest * table.capacity_j:
        return anew
    if before.since_s is None or not now_s > before.since_s:
        return Drain(shown, counted, now_s, 0.0, before.base_j, before.base_s)
    base_j, base_s = before.base_j + fell_j - used_j, before.base_s + now_s - before.since_s
    kept = min(1.0, LONGEST_MEAN_S / base_s)
    return Drain(shown, counted, now_s, 0.0, kept * base_j, kept * base_s)


def base_draw(policy: PowerPolicy, table: PowerTable, drain: Drain) -> float:
    """Watts beside inference: those believed count as much as `window_s` seconds of those learned."""
    window_s = 0.0 if policy.queue is None else policy.queue.window_s
    if drain.base_s == 0:
        return table.base_w
    return table.base_w + (drain.base_j - table.base_w * drain.base_s) / (window_s + drain.base_s)


def follow_queue(
    policy: PowerPolicy,
    table: PowerTable,
    allowed: Sequence[int],
    state: DeviceState,
    memory: Memory,
    now_s: float,
    drain: Drain,
) -> tuple[float | None, int | None]:
    """The energy queue in joules after what was used, and the row it asks for: None where it cannot decide."""
    left_j, left = drain.shown_j, state.known_lifetime
    rows = table.rows
    known = [(i, rows[i].accuracy, energy) for i in allowed if (energy := rows[i].energy_j) is not None]
    if policy.queue is None or left_j is None or left is None or len(known) < len(allowed):
        return memory.queue_j, None
    rate = policy.queue.images_per_s or (memory.seen / now_s if now_s > 0 else 0.0)
    cheapest, best = min(known, key=lambda r: (r[2], -r[1])), max(known, key=lambda r: (r[1], -r[2]))
    gain, span = best[1] - cheapest[1], best[2] - cheapest[2]
    if gain <= 0:
        return memory.queue_j, cheapest[0]
    if rate == 0:
        return memory.queue_j, best[0]
    images = rate * left
    if not 0 < images < math.inf:
        return memory.queue_j, None
    budget = (left_j - base_draw(policy, table, drain) * left) / images  # J
    weight = policy.queue.window_s * rate * span * span / gain  # V, in J^2
    steepest = max((a - cheapest[1]) / (e - cheapest[2]) for _, a, e in known if e > cheapest[2])
    if not (math.isfinite(budget) and math.isfinite(2 * weight * steepest)):
        return memory.queue_j, None
    if memory.queue_j is None:
        price, row = price_of(budget, known)
        return weight * price, row
    queue = min(max(0.0, memory.queue_j + memory.used_j - memory.images * budget), 2 * weight * steepest)
    wanted = max(known, key=lambda r: (weight * r[1] - queue * r[2], -r[2]))
    return queue, wanted[0]


def price_of(budget: float, rows: Sequence[tuple[int, float, float]]) -> tuple[float, int]:
    """Down the upper hull of rows (number, accuracy, joules) to the first that takes at most `budget` joules an image:
    the accuracy lost a joule saved on the last step, 0 without one, and that row's number.
    """
    now, price = max(rows, key=lambda r: (r[1], -r[2])), 0.0
    while now[2] > budget:
        cheaper = [r for r in rows if r[2] < now[2]]
        if not cheaper:
            break
        at = now
        now = min(cheaper, key=lambda r: ((at[1] - r[1]) / (at[2] - r[2]), r[2]))
        price = (at[1] - now[1]) / (at[2] - now[2])
    return price, now[0]
