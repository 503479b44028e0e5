"""A fleet's description: many devices that differ, and what each of them is.

    Fleet (JSON) + device number -> Drawn -> its profile and workload

What a device is depends on the fleet's seed and its number alone. `docs/fleet.md` has the description's fields;
`fleet_device.py` simulates a device, `fleet_run.py` all of them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from dvt_edge.data.shipped import shipped_or_given
from dvt_edge.device.power_policy import PowerPolicy
from dvt_edge.device.schema import read_json, require
from dvt_edge.simulation.device_profile import DeviceProfile, changed
from dvt_edge.simulation.simulator import LEAST_LEVEL_STEP
from dvt_edge.simulation.workload import DAY, HOUR, ChargeWindow, Diurnal, FixedRate, Workload

FORMAT = 1
MOST_DEVICES = 1_000_000
MOST_WEIGHT = 1e9
SHIPPED = Path(__file__).parent / "fleets"


@dataclass(frozen=True)
class Spread:
    """How a value varies between devices: never outside `low` to `high`; triangular is likeliest in the middle."""

    low: float
    high: float
    shape: Literal["uniform", "log_uniform", "triangular"] = "uniform"

    def __post_init__(self) -> None:
        ok = math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high
        require(ok, f"low {self.low:g}, high {self.high:g}; expected low <= high")
        require(self.shape != "log_uniform" or self.low > 0, f"low {self.low:g}; expected above 0 for log_uniform")

    def draw(self, random: np.random.Generator) -> float:
        """One number is taken from `random` whatever the shape, so that changing one spread changes no other value."""
        share = float(random.random())
        if self.shape == "triangular":
            share = math.sqrt(share / 2) if share < 0.5 else 1 - math.sqrt((1 - share) / 2)
        if self.shape == "log_uniform":
            return min(self.high, max(self.low, self.low * (self.high / self.low) ** share))
        return self.low + (self.high - self.low) * share


def within(name: str, spread: Spread, low: float, high: float) -> None:
    ok = low <= spread.low and spread.high <= high
    require(ok, f"{name} {spread.low:g} to {spread.high:g}; expected within {low:g} to {high:g}")


@dataclass(frozen=True)
class Arrivals:
    """The images of a kind of device; `depth` and `peak_hour` are those of `workload.Diurnal`."""

    images_per_s: Spread
    process: Literal["fixed", "poisson", "diurnal"] = "fixed"
    depth: float = 0.8
    peak_hour: Spread = Spread(12.0, 16.0)

    def __post_init__(self) -> None:
        within("images_per_s", self.images_per_s, 0.0, 1e5)
        require(0 <= self.depth <= 1, f"depth {self.depth:g}; expected 0 to 1")


@dataclass(frozen=True)
class Charging:
    """A habit: on a share `probability` of the days, from `start_hour` on for `hours` at `watts`."""

    start_hour: Spread
    hours: Spread
    watts: Spread
    probability: float = 1.0

    def __post_init__(self) -> None:
        within("start_hour", self.start_hour, 0.0, 24.0)
        within("hours", self.hours, 0.01, 23.9)
        within("watts", self.watts, 0.01, 1e4)
        require(0 <= self.probability <= 1, f"probability {self.probability:g}; expected 0 to 1")


@dataclass(frozen=True)
class DeviceKind:
    """One kind of device; `weight` is its share of the fleet over the sum of all weights.

    `capacity` is what is left of the profile's battery, as a fraction: its age, which policies are not told.
    `ambient_c` null is the profile's. With a `counter` policies see the joules left in the battery too.
    """

    name: str
    profile: str  # a shipped profile's name, or a JSON file; relative to the description
    arrivals: Arrivals
    charging: Charging | None = None
    weight: float = 1.0
    capacity: Spread = Spread(1.0, 1.0)
    ambient_c: Spread | None = None
    start_level: Spread = Spread(1.0, 1.0)
    screen: Spread = Spread(0.0, 0.0)
    counter: bool = False

    def __post_init__(self) -> None:
        require(0 < self.weight <= MOST_WEIGHT, f"weight {self.weight:g}; expected above 0, to {MOST_WEIGHT:g}")
        within("capacity", self.capacity, 0.01, 2.0)
        within("start_level", self.start_level, 0.0, 1.0)
        within("screen", self.screen, 0.0, 1.0)
        if self.ambient_c is not None:
            within("ambient_c", self.ambient_c, -60.0, 100.0)


@dataclass(frozen=True)
class Fleet:
    """`policies` null is every standard one, the clairvoyant and `own_policies`; a name in it picks one of those.

    `control_s`, `deadline_s` and `level_step` are those of `simulator.Scenario`.
    """

    format: int
    name: str
    devices: int
    days: int
    kinds: tuple[DeviceKind, ...]
    policies: tuple[str, ...] | None = None
    own_policies: dict[str, PowerPolicy] = field(default_factory=dict)
    allow_uncertified: bool | None = None
    control_s: float = 300.0
    deadline_s: float = 0.1
    level_step: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.format == FORMAT, f"format {self.format}; this reads {FORMAT}")
        require(1 <= self.devices <= MOST_DEVICES, f"devices {self.devices}; expected 1 or more, to {MOST_DEVICES:,}")
        require(self.policies != (), "policies is empty; expected names, or null for all of them")
        require(1 <= self.days <= 3660, f"days {self.days}; expected 1 to 3660")
        require(self.seed >= 0, f"seed {self.seed}; expected 0 or more")
        names = [kind.name for kind in self.kinds]
        require(bool(names), "kinds is empty; expected at least one")
        require(len(set(names)) == len(names), f"kinds {', '.join(names)}; expected each name once")
        whole = math.isfinite(self.control_s) and 1 <= self.control_s <= DAY and DAY % self.control_s == 0
        require(whole, f"control_s {self.control_s:g}; expected a divisor of a day's 86400 s, at least 1")
        least = LEAST_LEVEL_STEP
        steps = self.level_step == 0 or least <= self.level_step <= 1
        require(steps, f"level_step {self.level_step:g}; expected 0, or {least:g} to 1")
        require(0 <= self.deadline_s < math.inf, f"deadline_s {self.deadline_s:g}; expected 0 or more")


def fleet_path(name: str | Path) -> Path:
    """The file of a shipped description, or `name` itself. Raises SchemaError where there is none."""
    return shipped_or_given(SHIPPED, name, "fleet")


def open_fleet(name: str | Path) -> Fleet:
    """A shipped description by its name, or a JSON file. Raises SchemaError naming the file and the place in it."""
    fleet: Fleet = read_json(Fleet, fleet_path(name))
    return fleet


@dataclass(frozen=True)
class Drawn:
    """One device. `seeds` are for the order of its images, the arrivals, and the days on which it is charged."""

    device: int
    kind: str
    capacity: float
    ambient_c: float
    start_level: float
    screen: float
    images_per_s: float
    peak_hour: float
    charge_hour: float
    charge_hours: float
    charge_w: float  # 0 where it is never charged
    charge_days: tuple[bool, ...]
    seeds: tuple[int, int]


def draw(fleet: Fleet, device: int, profiles: dict[str, DeviceProfile]) -> Drawn:
    """Device number `device`: from SeedSequence(seed, spawn_key=(device,)) and nothing else."""
    random = np.random.default_rng(np.random.SeedSequence(fleet.seed, spawn_key=(device,)))
    weights = np.array([kind.weight for kind in fleet.kinds])
    kind = fleet.kinds[int(np.searchsorted(weights.cumsum() / weights.sum(), random.random(), side="right"))]
    seeds = int(random.integers(2**31)), int(random.integers(2**31))
    ambient = kind.ambient_c or Spread(*2 * (profiles[kind.profile].thermal.ambient_c,))
    charging = kind.charging or Charging(Spread(0, 0), Spread(1, 1), Spread(1, 1), 0.0)
    return Drawn(
        device=device,
        kind=kind.name,
        capacity=kind.capacity.draw(random),
        ambient_c=ambient.draw(random),
        start_level=kind.start_level.draw(random),
        screen=kind.screen.draw(random),
        images_per_s=kind.arrivals.images_per_s.draw(random),
        peak_hour=kind.arrivals.peak_hour.draw(random),
        charge_hour=charging.start_hour.draw(random),
        charge_hours=charging.hours.draw(random),
        charge_w=charging.watts.draw(random) if kind.charging else 0.0,
        charge_days=tuple(bool(chance < charging.probability) for chance in random.random(fleet.days)),
        seeds=seeds,
    )


def workload_of(fleet: Fleet, kind: DeviceKind, drawn: Drawn) -> Workload:
    """The device's images and charges over all days; a charge that begins in the evening goes on past midnight."""
    windows = tuple(
        ChargeWindow(start, start + drawn.charge_hours * HOUR, drawn.charge_w)
        for day, charged in enumerate(drawn.charge_days)
        if charged
        for start in (day * DAY + drawn.charge_hour * HOUR,)
    )
    duration, arrivals = fleet.days * DAY, kind.arrivals
    if arrivals.process == "fixed":
        return FixedRate(drawn.images_per_s, duration, windows)
    depth = arrivals.depth if arrivals.process == "diurnal" else 0.0
    return Diurnal(drawn.images_per_s, duration, depth, drawn.peak_hour, drawn.seeds[1], windows)


def profile_of(profile: DeviceProfile, drawn: Drawn) -> DeviceProfile:
    """The profile with the device's battery, as aged, and ambient temperature."""
    battery = changed(profile.battery, capacity_mah=profile.battery.capacity_mah * drawn.capacity)
    thermal = changed(profile.thermal, ambient_c=drawn.ambient_c)
    return dataclasses.replace(profile, battery=battery, thermal=thermal)
