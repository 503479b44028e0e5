"""The device log: what an app writes while it runs a bundle, one JSON object a line. Normative: docs/device-log.md."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dvt_edge.device.device_state import Thermal
from dvt_edge.device.schema import from_json, parse_json, require
from dvt_edge.errors import SchemaError


@dataclass(frozen=True)
class LogHeader:
    log: int
    device: str
    target: str
    artifact_sha256: str
    stages: int

    def __post_init__(self) -> None:
        require(self.log == 1, f"log {self.log}; this reads 1")
        require(self.stages > 0, f"stages {self.stages}; expected above 0")


@dataclass(frozen=True)
class LogEvent:
    """`stage_ms` has the stages that ran; `image_ms` is the image's time beside them. The current's sign is free."""

    event: Literal["image", "idle"]
    time_s: float  # monotonic, at the end of the event
    screen_on: bool
    charging: bool
    current_ua: float | None = None  # null where the system does not say: iOS
    voltage_mv: float | None = None
    stage_ms: tuple[float, ...] = ()
    image_ms: float = 0.0
    exit: int | None = None
    battery_level: float | None = None
    thermal: Thermal | None = None
    temperature_c: float | None = None

    def __post_init__(self) -> None:
        require((self.event == "image") == bool(self.stage_ms), f"{self.event} with {len(self.stage_ms)} stage_ms")
        for value in (self.time_s, self.image_ms, *self.stage_ms):
            require(math.isfinite(value) and value >= 0, f"time {value:g}; expected 0 or more")
        voltage = self.voltage_mv
        require(voltage is None or voltage > 0, f"voltage_mv {voltage}; expected above 0 or null")

    @property
    def power_w(self) -> float | None:
        if self.current_ua is None or self.voltage_mv is None:
            return None
        return abs(self.current_ua) * 1e-6 * self.voltage_mv * 1e-3

    @property
    def busy_s(self) -> float:
        return (sum(self.stage_ms) + self.image_ms) / 1e3


@dataclass(frozen=True)
class DeviceLog:
    header: LogHeader
    images: tuple[LogEvent, ...]
    idle: tuple[LogEvent, ...]
    source: str


def read_log(path: Path) -> DeviceLog:
    """Raises SchemaError naming the line."""
    try:
        lines = list(enumerate(path.read_text().splitlines(), start=1))
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path}: cannot be read ({error})") from error
    if not lines:
        raise SchemaError(f"{path}: empty; expected a header and events")
    header: LogHeader = from_json(LogHeader, parse_json(lines[0][1], f"{path}:1"), f"{path}:1")
    events = list(read_events(path, header, lines[1:]))
    images = tuple(e for e in events if e.event == "image")
    return DeviceLog(header, images, tuple(e for e in events if e.event == "idle"), path.name)


def read_events(path: Path, header: LogHeader, lines: list[tuple[int, str]]) -> Iterator[LogEvent]:
    before = 0.0
    for number, line in lines:
        where = f"{path}:{number}"
        event: LogEvent = from_json(LogEvent, parse_json(line, where), where)
        if event.time_s < before:
            raise SchemaError(f"{where}: time_s {event.time_s:g} is before {before:g}; expected rising times")
        if len(event.stage_ms) > header.stages:
            raise SchemaError(f"{where}: {len(event.stage_ms)} stage_ms; the header says {header.stages} stages")
        if event.charging:
            raise SchemaError(f"{where}: logged while charging, when the current is not the device's; unplug it")
        before = event.time_s
        yield event
