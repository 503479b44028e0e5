"""One device of a fleet, simulated for days under every policy at once.

    Parts + device number -> rows, one a policy and day

Battery, temperature and waiting images carry over from day to day: it is one simulation, counted by days.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dvt_edge.calibration.exit_logits import ExitLogits
from dvt_edge.device.device_state import DeviceState
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.operating_point import OperatingPoint
from dvt_edge.device.power_policy import Choice, PowerPolicy, PowerTable
from dvt_edge.errors import SimulationError
from dvt_edge.simulation.baselines import CLAIRVOYANT, standard_policies, uncertified_allowed, with_own
from dvt_edge.simulation.clairvoyant import PlanChooser, best_plan
from dvt_edge.simulation.device_profile import DeviceProfile
from dvt_edge.simulation.fleet import Drawn, Fleet, draw, profile_of, workload_of
from dvt_edge.simulation.replay import Replay
from dvt_edge.simulation.simulator import Chooser, Device, PolicyChooser, Scenario
from dvt_edge.simulation.workload import DAY, HOUR, Tick

DRAWN = (
    *("device", "kind", "capacity", "ambient_c", "start_level", "screen", "images_per_s"),
    *("peak_hour", "charge_hour", "charge_hours", "charge_w"),
)
TALLIED = ("arrived", "dropped", "off", "late", "right", "uncertified")


@dataclass(frozen=True)
class UntilCharger:
    """Tells a policy that the battery has to last until the user's habitual hour of charging, or to the end.

    While it is charging there is no target. That the user may forget is not told.
    """

    inner: Chooser
    charge_s: float | None  # the habitual second of the day; None where the device is never charged
    end_s: float

    def choose(self, number: int, state: DeviceState) -> Choice:
        now_s = state.time_s or 0.0
        left = self.end_s - now_s
        if self.charge_s is not None:
            left = min(left, (self.charge_s - now_s) % DAY or DAY)
        return self.inner.choose(number, dataclasses.replace(state, lifetime_s=None if state.charging else left))

    def used(self, images: int, energy_j: float) -> None:
        self.inner.used(images, energy_j)


@dataclass(frozen=True)
class Parts:
    """What all devices of a fleet share. `default` is the operating point of the policies that need one."""

    fleet: Fleet
    profiles: dict[str, DeviceProfile]  # by the name that the kinds give
    points: tuple[OperatingPoint, ...]
    confidence: ConfidenceSpec
    default: str

    @property
    def allow_uncertified(self) -> bool:
        """Where the fleet does not say: `baselines.uncertified_allowed`."""
        allow = self.fleet.allow_uncertified
        return uncertified_allowed(self.points) if allow is None else allow

    def replay(self, logits: ExitLogits) -> Replay:
        """Raises SimulationError for logits of another cascade than the points, or that are not finite."""
        return Replay(logits, self.confidence, self.points, self.fleet.seed)

    def power_policies(self, table: PowerTable) -> dict[str, PowerPolicy]:
        """The standard policies and the fleet's own. Raises SimulationError where one of them has a standard name."""
        return with_own(standard_policies(table, self.default, self.allow_uncertified), self.fleet.own_policies)

    def chooser(self, policy: PowerPolicy, table: PowerTable) -> Chooser:
        """Raises SimulationError where the policy names a point that is not there."""
        return PolicyChooser(policy, table)

    def policy_names(self, table: PowerTable) -> tuple[str, ...]:
        """Raises SimulationError for a name that is no policy."""
        known = (*self.power_policies(table), CLAIRVOYANT)
        for name in self.fleet.policies or ():
            if name not in known:
                raise SimulationError(f"the fleet names the policy {name!r}; there are: {', '.join(known)}")
        return self.fleet.policies or known


def scenario_of_device(parts: Parts, logits: ExitLogits, drawn: Drawn) -> Scenario:
    """The device as it is; its policy believes that it has the profile's battery, new."""
    fleet = parts.fleet
    kind = next(kind for kind in fleet.kinds if kind.name == drawn.kind)
    return Scenario(
        logits,
        parts.points,
        parts.confidence,
        profile_of(parts.profiles[kind.profile], drawn),
        workload_of(fleet, kind, drawn),
        target_s=fleet.days * DAY,
        control_s=fleet.control_s,
        deadline_s=fleet.deadline_s,
        screen=drawn.screen,
        start_level=drawn.start_level,
        level_step=fleet.level_step,
        seed=drawn.seeds[0],
        believed=parts.profiles[kind.profile],
        counter=kind.counter,
    )


def simulate_device(parts: Parts, images: Replay, number: int) -> Iterator[dict[str, Any]]:
    """A row for each policy and day of device `number`: the columns of `fleet_run.columns`.

    `images` are those of all devices, in any order: each device has its own.
    """
    fleet, logits = parts.fleet, images.logits
    drawn = draw(fleet, number, parts.profiles)
    scenario = scenario_of_device(parts, logits, drawn)
    replay = images.reordered(scenario.seed)
    table = scenario.power_table
    policies, names = parts.power_policies(table), parts.policy_names(table)
    charge_s = drawn.charge_hour * HOUR % DAY if drawn.charge_w else None
    choosers: dict[str, Chooser] = {}
    planned = CLAIRVOYANT in names and logits.labels is not None
    plan = best_plan(scenario, parts.allow_uncertified, replay) if planned else None
    for name in names:
        if name != CLAIRVOYANT:
            choosers[name] = UntilCharger(PolicyChooser(policies[name], table), charge_s, fleet.days * DAY)
        elif plan is not None:
            choosers[name] = PlanChooser(plan, table)
    devices = [Device(name, scenario, replay, chooser) for name, chooser in choosers.items()]
    days = [DayCount(device, drawn, plan.bound if plan else None) for device in devices]
    a_day = round(DAY / fleet.control_s)
    for count, tick in enumerate(scenario.workload.ticks(fleet.control_s), start=1):
        for day in days:
            day.run(tick)
        if count % a_day == 0:
            yield from (day.row() for day in days)


class DayCount:
    """Runs a device and says what each day brought."""

    def __init__(self, device: Device, drawn: Drawn, bound: float | None) -> None:
        self.device, self.drawn, self.bound, self.day = device, drawn, bound, 0
        self.begin()

    def begin(self) -> None:
        device = self.device
        self.before, self.base_j, self.charged_j = device.tally.copy(), device.base_j, device.charged_j
        self.lost_j = device.lost_j
        self.start_j, self.went_empty, self.hottest_c = device.battery_j, not device.on, device.temperature_c

    def run(self, tick: Tick) -> None:
        self.device.run(tick)
        self.went_empty = self.went_empty or not self.device.on
        self.hottest_c = max(self.hottest_c, self.device.temperature_c)

    def row(self) -> dict[str, Any]:
        device, drawn, joules = self.device, self.drawn, self.device.capacity_j
        now, before = device.tally, self.before
        exits = [b - a for a, b in zip(before.exits, now.exits, strict=True)]
        counts = {name: getattr(now, name) - getattr(before, name) for name in TALLIED}
        base_j, charged_j = device.base_j - self.base_j, device.charged_j - self.charged_j
        row = {
            **{f.name: getattr(drawn, f.name) for f in dataclasses.fields(drawn) if f.name in DRAWN},
            "policy": device.name,
            "day": self.day,
            "charged": drawn.charge_days[self.day] and drawn.charge_w > 0,
            "level_start": self.start_j / joules,
            "level_end": device.battery_j / joules,
            "went_empty": self.went_empty,
            "first_empty_s": device.empty_s,
            "answered": sum(exits),
            **{f"answered_exit{k}": count for k, count in enumerate(exits)},
            **counts,
            "right": counts["right"] if device.replay.labelled else None,
            "base_j": base_j,
            "inference_j": device.joules(exits, device.exit_j_list),
            "lost_j": device.lost_j - self.lost_j,
            "charged_j": charged_j,
            "hottest_c": self.hottest_c,
            "bound": self.bound,
        }
        self.day += 1
        self.begin()
        return row
