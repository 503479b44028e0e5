"""The device log: what an app writes while it runs a bundle, one JSON object a line. Normative: docs/device-log.md.

    LogHeader, then ImageRecord, StateRecord and ErrorRecord  --encode-->  bytes  --log_reader.LogReader-->  the same

One table a kind of line says how its fields are written, and read. Needs numpy and the standard library.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.device_state import Thermal
from dvt_edge.device.manifest import MAX_STAGES
from dvt_edge.device.schema import require, shorten

VERSION = 2
MAX_LINE = 2**20  # bytes
MOST_CLASSES = 2**17  # a line holds no more of them
TOP = 5
SHA256 = re.compile("[0-9a-f]{64}")
PowerSource = Literal["battery", "charger", "unknown"]
Logits = NDArray[np.float32]


def require_stages(stages: int) -> None:
    """Of the header of any version. Raises ValueError."""
    require(0 < stages <= MAX_STAGES, f"stages {stages}; expected 1 to {MAX_STAGES}")


@dataclass(frozen=True, slots=True)
class LogHeader:
    """Of a log of version 1 it has the first five fields only; the others are empty."""

    log: int
    artifact_sha256: str
    target: str
    stages: int
    device: str
    bundle_sha256: str = ""
    classes: int = 0
    app: str = ""
    engine: str = ""
    os: str = ""
    backends: tuple[str, ...] = ()  # what really ran each stage
    threads: int = 0
    power_source: PowerSource = "unknown"
    units_checked: tuple[str, ...] = ()
    every_stage: bool = False
    data: str | None = None
    pixels: str | None = None

    def __post_init__(self) -> None:
        require_stages(self.stages)
        if self.log == VERSION:
            require(0 < self.classes <= MOST_CLASSES, f"classes {self.classes}; expected 1 to {MOST_CLASSES}")
            require(len(self.backends) == self.stages, f"{len(self.backends)} backends of {self.stages} stages")
            for name, value in (("bundle_sha256", self.bundle_sha256), ("artifact_sha256", self.artifact_sha256)):
                require(SHA256.fullmatch(value) is not None, f"{name} {shorten(value)}; expected a hash")
            file = self.pixels
            plain = file is None or (file not in ("", ".", "..") and not set(file) & set("/\\\0"))
            require(plain, f"pixels {shorten(file)}; expected a file's name, without folders")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One answered image. `logits` or `top5` have one array an exit that ran, float32; both are empty where not logged.

    A log of version 1 has no answers: `label` is -1 then, `confidence` empty.
    """

    seq: int
    time_s: float
    id: str
    pixels_sha256: str
    exit: int
    label: int
    label_name: str
    confidence: tuple[float, ...]  # NaN where it was not finite
    stage_ms: tuple[float, ...]
    preprocess_ms: float
    total_ms: float
    point: str
    degraded: bool
    uncertified: bool
    pixels: int | None = None
    logits: tuple[Logits, ...] = ()
    top5_labels: tuple[tuple[int, ...], ...] = ()
    top5: tuple[Logits, ...] = ()
    why: str | None = None
    max_stage: int | None = None

    @property
    def event(self) -> str:
        return "image"


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A sample of the device; "idle" where no image was in work since the record before.

    None is what the system does not tell. The current is in microamperes, of either sign.
    """

    seq: int
    time_s: float
    event: Literal["idle", "state"]
    screen_on: bool
    charging: bool
    awake_s: float | None = None
    battery_level: float | None = None
    charge_uah: int | None = None
    current_ua: float | None = None  # whole, but for logs of version 1
    voltage_mv: float | None = None
    temperature_c: float | None = None
    thermal: Thermal | None = None
    headroom: float | None = None
    low_power: bool | None = None


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    seq: int
    time_s: float
    kind: str
    message: str
    id: str | None = None

    @property
    def event(self) -> str:
        return "error"


Record = ImageRecord | StateRecord | ErrorRecord


# -- values ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How a field is written, and read back from what `json.loads` gives; `read` raises ValueError."""

    what: str
    write: Callable[[Any], str]
    read: Callable[[Any], Any]


def bad(value: Any, what: str) -> ValueError:
    return ValueError(f"found {shorten(value)}; expected {what}")


def integer_of(value: Any) -> str:
    try:
        return str(operator.index(value))
    except TypeError as error:
        raise ValueError(f"{value!r}; expected an integer") from error


def of_type(kind: type, what: str, write: Callable[[Any], str]) -> Kind:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise bad(value, what)
        return value

    return Kind(what, write, read)


def one_of(kind: Any) -> Kind:
    known = get_args(kind)
    what = " or ".join(map(repr, known))

    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in known:
            raise bad(value, what)
        return value

    return Kind(what, text_of, read)


def decimals(places: int, low: float = -math.inf) -> Kind:
    what = "a number" if low == -math.inf else f"a number of {low:g} or more"

    def write(value: float) -> str:
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place in JSON")
        text = f"{value:.{places}f}"
        return text[1:] if text[0] == "-" and not text.strip("-0.") else text

    def read(value: Any) -> float:
        if type(value) not in (float, int) or not value >= low:
            raise bad(value, what)
        return float(value)

    return Kind(what, write, read)


def or_null(kind: Kind) -> Kind:
    """NaN is null in JSON."""
    return Kind(
        f"{kind.what} or null",
        lambda value: "null" if math.isnan(value) else kind.write(value),
        lambda value: math.nan if value is None else kind.read(value),
    )


def many(kind: Kind) -> Kind:
    what = f"a list, each {kind.what}"

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise bad(value, what)
        return tuple([kind.read(item) for item in value])

    return Kind(what, lambda values: f"[{','.join(map(kind.write, values))}]", read)


def text_of(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def f32_of(values: Sequence[float] | Logits) -> str:
    array = np.asarray(values, dtype="<f4")
    array = np.where(np.isnan(array), np.float32(np.nan), array)  # one NaN of the many
    return f'"{base64.b64encode(array.tobytes()).decode()}"'


def read_f32(value: Any) -> Logits:
    try:
        if type(value) is str:
            content = binascii.a2b_base64(value, strict_mode=True)
            if len(content) % 4 == 0:
                return np.frombuffer(content, dtype="<f4")
    except ValueError:
        pass
    raise bad(value, "base64 of little-endian float32")


TEXT = of_type(str, "a string", text_of)
INTEGER = of_type(int, "an integer", integer_of)
BOOLEAN = of_type(bool, "true or false", lambda value: "true" if value else "false")
F32 = Kind("base64 of little-endian float32", f32_of, read_f32)
MS = decimals(3, low=0)
SECONDS = decimals(6)

HEADER = {
    "log": INTEGER,
    "bundle_sha256": TEXT,
    "artifact_sha256": TEXT,
    "target": TEXT,
    "stages": INTEGER,
    "classes": INTEGER,
    "app": TEXT,
    "engine": TEXT,
    "device": TEXT,
    "os": TEXT,
    "backends": many(TEXT),
    "threads": INTEGER,
    "power_source": one_of(PowerSource),
    "units_checked": many(TEXT),
    "every_stage": BOOLEAN,
    "data": TEXT,
    "pixels": TEXT,
}
EVERY = {"event": TEXT, "seq": INTEGER, "time_s": SECONDS}
IMAGE = EVERY | {
    "id": TEXT,
    "pixels_sha256": TEXT,
    "pixels": INTEGER,
    "exit": INTEGER,
    "label": INTEGER,
    "label_name": TEXT,
    "confidence": many(or_null(decimals(9))),
    "logits": many(F32),
    "top5_labels": many(many(INTEGER)),
    "top5": many(F32),
    "stage_ms": many(MS),
    "preprocess_ms": MS,
    "total_ms": MS,
    "point": TEXT,
    "why": TEXT,
    "max_stage": INTEGER,
    "degraded": BOOLEAN,
    "uncertified": BOOLEAN,
}
STATE = EVERY | {
    "screen_on": BOOLEAN,
    "charging": BOOLEAN,
    "awake_s": SECONDS,
    "battery_level": decimals(4),
    "charge_uah": INTEGER,
    "current_ua": INTEGER,
    "voltage_mv": INTEGER,
    "temperature_c": decimals(2),
    "thermal": one_of(Thermal),
    "headroom": decimals(3),
    "low_power": BOOLEAN,
}
ERROR = EVERY | {"id": TEXT, "kind": TEXT, "message": TEXT}
KINDS: dict[str, tuple[type, dict[str, Kind]]] = {
    "image": (ImageRecord, IMAGE),
    "idle": (StateRecord, STATE),
    "state": (StateRecord, STATE),
    "error": (ErrorRecord, ERROR),
}
MUST: dict[type, set[str]] = {
    cls: {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
    for cls in (ImageRecord, StateRecord, ErrorRecord)
}
MUST_IN_HEADER = HEADER.keys() - {"data", "pixels"}


# -- writing -----------------------------------------------------------------------------------------------------------


def encode(line: LogHeader | Record) -> bytes:
    """A header or record as the bytes of its line.

    Raises ValueError where a number is not finite, or not whole where it has to be, a string has a lone surrogate, or
    the line is over MAX_LINE.
    """
    table, must = (HEADER, MUST_IN_HEADER) if isinstance(line, LogHeader) else (KINDS[line.event][1], MUST[type(line)])
    parts = []
    for name, kind in table.items():
        value = getattr(line, name)
        if name in must or name == "event" or (value is not None and value != ()):
            parts.append(f'"{name}":{kind.write(value)}')
    made = ("{" + ",".join(parts) + "}\n").encode()
    if len(made) > MAX_LINE:
        raise ValueError(f"a line of {len(made)} bytes; expected at most {MAX_LINE}")
    return made


class LogWriter:
    """Writes a log, each line flushed; `write` numbers the records.

        with LogWriter(path, header) as log:
            log.write(StateRecord(0, clock(), "idle", screen_on=True, charging=False))

    With `header.pixels` a file of that name beside it takes what `write_pixels` is given. Where the log cannot be
    begun, neither file is left: FileExistsError where one is there, ValueError for a header that `encode` refuses.
    """

    def __init__(self, path: Path, header: LogHeader) -> None:
        self.seq = self.images = 0
        first = encode(header)
        with ExitStack() as undo:
            self._file = begun(path, undo)
            self._pixels = begun(path.parent / header.pixels, undo) if header.pixels else None
            self._put(first)
            undo.pop_all()

    def write(self, record: Record) -> None:
        """`record`, whatever its `seq`, as the next one."""
        self._put(encode(dataclasses.replace(record, seq=self.seq)))
        self.seq += 1

    def write_pixels(self, pixels: NDArray[np.uint8]) -> int | None:
        """Append an image's pixels; its number for the record, None where the log keeps none."""
        if self._pixels is None:
            return None
        self._pixels.write(pixels.tobytes())
        self._pixels.flush()
        self.images += 1
        return self.images - 1

    def _put(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            if self._pixels:
                self._pixels.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def begun(path: Path, undo: ExitStack) -> IO[bytes]:
    """A new file, which `undo` takes away again."""
    file = path.open("xb")
    undo.callback(discard, file, path)
    return file


def discard(file: IO[bytes], path: Path) -> None:
    with suppress(OSError):  # of bytes for which there is no room
        file.close()
    path.unlink(missing_ok=True)
