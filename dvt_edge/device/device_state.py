"""What the device allows and how it is: the input of the power policy, and the cap of the exit rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Thermal = Literal["nominal", "fair", "serious", "critical"]  # as ProcessInfo.ThermalState; Android: the document
THERMAL: tuple[str, ...] = get_args(Thermal)


@dataclass(frozen=True)
class DeviceState:
    """What the device allows now. `max_stage` caps the stages that run: None is no cap, 0 the first only.

    The rest is for the power policy (docs/power-policy.md): `battery_level` is a fraction, and None, NaN or anything
    outside 0..1 (iOS says -1) means unknown; `lifetime_s` is how many seconds the battery still has to last, None or
    anything but a finite number above 0 without a target; `time_s` is a monotonic clock in seconds, None for the
    runtime's own; `energy_left_j` is the joules left in the battery by a counter of its own, None where there is none.
    """

    max_stage: int | None = None
    battery_level: float | None = None
    charging: bool = False
    low_power: bool = False
    thermal: Thermal = "nominal"
    lifetime_s: float | None = None
    time_s: float | None = None
    energy_left_j: float | None = None

    @property
    def known_level(self) -> float | None:
        """The battery level where it is known."""
        level = self.battery_level
        return level if level is not None and 0 <= level <= 1 else None

    @property
    def known_energy(self) -> float | None:
        """The joules left by the battery's counter, where it has one: finite and above 0."""
        return above_0(self.energy_left_j)

    @property
    def known_lifetime(self) -> float | None:
        """The seconds that the battery has to last, where there is a target: finite and above 0."""
        return above_0(self.lifetime_s)

    @property
    def known_time(self) -> float | None:
        """What the clock shows, where that is a time: finite."""
        return self.time_s if self.time_s is not None and math.isfinite(self.time_s) else None


def above_0(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0 else None
