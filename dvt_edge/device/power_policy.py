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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dvt_edge.device.device_state import THERMAL, Thermal
from dvt_edge.device.schema import require

if TYPE_CHECKING:
    from dvt_edge.device.device_state import DeviceState
    from dvt_edge.device.operating_point import OperatingPoint


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
    dwell_s: float = 60.0  # at least so long between a change and a move to a costlier point
    allow_uncertified: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.hysteresis < 1, f"hysteresis {self.hysteresis}; expected 0 <= hysteresis < 1")
        require(math.isfinite(self.dwell_s) and self.dwell_s >= 0, f"dwell_s {self.dwell_s}; expected 0 or more")

    @property
    def points(self) -> tuple[str, ...]:
        """Every operating point it names."""
        return tuple(dict.fromkeys((self.otherwise, *(rule.point for rule in self.rules))))


@dataclass(frozen=True)
class PointRow:
    """What a policy knows of an operating point. `energy_j` is the mean joules an image takes on this device."""

    name: str
    accuracy: float
    certified: bool
    energy_j: float | None = None


@dataclass(frozen=True)
class PowerTable:
    """What a policy knows of bundle and device. Rows are by rising cost. `exit_j` is the mean joules of an image that
    leaves at each exit, `capacity_j` of a full battery, `base_w` the watts beside inference; None where not known.
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


@dataclass(frozen=True)
class Memory:
    """What the policy remembers; the caller keeps it. Start with `Memory()`."""

    choice: Choice | None = None
    rule: int | None = None  # the rule that held
    since_s: float = 0.0  # when the choice last changed
    start_s: float | None = None  # of the first call
    seen: int = 0  # images since the first call
    images: int = 0  # images since the last call
    used_j: float = 0.0  # joules they took
    queue_j: float | None = None


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

    rows = tuple(PointRow(p.name, accuracy(p), p.certificate is not None, energy(p)) for p in points)
    joules = None if exit_j is None else tuple(exit_j)
    return PowerTable(len(points[0].thresholds), rows, joules, capacity_j, base_w)


def used(memory: Memory, images: int, energy_j: float) -> Memory:
    """The memory after `images` more images that took `energy_j` joules together."""
    return replace(memory, seen=memory.seen + images, images=memory.images + images, used_j=memory.used_j + energy_j)


def choose(policy: PowerPolicy, table: PowerTable, state: DeviceState, memory: Memory) -> tuple[Choice, Memory]:
    """The operating point and cap for now, and the memory for the next call."""
    allowed, now_s = allowed_rows(policy, table), state.time_s or 0.0
    start_s = now_s if memory.start_s is None else memory.start_s
    queue_j, adaptive = follow_queue(policy, table, allowed, state, memory, now_s - start_s)
    rule = matching_rule(policy, state, memory.rule)
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
        if costs_more(table, choice, before) and 0 <= now_s - memory.since_s < policy.dwell_s:
            choice = before
        else:
            since_s = now_s
    return choice, Memory(choice, rule, since_s, start_s, memory.seen, 0, 0.0, queue_j)


def allowed_rows(policy: PowerPolicy, table: PowerTable) -> tuple[int, ...]:
    """Rows that may be chosen: all, or the certified ones, or the costliest where none is certified."""
    rows = range(len(table.rows))
    if policy.allow_uncertified:
        return tuple(rows)
    return tuple(i for i in rows if table.rows[i].certified) or (rows[-1],)


def certified_row(table: PowerTable, allowed: Sequence[int], wanted: int) -> int:
    """`wanted` if it is allowed, else the next costlier one that is, else the costliest that is."""
    return next((i for i in allowed if i >= wanted), allowed[-1])


def costs_more(table: PowerTable, a: Choice, b: Choice) -> bool:
    """Whether `a` is a costlier point than `b`, or the same with a later cap."""

    def rank(choice: Choice) -> tuple[int, int]:
        return table.index(choice.point), table.stages if choice.max_stage is None else choice.max_stage

    return rank(a) > rank(b)


def matching_rule(policy: PowerPolicy, state: DeviceState, held: int | None) -> int | None:
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
        if rule.thermal_at_least is not None and THERMAL.index(state.thermal) < THERMAL.index(rule.thermal_at_least):
            continue
        return index
    return None


def follow_queue(
    policy: PowerPolicy,
    table: PowerTable,
    allowed: Sequence[int],
    state: DeviceState,
    memory: Memory,
    elapsed_s: float,
) -> tuple[float | None, int | None]:
    """The energy queue in joules after what was used, and the row it asks for: None where it cannot decide."""
    level, left = state.known_level, state.lifetime_s
    rows = [(i, table.rows[i].accuracy, table.rows[i].energy_j) for i in allowed]
    known = [(i, accuracy, energy) for i, accuracy, energy in rows if energy is not None]
    if policy.queue is None or level is None or left is None or not left > 0 or table.capacity_j is None:
        return memory.queue_j, None
    if len(known) < len(rows):
        return memory.queue_j, None
    rate = policy.queue.images_per_s or (memory.seen / elapsed_s if elapsed_s > 0 else 0.0)
    cheapest, best = min(known, key=lambda r: (r[2], -r[1])), max(known, key=lambda r: (r[1], -r[2]))
    gain, span = best[1] - cheapest[1], best[2] - cheapest[2]
    if gain <= 0:
        return memory.queue_j, cheapest[0]
    if rate == 0:
        return memory.queue_j, best[0]
    budget = (level * table.capacity_j - table.base_w * left) / (rate * left)  # J an image
    weight = policy.queue.window_s * rate * span * span / gain  # V, in J^2
    if memory.queue_j is None:
        price, row = price_of(budget, known)
        return weight * price, row
    steepest = max((a - cheapest[1]) / (e - cheapest[2]) for _, a, e in known if e > cheapest[2])
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
