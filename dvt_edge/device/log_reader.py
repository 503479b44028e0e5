"""Reading a device log, of either version, line by line: what is refused, left out or put right. docs/device-log.md."""

from __future__ import annotations

import heapq
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dvt_edge.device.device_log import (
    HEADER,
    KINDS,
    MAX_LINE,
    MUST,
    MUST_IN_HEADER,
    SHA256,
    TOP,
    VERSION,
    ImageRecord,
    Kind,
    LogHeader,
    Record,
    StateRecord,
    require_stages,
)
from dvt_edge.device.device_state import Thermal
from dvt_edge.device.schema import from_json, parse_json, require, shorten
from dvt_edge.errors import SchemaError

WINDOW = 4096  # records that may be out of order
LONG_EXTREMES = (b"-9223372036854775808", b"9223372036854775807")  # Long.MIN_VALUE and MAX_VALUE
COLDEST_C, HOTTEST_C = -60, 150  # of a battery


@dataclass
class Notes:
    """What a reader left out or put right. `missing` has the gaps: the `seq` before and after."""

    torn: bool = False
    duplicates: int = 0
    reordered: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)

    def gap(self, expected: int, found: int) -> None:
        if found > expected:
            self.missing.append((expected - 1, found))

    def words(self) -> list[str]:
        """Each in a sentence; empty where the log is whole."""
        found = []
        if self.torn:
            found.append("the last line is torn and left out")
        if self.duplicates:
            found.append(f"{self.duplicates} records stand there twice and count once")
        if self.reordered:
            found.append(f"{self.reordered} records stood out of order and were put in theirs")
        if self.missing:
            lost = sum(after - before - 1 for before, after in self.missing)
            where = ", ".join(
                f"between seq {before} and {after}" if before >= 0 else f"before seq {after}"
                for before, after in self.missing[:3]
            )
            found.append(f"{lost} records are missing: {where}{' ...' if self.missing[3:] else ''}")
        return found


class LogReader:
    """A log of either version, a record at a time in constant memory, in the order of `seq`.

        reader = LogReader(path)
        for record in reader: ...
        reader.notes  # once all are read

    Raises SchemaError naming the line, for what docs/device-log.md says is refused.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.notes = Path(path), Notes()
        for number, line in lines_of(self.path):
            if not line.endswith(b"\n"):
                raise SchemaError(f"{self.path}:{number}: the header is torn: no end of its line")
            self.header = read_header(line, f"{self.path}:{number}")
            return
        raise SchemaError(f"{self.path}: empty; expected a header and records")

    def __iter__(self) -> Iterator[Record]:
        self.notes = Notes()
        lines = lines_of(self.path)
        next(lines)
        if self.header.log == 1:
            return self._version_1(lines)
        return in_order(self._records(lines), self.notes)

    def _records(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[Record, bytes, str]]:
        for number, line in lines:
            where = f"{self.path}:{number}"
            if line.endswith(b"\n"):
                yield read_record(line, self.header, where), line, where
            else:
                self.notes.torn = True

    def _version_1(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[Record]:
        before = 0.0
        for number, line in lines:
            where = f"{self.path}:{number}"
            try:
                event: EventOfVersion1 = from_json(EventOfVersion1, parse_json(line, where), where)
            except SchemaError:
                if line.endswith(b"\n"):
                    raise
                self.notes.torn = True
                return
            if event.time_s < before:
                raise SchemaError(f"{where}: time_s {event.time_s:g} is before {before:g}; expected rising times")
            if len(event.stage_ms) > self.header.stages:
                raise SchemaError(
                    f"{where}: {len(event.stage_ms)} stage_ms; the header says {self.header.stages} stages"
                )
            before = event.time_s
            yield from event.records(number)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their ends and their numbers, from 1. Raises SchemaError, also for a pipe and a line over MAX_LINE."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise SchemaError(f"{path}: not a regular file; a log is read twice, so save it first, then give that file")
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise SchemaError(f"{path}:{number}: a line of more than {MAX_LINE} bytes")
                yield number, line
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read ({error.strerror})") from error


def in_order(records: Iterable[tuple[Record, bytes, str]], notes: Notes) -> Iterator[Record]:
    """Records in the order of `seq`, each once, from (record, line, place) that may be up to WINDOW records off.

    Adds to `notes`. Raises SchemaError for two different records of one seq, and for one that comes too late.
    """
    waiting: list[tuple[int, Record]] = []  # a heap
    seen: dict[int, int] = {}  # seq -> hash of its line, of those that wait and of `given`
    given: deque[int] = deque()  # the last WINDOW
    expected, highest = 0, -1

    def first() -> Record:
        nonlocal expected
        seq, record = heapq.heappop(waiting)
        notes.gap(expected, seq)
        expected = seq + 1
        given.append(seq)
        if len(given) > WINDOW:
            del seen[given.popleft()]
        return record

    for record, line, where in records:
        seq = record.seq
        if seq in seen:
            if seen[seq] != hash(line):
                raise SchemaError(f"{where}: another record of seq {seq} stands before")
            notes.duplicates += 1
            continue
        if seq < expected:
            raise SchemaError(f"{where}: seq {seq} where {expected} or later is expected: out of order, or twice")
        notes.reordered += seq < highest
        highest = max(highest, seq)
        heapq.heappush(waiting, (seq, record))
        seen[seq] = hash(line)
        while waiting and (waiting[0][0] == expected or len(waiting) >= WINDOW):
            yield first()
    while waiting:
        yield first()


def read_header(line: bytes, where: str) -> LogHeader:
    value = parse_json(line, where)
    version = value.get("log") if isinstance(value, dict) else None
    if version == 1 and type(version) is int:
        old: HeaderOfVersion1 = from_json(HeaderOfVersion1, value, where)
        return LogHeader(1, old.artifact_sha256, old.target, old.stages, old.device)
    if version != VERSION or type(version) is not int:
        raise SchemaError(f"{where}: log {shorten(version)}; this reads 1 and {VERSION}")
    return built(LogHeader, HEADER, value, MUST_IN_HEADER, where)


def read_record(line: bytes, header: LogHeader, where: str) -> Record:
    try:
        value = parse_json(line, where)
    except SchemaError as error:
        if any(word in line for word in LONG_EXTREMES):
            raise SchemaError(f"{error}: it looks like an API's word for 'not supported': leave it out") from error
        raise
    event = value.get("event") if isinstance(value, dict) else None
    if not isinstance(event, str) or event not in KINDS:
        raise SchemaError(f"{where}: event {shorten(event)}; expected {', '.join(KINDS)}")
    kind, table = KINDS[event]
    record: Record = built(kind, table, value, MUST[kind], where)
    try:
        check(record, header)
    except ValueError as error:
        raise SchemaError(f"{where}: {error}") from error
    return record


def built(kind: Any, table: dict[str, Kind], value: dict[str, Any], must: Set[str], where: str) -> Any:
    """A `kind` of an object's fields. Raises SchemaError for one that is missing, unknown or of the wrong type."""
    values = {}
    for name, found in value.items():
        known = table.get(name)
        if known is None:
            raise SchemaError(f"{where}: unknown field {shorten(name)}")
        try:
            values[name] = known.read(found)
        except ValueError as error:
            raise SchemaError(f"{where}: {name}: {error}") from error
    if missing := must - values.keys():
        raise SchemaError(f"{where}: the field {min(missing)!r} is missing")
    if kind is not StateRecord:
        values.pop("event", None)
    try:
        return kind(**values)
    except ValueError as error:
        raise SchemaError(f"{where}: {error}") from error


def check(record: Record, header: LogHeader) -> None:
    """What the fields of a record must keep together, and with the header. Raises ValueError."""
    require(record.seq >= 0, f"seq {record.seq}; expected 0 or more")
    if isinstance(record, ImageRecord):
        check_image(record, header)
    elif isinstance(record, StateRecord):
        level, voltage, heat = record.battery_level, record.voltage_mv, record.temperature_c
        require(level is None or 0 <= level <= 1, f"battery_level {level}; expected 0 to 1, or none")
        require(voltage is None or voltage > 0, f"voltage_mv {voltage}; expected above 0, or none")
        possible = heat is None or COLDEST_C <= heat <= HOTTEST_C
        require(possible, f"temperature_c {heat}; expected degrees: tenths or thousandths of one are others")


def check_image(image: ImageRecord, header: LogHeader) -> None:
    ran, classes = len(image.stage_ms), header.classes
    require(0 < ran <= header.stages, f"{ran} stage_ms; the header says {header.stages} stages")
    require(0 <= image.exit < ran, f"exit {image.exit} where {ran} stages ran")
    require(0 <= image.label < classes, f"label {image.label} of {classes} classes")
    hashed = SHA256.fullmatch(image.pixels_sha256) is not None
    require(hashed, f"pixels_sha256 {shorten(image.pixels_sha256)}; expected a hash")
    require(len(image.confidence) == ran, f"{len(image.confidence)} confidences of {ran} exits")
    require(image.pixels is None or (image.pixels >= 0 and header.pixels is not None), f"pixels {image.pixels}")
    require(not (image.logits and image.top5), "logits and top5; expected one of them")
    for arrays, length, name in ((image.logits, classes, "logits"), (image.top5, min(TOP, classes), "top5")):
        require(len(arrays) in (0, ran), f"{name} of {len(arrays)} exits; {ran} ran")
        for array in arrays:
            require(len(array) == length, f"{len(array)} {name} of an exit; expected {length}")
    require(len(image.top5_labels) == len(image.top5), "top5 without top5_labels, or the reverse")
    for labels in image.top5_labels:
        ok = len(set(labels)) == len(labels) == min(TOP, classes) and all(0 <= label < classes for label in labels)
        require(ok, f"top5_labels {labels} of {classes} classes")


# -- version 1 ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeaderOfVersion1:
    log: int
    device: str
    target: str
    artifact_sha256: str
    stages: int

    def __post_init__(self) -> None:
        require_stages(self.stages)


@dataclass(frozen=True)
class EventOfVersion1:
    """`stage_ms` has the stages that ran; `image_ms` is the image's time beside them. The current's sign is free."""

    event: Literal["image", "idle"]
    time_s: float  # at the end of the event
    screen_on: bool
    charging: bool
    current_ua: float | None = None
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

    def records(self, seq: int) -> Iterator[Record]:
        """The event in today's records, both of one seq: the sample of the device, and before it the image."""
        if self.event == "image":
            ran = len(self.stage_ms)
            out = ran - 1 if self.exit is None else self.exit
            total = sum(self.stage_ms) + self.image_ms
            yield ImageRecord(
                seq, self.time_s, "", "", out, -1, "", (), self.stage_ms, self.image_ms, total, "", False, True
            )
        yield StateRecord(
            seq,
            self.time_s,
            "idle" if self.event == "idle" else "state",
            self.screen_on,
            self.charging,
            battery_level=self.battery_level,
            current_ua=self.current_ua,
            voltage_mv=self.voltage_mv,
            temperature_c=self.temperature_c,
            thermal=self.thermal,
        )
