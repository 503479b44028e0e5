"""What a device draws, how fast it is, and how it heats: a device profile, JSON read by `dvt_edge.device.schema`.

Every section says whether it was measured on a device or estimated, and from what. `docs/energy-model.md` derives
the shipped examples and states the model. Standard library only, so that an app's tooling can read it.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dvt_edge.data.shipped import shipped, shipped_or_given
from dvt_edge.device.device_state import THERMAL, Thermal
from dvt_edge.device.operating_point import OperatingPoint
from dvt_edge.device.power_policy import PowerTable, power_table
from dvt_edge.device.schema import read_json, require
from dvt_edge.errors import SchemaError
from dvt_edge.simulation.arm_instructions import instruction_table

FORMAT = 1
SHIPPED = Path(__file__).parent / "profiles"

Basis = Literal["measured", "estimated"]


LEAST, MOST = 1e-9, 1e9  # of any number here, in its unit: no device is beyond, and no sum of them overflows


def positive(name: str, value: float) -> None:
    require(LEAST <= value <= MOST, f"{name} {value:g}; expected above 0: {LEAST:g} to {MOST:g}")


def not_negative(name: str, value: float) -> None:
    require(0 <= value <= MOST, f"{name} {value:g}; expected 0 or more, at most {MOST:g}")


def temperature(name: str, value: float) -> None:
    require(abs(value) <= MOST, f"{name} {value:g}; expected a temperature")


def changed(part: Any, **changes: object) -> Any:
    """`dataclasses.replace`. Raises SchemaError where that breaks the class's rules."""
    try:
        return replace(part, **changes)
    except ValueError as error:
        raise SchemaError(f"{type(part).__name__}: {error}") from error


@dataclass(frozen=True)
class Battery:
    capacity_mah: float
    voltage_v: float  # nominal
    basis: Basis
    source: str

    def __post_init__(self) -> None:
        positive("capacity_mah", self.capacity_mah)
        positive("voltage_v", self.voltage_v)

    @property
    def joules(self) -> float:
        return self.capacity_mah * 3.6 * self.voltage_v


@dataclass(frozen=True)
class BasePower:
    """What the device draws beside inference, in watts: awake and waiting, and the screen on top of it."""

    idle_w: float
    screen_w: float
    basis: Basis
    source: str

    def __post_init__(self) -> None:
        not_negative("idle_w", self.idle_w)
        not_negative("screen_w", self.screen_w)


@dataclass(frozen=True)
class ThermalModel:
    """One pole: C dT/dt = P - (T - ambient) / R, tau = R C. Above `limit_c` every stage takes
    1 + slowdown_per_k (T - limit_c) times as long, at most `max_slowdown` times, at the same energy.
    """

    ambient_c: float
    resistance_k_per_w: float
    tau_s: float
    limit_c: float
    slowdown_per_k: float
    max_slowdown: float
    fair_c: float  # where each thermal state that the system reports begins
    serious_c: float
    critical_c: float
    basis: Basis
    source: str

    def __post_init__(self) -> None:
        for name in ("ambient_c", "limit_c", "fair_c", "serious_c", "critical_c"):
            temperature(name, getattr(self, name))
        positive("resistance_k_per_w", self.resistance_k_per_w)
        positive("tau_s", self.tau_s)
        not_negative("slowdown_per_k", self.slowdown_per_k)
        require(1 <= self.max_slowdown <= MOST, f"max_slowdown {self.max_slowdown:g}; expected 1 or more")
        states = (self.fair_c, self.serious_c, self.critical_c)
        require(sorted(states) == list(states), f"fair_c, serious_c, critical_c {states}; expected rising")

    def after(self, temperature_c: float, power_w: float, seconds: float) -> float:
        """The temperature after `seconds` at a constant power: the exact step of the one-pole model."""
        end = self.ambient_c + power_w * self.resistance_k_per_w
        return end + (temperature_c - end) * math.exp(-seconds / self.tau_s)

    def slowdown(self, temperature_c: float) -> float:
        return min(self.max_slowdown, 1.0 + self.slowdown_per_k * max(0.0, temperature_c - self.limit_c))

    def state(self, temperature_c: float) -> Thermal:
        limits = (self.fair_c, self.serious_c, self.critical_c)
        return THERMAL[sum(temperature_c >= limit for limit in limits)]  # type: ignore[return-value]


@dataclass(frozen=True)
class ComputeEstimate:
    """Stage costs from MACs, for any cascade of the target: MACs / rate + call, at `busy_w` above the base power."""

    target: str  # a recipe's name, such as onnx-int8
    gmacs_per_s: float
    busy_w: float
    call_ms: float  # of each stage's call
    image_ms: float  # of each image: preprocessing, copying, the decision
    source: str

    def __post_init__(self) -> None:
        positive(f"{self.target}: gmacs_per_s", self.gmacs_per_s)
        positive(f"{self.target}: busy_w", self.busy_w)
        not_negative(f"{self.target}: call_ms", self.call_ms)
        not_negative(f"{self.target}: image_ms", self.image_ms)

    def stage_s(self, stage_macs: Sequence[int]) -> tuple[float, ...]:
        return tuple(macs / (self.gmacs_per_s * 1e9) + self.call_ms / 1e3 for macs in stage_macs)


@dataclass(frozen=True)
class CountedEstimate:
    """Stage costs from counted ARM instructions: instructions x cycles / clock + call, at `busy_w` above the base."""

    target: str
    processor: str  # whose instructions: arm_instructions.json
    cycles_per_instruction: float  # presumed
    clock_ghz: float
    busy_w: float
    call_ms: float
    image_ms: float
    source: str

    def __post_init__(self) -> None:
        for name in ("cycles_per_instruction", "clock_ghz", "busy_w"):
            positive(f"{self.target}: {name}", getattr(self, name))
        not_negative(f"{self.target}: call_ms", self.call_ms)
        not_negative(f"{self.target}: image_ms", self.image_ms)

    def stage_s(self, stage_macs: Sequence[int]) -> tuple[float, ...]:
        """Raises SchemaError where the target was not counted on the processor."""
        counts = instruction_table().instructions(self.target, self.processor, stage_macs)
        rate = self.clock_ghz * 1e9 / self.cycles_per_instruction
        return tuple(count / rate + self.call_ms / 1e3 for count in counts)

    def by_macs(self) -> ComputeEstimate:
        """The same by the mean instructions of a MAC: rougher, and needs no table."""
        instructions = self.cycles_per_instruction * instruction_table().per_mac(self.target, self.processor)
        source = f"{self.source}; the mean instructions of a MAC"
        gmacs_per_s = self.clock_ghz / instructions
        return ComputeEstimate(self.target, gmacs_per_s, self.busy_w, self.call_ms, self.image_ms, source)


@dataclass(frozen=True)
class MeasuredStages:
    """Stage costs of one artifact, medians and means of a device's log: `measured_profile.stage_costs`."""

    target: str
    artifact_sha256: str  # CascadeBundle.artifacts_sha256
    stage_ms: tuple[float, ...]
    stage_mj: tuple[float, ...]
    image_ms: float
    image_mj: float
    images: int
    source: str

    def __post_init__(self) -> None:
        require(
            len(self.stage_ms) == len(self.stage_mj) > 0, "stage_ms and stage_mj; expected one value a stage in each"
        )
        for k, (ms, mj) in enumerate(zip(self.stage_ms, self.stage_mj, strict=True)):
            positive(f"stage_ms[{k}]", ms)
            not_negative(f"stage_mj[{k}]", mj)
        not_negative("image_ms", self.image_ms)
        not_negative("image_mj", self.image_mj)
        require(self.images > 0, f"images {self.images}; expected above 0")


@dataclass(frozen=True)
class StageCosts:
    """Seconds and joules of each stage and of each image beside the stages, for one artifact on one device."""

    stage_s: tuple[float, ...]
    stage_j: tuple[float, ...]
    image_s: float
    image_j: float
    basis: Basis
    source: str

    @property
    def exit_s(self) -> tuple[float, ...]:
        """Seconds of an image that leaves at each exit."""
        return tuple(self.image_s + s for s in itertools.accumulate(self.stage_s))

    @property
    def exit_j(self) -> tuple[float, ...]:
        """Joules of an image that leaves at each exit."""
        return tuple(self.image_j + j for j in itertools.accumulate(self.stage_j))


@dataclass(frozen=True)
class DeviceProfile:
    """Docs: docs/energy-model.md. `low_power_below` is the battery level at which the system saves power, or null."""

    format: int
    name: str
    battery: Battery
    power: BasePower
    thermal: ThermalModel
    counted: tuple[CountedEstimate, ...] = ()
    estimated: tuple[ComputeEstimate, ...] = ()
    measured: tuple[MeasuredStages, ...] = ()
    low_power_below: float | None = None

    def __post_init__(self) -> None:
        require(self.format == FORMAT, f"format {self.format}; this reads {FORMAT}")
        known = bool(self.counted or self.estimated or self.measured)
        require(known, "no stage costs; expected `counted`, `estimated` or `measured` ones")
        level = self.low_power_below
        require(level is None or 0 <= level <= 1, f"low_power_below {level}; expected 0 to 1 or null")

    @property
    def estimates(self) -> tuple[CountedEstimate | ComputeEstimate, ...]:
        return (*self.counted, *self.estimated)

    def for_phone(self) -> DeviceProfile:
        """Without `counted` costs, which rest on a table that phones have not: those estimated from MACs instead."""
        estimated = (*(e.by_macs() for e in self.counted), *self.estimated)
        return replace(self, counted=(), estimated=estimated)

    def to_json(self) -> str:
        """Sections of stage costs that are empty are left out: a phone knows no `counted` one."""
        return json.dumps({k: v for k, v in asdict(self).items() if v != ()}, indent=1, allow_nan=False) + "\n"

    def costs(self, stage_macs: Sequence[int], artifact_sha256: str, target: str) -> StageCosts:
        """Of an artifact: measured ones if the profile has them for exactly these files, else an estimate, from counted
        instructions rather than from MACs.

        `stage_macs` has each stage's own MACs. Raises SchemaError where the profile has neither.
        """
        for m in self.measured:
            if m.artifact_sha256 == artifact_sha256 and len(m.stage_ms) == len(stage_macs):
                seconds, joules = (tuple(v / 1e3 for v in values) for values in (m.stage_ms, m.stage_mj))
                return StageCosts(seconds, joules, m.image_ms / 1e3, m.image_mj / 1e3, "measured", m.source)
        for e in self.estimates:
            if e.target == target:
                seconds = e.stage_s(stage_macs)
                joules = tuple(s * e.busy_w for s in seconds)
                image_s = e.image_ms / 1e3
                return StageCosts(seconds, joules, image_s, image_s * e.busy_w, "estimated", e.source)
        known = ", ".join(e.target for e in self.estimates) or "none"
        raise SchemaError(
            f"the profile {self.name} has no costs measured for the artifacts {artifact_sha256[:12]}... "
            f"and none estimated for {target}; estimated: {known}"
        )

    def base_w(self, screen: float) -> float:
        """Watts beside inference with the screen on for a share `screen` of the time."""
        return self.power.idle_w + screen * self.power.screen_w

    def bases(self, costs: StageCosts) -> dict[str, Basis]:
        """What is measured and what is estimated, of all that a simulation uses."""
        return {
            "battery": self.battery.basis,
            "base power": self.power.basis,
            "thermal model": self.thermal.basis,
            "stage costs": costs.basis,
        }

    def believed(self, base: float = 1.0, capacity: float = 1.0, energy: float = 1.0) -> DeviceProfile:
        """This device as one is mistaken about it: so many times its base power, capacity and energy of stages.

        Raises SchemaError for factors that give no profile.
        """
        battery, power = self.battery, self.power
        return replace(
            self,
            battery=changed(battery, capacity_mah=battery.capacity_mah * capacity),
            power=changed(power, idle_w=power.idle_w * base, screen_w=power.screen_w * base),
            counted=tuple(changed(e, busy_w=e.busy_w * energy) for e in self.counted),
            estimated=tuple(changed(e, busy_w=e.busy_w * energy) for e in self.estimated),
            measured=tuple(
                changed(m, stage_mj=tuple(mj * energy for mj in m.stage_mj), image_mj=m.image_mj * energy)
                for m in self.measured
            ),
        )

    def power_table(self, points: Sequence[OperatingPoint], costs: StageCosts, screen: float = 0.0) -> PowerTable:
        """What the power policy knows of this device and a bundle's points."""
        return power_table(points, costs.exit_j, self.battery.joules, self.base_w(screen))


def own_macs(cumulative: Sequence[int]) -> tuple[int, ...]:
    """Each stage's MACs from those spent when leaving at each exit."""
    return tuple(b - a for a, b in itertools.pairwise((0, *cumulative)))


def shipped_profiles() -> tuple[str, ...]:
    return tuple(shipped(SHIPPED))


def open_profile(name: str | Path) -> DeviceProfile:
    """A shipped profile by its name, or a JSON file. Raises SchemaError naming the file and the place in it."""
    profile: DeviceProfile = read_json(DeviceProfile, shipped_or_given(SHIPPED, name, "profile"))
    return profile
