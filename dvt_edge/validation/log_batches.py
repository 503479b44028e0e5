"""A device log as arrays, some thousand images at a time: what comparisons of a million records work on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.device_log import ErrorRecord, ImageRecord, LogHeader, Record, StateRecord
from dvt_edge.device.log_reader import LogReader
from dvt_edge.errors import DataError

BATCH = 2048  # records
KEY = 16  # bytes of a hash that are kept: enough to tell images apart


@dataclass(frozen=True)
class Batch:
    """Images in order. Arrays are (images,) or (images, exits, ...), NaN where an exit did not run or said nothing.

    `top_labels` is (images, exits, 5) where only the 5 largest logits were logged, `logits` then has those 5.
    """

    records: list[ImageRecord]
    before: ImageRecord | None  # the image before the first one
    keys: list[bytes]
    ran: NDArray[np.int64]  # stages
    exit: NDArray[np.int64]
    label: NDArray[np.int64]
    last: NDArray[np.int64]  # the last stage that the cap allows
    confidence: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    logged: NDArray[np.bool_]  # (images,): whether a record has logits at all
    top_labels: NDArray[np.int64] | None
    stage_ms: NDArray[np.float32]
    total_ms: NDArray[np.float32]
    time_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.records)


@dataclass
class Timeline:
    """What a pass over a log gathers beside its images: samples of the device, errors, and leaps of its clock."""

    states: list[StateRecord] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)  # by kind
    jumps: list[tuple[int, float]] = field(default_factory=list)  # seq, seconds
    suspended_s: float = 0.0
    kept_every: int = 1  # of the samples

    def add(self, record: StateRecord, count: int) -> None:
        """Keeps at most some ten thousand samples, evenly."""
        if count % self.kept_every == 0:
            self.states.append(record)
            if len(self.states) >= 20_000:
                self.states, self.kept_every = self.states[::2], self.kept_every * 2


JUMP_S = 1.0  # that the clock may gain on the one that stops in suspend, with the screen on


def batches(reader: LogReader, timeline: Timeline) -> Iterator[Batch]:
    """All images of a log; what else is in it goes into `timeline`. Raises DataError for a log without answers."""
    header = reader.header
    if header.log == 1:
        raise DataError(f"{reader.path}: a log of version 1 has no answers; `dvt-edge profile` reads it")
    images = images_of(reader, timeline)
    before: ImageRecord | None = None
    while records := list(islice(images, BATCH)):
        with np.errstate(over="ignore"):  # of numbers that are infinite in float32
            batch = batch_of(records, before, header)
        yield batch
        before = records[-1]


def images_of(reader: LogReader, timeline: Timeline) -> Iterator[ImageRecord]:
    time_s, sample, count = -math.inf, None, 0
    for record in reader:
        if record.time_s < time_s:
            timeline.jumps.append((record.seq, record.time_s - time_s))
            sample = None
        time_s = record.time_s
        if isinstance(record, ImageRecord):
            yield record
        elif isinstance(record, ErrorRecord):
            timeline.errors[record.kind] = timeline.errors.get(record.kind, 0) + 1
        else:
            watch_clock(sample, record, timeline)
            sample, count = record, count + 1
            timeline.add(record, count)


def watch_clock(before: StateRecord | None, now: Record, timeline: Timeline) -> None:
    """docs/device-log.md: a device with its screen on is never suspended, and its clocks go alike."""
    assert isinstance(now, StateRecord)
    if before is None or before.awake_s is None or now.awake_s is None:
        return
    gained = (now.time_s - before.time_s) - (now.awake_s - before.awake_s)
    if gained < -JUMP_S or (gained > JUMP_S and before.screen_on and now.screen_on):
        timeline.jumps.append((now.seq, gained))
    elif gained > JUMP_S:
        timeline.suspended_s += gained


def batch_of(records: list[ImageRecord], before: ImageRecord | None, header: LogHeader) -> Batch:
    count, exits = len(records), header.stages
    ran = np.array([len(r.stage_ms) for r in records])

    def padded(name: str) -> NDArray[np.float32]:
        """(images, exits) of what stands there once a stage that ran."""
        found = np.full((count, exits), np.nan, np.float32)
        found[np.arange(exits) < ran[:, None]] = [v for r in records for v in getattr(r, name)]
        return found

    with_all, with_top = (sum(bool(getattr(r, name)) for r in records) for name in ("logits", "top5"))
    if with_all and with_top:
        raise DataError(
            f"records {records[0].seq} to {records[-1].seq} have all logits and the largest five: one of both"
        )
    logits, top_labels = None, None
    if with_all or with_top:
        width = header.classes if with_all else max(len(z) for r in records for z in r.top5)
        logits = np.full((count, exits, width), np.nan, np.float32)
        top_labels = None if with_all else np.full((count, exits, width), -1, np.int64)
        for k, record in enumerate(records):
            rows: Any = record.logits if with_all else record.top5
            if rows:
                logits[k, : len(rows)] = rows
            if top_labels is not None and rows:
                top_labels[k, : len(rows)] = record.top5_labels
    stages = exits - 1
    return Batch(
        records,
        before,
        [key_of(r.pixels_sha256) for r in records],
        ran,
        np.array([r.exit for r in records]),
        np.array([r.label for r in records]),
        np.array([stages if r.max_stage is None else max(0, min(r.max_stage, stages)) for r in records]),
        padded("confidence"),
        logits,
        np.array([bool(r.logits or r.top5) for r in records]),
        top_labels,
        padded("stage_ms"),
        np.array([r.total_ms for r in records], np.float32),
        np.array([r.time_s for r in records]),
    )


def key_of(sha256: str) -> bytes:
    """The first bytes of a hash; b"" where it is none."""
    try:
        return bytes.fromhex(sha256)[:KEY]
    except ValueError:
        return b""
