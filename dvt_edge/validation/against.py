"""Two logs of one cascade against each other, picture by picture: two phones, two versions of an app."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.log_reader import LogReader
from dvt_edge.errors import DataError
from dvt_edge.validation.bounds import DeviceBounds
from dvt_edge.validation.device_compare import ExitMeter
from dvt_edge.validation.log_batches import Batch, Timeline, batches
from dvt_edge.validation.log_figures import percentiles
from dvt_edge.validation.verdicts import Check, passed, share

MOST = 200_000  # pictures of the other log that are kept


@dataclass(frozen=True)
class Answers:
    """Each picture of a log once: rows by key; (pictures,) or (pictures, exits, classes), NaN where not logged."""

    rows: dict[bytes, int]
    exit: NDArray[np.int64]
    label: NDArray[np.int64]
    confidence: NDArray[np.float32]  # of the answer
    logits: NDArray[np.float32] | None
    points: list[str]


def answers_of(reader: LogReader) -> tuple[Answers, list[NDArray[np.float32]]]:
    """The first record of each picture, and the times of all."""
    rows: dict[bytes, int] = {}
    parts: list[tuple[NDArray[Any], ...]] = []
    points: list[str] = []
    logits: list[NDArray[np.float32]] = []
    times = []
    for batch in batches(reader, Timeline()):
        times.append(batch.total_ms)
        new = []
        for k, key in enumerate(batch.keys):
            if key not in rows and len(rows) < MOST:
                rows[key] = len(rows)
                new.append(k)
        kept = np.array(new, dtype=np.int64)
        parts.append((batch.exit[kept], batch.label[kept], batch.confidence[kept, batch.exit[kept]]))
        points += [batch.records[k].point for k in new]
        if batch.logits is not None and batch.top_labels is None:
            logits.append(batch.logits[kept])
    if not rows:
        raise DataError(f"{reader.path}: no answered image in it")
    exits, labels, sure = (np.concatenate([p[i] for p in parts]) for i in range(3))
    whole = np.concatenate(logits) if sum(map(len, logits)) == len(rows) else None
    return Answers(rows, exits, labels, sure, whole, points), times


def compare_logs(log: Path, other: Path, bounds: DeviceBounds) -> tuple[list[Check], dict[str, Any]]:
    """Checks and figures of `log` against `other`. Raises DataError where they are of different cascades."""
    mine, theirs = LogReader(log), LogReader(other)
    shapes = [(r.header.stages, r.header.classes) for r in (mine, theirs)]
    if shapes[0] != shapes[1]:
        raise DataError(f"{other}: a log of {shapes[1][0]} stages and {shapes[1][1]} classes; {log} has {shapes[0]}")
    answers, their_times = answers_of(theirs)
    meters = [ExitMeter() for _ in range(mine.header.stages)]
    times, shifts = [], []
    pictures = same_exit = same_label = other_point = 0
    for batch in batches(mine, Timeline()):
        times.append(batch.total_ms)
        rows = np.array([answers.rows.get(key, -1) for key in batch.keys])
        both = np.flatnonzero(rows >= 0)
        there = rows[both]
        pictures += len(both)
        same_exit += int((batch.exit[both] == answers.exit[there]).sum())
        same_label += int((batch.label[both] == answers.label[there]).sum())
        other_point += sum(batch.records[k].point != answers.points[rows[k]] for k in both)
        shifts.append(batch.confidence[both, batch.exit[both]] - answers.confidence[there])
        add_errors(meters, batch, both, there, answers)
    if not pictures:
        raise DataError(f"{log} and {other} have no picture in common: nothing can be compared")
    summary = [m.summary() for m in meters]
    errors = [row["p99_abs_error"] for row in summary if row["p99_abs_error"] is not None]
    shift = np.abs(np.concatenate(shifts))
    mean_shift = float(np.nanmean(shift)) if np.isfinite(shift).any() else 0.0
    before, now = (percentiles(np.concatenate(t)) for t in (their_times, times))
    ratio = now["p50"] / before["p50"] if now and before and before["p50"] > 0 else None
    words = f"as in {other.name}"
    limit = bounds.max_confidence_shift
    checks = [
        Check(
            "against: logits",
            passed(max(errors) <= bounds.max_kernel_error) if errors else "not checked",
            " / ".join("-" if r["p99_abs_error"] is None else f"{r['p99_abs_error']:.3g}" for r in summary),
            f"at most {bounds.max_kernel_error:g} of a logit on 99 % of images",
        ),
        share("against: exits", same_exit, pictures, bounds.min_exit_agreement, words),
        share("against: answers", same_label, pictures, bounds.min_answer_agreement, words),
        Check(
            "against: confidence shift",
            "not checked" if limit is None else passed(mean_shift <= limit),
            f"{mean_shift:.4f} in the mean",
            "" if limit is None else f"at most {limit:g} in the mean",
        ),
    ]
    header = theirs.header
    return checks, {
        "log": other.name,
        "device": header.device,
        "app": header.app,
        "engine": header.engine,
        "same_artifacts": header.artifact_sha256 == mine.header.artifact_sha256,
        "pictures": pictures,
        "other_point": other_point,
        "exits": summary,
        "exit_agreement": same_exit / pictures,
        "answer_agreement": same_label / pictures,
        "confidence_shift": mean_shift,
        "total_ms": {"before": before, "now": now, "ratio_of_medians": ratio},
        "notes": theirs.notes.words(),
    }


def add_errors(
    meters: list[ExitMeter], batch: Batch, both: NDArray[np.int64], there: NDArray[np.int64], answers: Answers
) -> None:
    if batch.logits is None or answers.logits is None:
        return
    for k, meter in enumerate(meters):
        top = None if batch.top_labels is None else batch.top_labels[both, k]
        ran = ~np.isnan(batch.logits[both, k]).any(axis=1) & ~np.isnan(answers.logits[there, k]).any(axis=1)
        meter.add(batch.logits[both, k][ran], answers.logits[there, k][ran], None if top is None else top[ran])
