"""A device's log against the host: what the device computed, decided and took, in constant memory.

Errors are told apart by what is held against what, on the same pixels:

    input          the pixels that went in  against  those that the host makes of the same image
    kernels        the device's logits      against  the host's, of the same artifacts
    quantization   the host's logits        against  PyTorch's
    total          the device's logits      against  PyTorch's, of the image as it should have gone in
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.device_log import ImageRecord
from dvt_edge.device.exit_rule import confidences, latest_finite, stops
from dvt_edge.device.log_reader import LogReader
from dvt_edge.device.manifest import Manifest
from dvt_edge.device.operating_point import CUSTOM
from dvt_edge.validation.compare import ErrorMeter
from dvt_edge.validation.host_run import HostRun, LoggedPixels
from dvt_edge.validation.log_batches import Batch, Timeline, batches

WORST = 12  # images that a page shows
SUSPECTS = 48  # images that a diagnosis runs again
SCATTER = 1500


@dataclass
class ExitMeter:
    """One exit of two sides on the same images. `per_image` has each image's largest error."""

    meter: ErrorMeter = field(default_factory=ErrorMeter)
    images: int = 0
    same_top1: int = 0
    same_top5: float = 0.0
    not_finite: int = 0
    max_relative: float = 0.0
    per_image: list[NDArray[np.float32]] = field(default_factory=list)
    whole: bool = True  # all classes, not only the largest five

    def add(self, found: NDArray[np.float32], expected: NDArray[np.float32], top: NDArray[np.int64] | None) -> None:
        """(images, classes) logits; with `top` (images, 5), `found` has the logits of these classes only."""
        if not len(found):
            return
        finite = np.isfinite(found).all(axis=1)
        self.images += len(found)
        self.not_finite += int((~finite).sum())
        found, expected = found[finite], expected[finite]
        if not len(found):
            return
        best5 = np.argsort(-expected, axis=1, kind="stable")[:, :5]
        if top is not None:
            top, self.whole = top[finite], False
            self.same_top1 += int((top[:, 0] == expected.argmax(axis=1)).sum())
            self.same_top5 += float(np.mean(np.sort(top, 1) == np.sort(best5, 1), axis=1).sum())
            expected = np.take_along_axis(expected, top, axis=1)
        else:
            ours = np.argsort(-found, axis=1, kind="stable")[:, :5]
            self.same_top1 += int((ours[:, 0] == best5[:, 0]).sum())
            self.same_top5 += float((ours[:, :, None] == best5[:, None]).any(2).mean(axis=1).sum())
        self.meter.add(found, expected)
        worst = np.abs(found - expected).max(axis=1, initial=0)
        scale = np.maximum(np.abs(expected).max(axis=1, initial=0), 1e-6)
        self.max_relative = max(self.max_relative, float((worst / scale).max(initial=0)))
        self.per_image.append(worst.astype(np.float32))

    def summary(self) -> dict[str, Any]:
        finite = self.images - self.not_finite
        errors = np.concatenate(self.per_image) if self.per_image else np.zeros(0, np.float32)
        some = len(errors) > 0
        return {
            "images": self.images,
            "not_finite": self.not_finite,
            "max_abs_error": float(errors.max()) if some else None,
            "p99_abs_error": float(np.quantile(errors, 0.99)) if some else None,
            "max_relative_error": self.max_relative if some else None,
            "sqnr_db": self.meter.sqnr_db if some and self.whole else None,
            "cosine": self.meter.cosine if some and self.whole else None,
            "top1_agreement": self.same_top1 / finite if finite else None,
            "top5_agreement": self.same_top5 / finite if finite else None,
        }


@dataclass
class Suspect:
    """An image that differs, and the one before it; `exit` is the first whose logits do, None where only pixels do."""

    image: ImageRecord
    before: ImageRecord | None
    exit: int | None


@dataclass
class Measured:
    """All that one pass over a log finds. Counts are of images."""

    exits: int
    kernels: list[ExitMeter]
    quantization: list[ExitMeter]
    total: list[ExitMeter]
    confusion: NDArray[np.int64]  # (host's exit, device's exit)
    timeline: Timeline
    images: int = 0
    seen: int = 0  # whose pixels the host ran too
    known: int = 0  # of the test set
    same_pixels: int = 0  # of these, whose pixels are the host's
    same_answer: int = 0  # of those that the host can answer
    answered: int = 0
    shifts: list[NDArray[np.float32]] = field(default_factory=list)  # of the answer's confidence, against the host's
    scatter: list[tuple[float, float]] = field(default_factory=list)  # host, device
    right: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 2), np.int64))  # [device][host]
    rule: dict[str, int] = field(default_factory=dict)  # operating point -> images whose exits it explains
    ruled: int = 0
    unknown_points: dict[str, int] = field(default_factory=dict)
    rule_broken: int = 0  # by the thresholds of the point that the record names
    exit_off: int = 0  # images whose exit is not the last finite one of those that ran
    early: NDArray[np.int64] = field(default_factory=lambda: np.zeros(64, np.int64))  # left too early, at each stage
    late: NDArray[np.int64] = field(default_factory=lambda: np.zeros(64, np.int64))  # went on, at each stage
    lowest_left: NDArray[np.float32] = field(default_factory=lambda: np.full(64, np.inf, np.float32))
    highest_went_on: NDArray[np.float32] = field(default_factory=lambda: np.full(64, -np.inf, np.float32))
    reached: int = 0  # the last stage that any image ran
    not_every: int = 0  # images of a log of every stage in which one did not run
    confidence_off: int = 0  # images whose confidence does not follow from their logits
    confidence_checked: int = 0
    label_off: int = 0  # whose label is not the largest logit
    names: dict[tuple[int, str], int] = field(default_factory=dict)  # (label, name shown) where it is another
    deviating: NDArray[np.int64] = field(default_factory=lambda: np.zeros(64, np.int64))  # by first exit
    suspects: list[Suspect] = field(default_factory=list)
    strange: list[ImageRecord] = field(default_factory=list)  # whose pixels are not the host's
    worst: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    total_ms: list[NDArray[np.float32]] = field(default_factory=list)
    time_s: list[NDArray[np.float64]] = field(default_factory=list)
    stage_ms: list[NDArray[np.float32]] = field(default_factory=list)


def compare_log(
    reader: LogReader,
    manifest: Manifest,
    names: Sequence[str],
    host: HostRun,
    truth: Sequence[int] | None,
    logged: LoggedPixels | None,
    kernel_error: float,
) -> Measured:
    """One pass over a log. `names` are the bundle's labels, `truth` those of the test set by place."""
    exits = len(manifest.stages)
    spec = manifest.confidence

    def sides() -> list[ExitMeter]:
        return [ExitMeter() for _ in range(exits)]

    found = Measured(exits, sides(), sides(), sides(), np.zeros((exits, exits), np.int64), Timeline())
    values = np.stack(
        [confidences(host.artifact[:, k], spec.temperature[k], spec.measure) for k in range(exits)], axis=1
    )
    for batch in batches(reader, found.timeline):
        rows = np.array([host.row(key) for key in batch.keys])
        places = np.array([host.place(r.id) if reader.header.data else -1 for r in batch.records])
        data_rows = np.array([host.data_rows[p] if p >= 0 else -1 for p in places])
        found.images += len(batch)
        found.seen += int((rows >= 0).sum())
        found.known += int((places >= 0).sum())
        found.same_pixels += int(((places >= 0) & (rows == data_rows)).sum())
        found.total_ms.append(batch.total_ms)
        found.time_s.append(batch.time_s)
        found.stage_ms.append(batch.stage_ms)
        count_rule(found, batch, manifest, reader.header.every_stage)
        count_labels(found, batch, manifest, names)
        count_errors(found, batch, host, rows, np.where(data_rows >= 0, data_rows, rows), kernel_error)
        should = np.where(data_rows >= 0, data_rows, rows)
        count_answers(found, batch, manifest, values, host, should, places, truth)
        odd = np.flatnonzero((places >= 0) & (rows != data_rows))
        found.strange += [batch.records[k] for k in odd[: max(0, SUSPECTS - len(found.strange))]]
    return found


# -- the parts ---------------------------------------------------------------------------------------------------------


def count_rule(found: Measured, batch: Batch, manifest: Manifest, every_stage: bool) -> None:
    """Whether each image left where the thresholds of the point say that it should, and which point would say so."""
    exits, count = found.exits, len(batch)
    found.reached = max(found.reached, int(batch.ran.max()) - 1)
    if every_stage:
        found.not_every += int((batch.ran < exits).sum())
    degraded = np.array([r.degraded for r in batch.records])
    stopped = np.where(np.full(count, every_stage), batch.exit, batch.ran - 1)
    if not every_stage:
        latest = latest_finite(batch.confidence, batch.ran - 1)
        right = (batch.exit == latest) & (degraded == (latest < batch.ran - 1))
        found.exit_off += int(((latest >= 0) & ~right).sum())
    judged = ~degraded if every_stage else np.ones(count, bool)
    stage = np.arange(exits)
    for k in range(exits):
        left = judged & (stopped == k) & (batch.last > k)
        on = judged & (stopped > k)
        value = batch.confidence[:, k]
        if left.any():
            found.lowest_left[k] = min(found.lowest_left[k], np.nanmin(value[left], initial=np.inf))
        if on.any():
            found.highest_went_on[k] = max(found.highest_went_on[k], np.nanmax(value[on], initial=-np.inf))
    points = np.array([r.point for r in batch.records])
    for name in set(points.tolist()) - {p.name for p in manifest.operating_points} - {CUSTOM}:
        found.unknown_points[name] = found.unknown_points.get(name, 0) + int((points == name).sum())
    with np.errstate(invalid="ignore"):
        for point in manifest.operating_points:
            # Confidences have nine decimals in a log: a hair's breadth decides nothing.
            thresholds = np.asarray(point.thresholds, np.float32)
            above = batch.confidence >= thresholds + np.float32(1e-6)
            reaches = batch.confidence >= thresholds - np.float32(1e-6)
            before = stage < stopped[:, None]
            went_on = ~(above & before).any(axis=1)
            leaves = (stopped == batch.last) | reaches[np.arange(count), stopped]
            agrees = went_on & leaves & judged
            found.rule[point.name] = found.rule.get(point.name, 0) + int(agrees.sum())
            own = judged & (points == point.name)
            found.ruled += int(own.sum())
            found.rule_broken += int((own & ~agrees).sum())
            for k in range(exits):
                found.early[k] += int((own & ~leaves & (stopped == k)).sum())
                found.late[k] += int((own & before[:, k] & above[:, k]).sum())


def count_labels(found: Measured, batch: Batch, manifest: Manifest, names: Sequence[str]) -> None:
    """Whether the label is the largest logit, its name the bundle's, and the confidence what the logits give."""
    at = np.arange(len(batch)), batch.exit
    for record in batch.records:
        if names[record.label] != record.label_name:
            key = (record.label, record.label_name)
            if key in found.names or len(found.names) < 1000:
                found.names[key] = found.names.get(key, 0) + 1
    if batch.logits is None:
        return
    spec = manifest.confidence
    chosen = batch.logits[at]
    known = np.isfinite(chosen).all(axis=1)
    if batch.top_labels is None:
        largest = chosen.max(axis=1, initial=-np.inf)
        of_label = chosen[np.arange(len(batch)), batch.label]
        found.label_off += int((known & (of_label < largest)).sum())
        for k in range(found.exits):
            value = confidences(batch.logits[:, k], spec.temperature[k], spec.measure)
            both = np.isfinite(value) & ~np.isnan(batch.confidence[:, k])
            found.confidence_checked += int(both.sum())
            found.confidence_off += int((np.abs(value - batch.confidence[:, k])[both] > 1e-4).sum())
    else:
        found.label_off += int((known & (batch.top_labels[at][:, 0] != batch.label)).sum())


def count_errors(
    found: Measured,
    batch: Batch,
    host: HostRun,
    rows: NDArray[np.int64],
    should: NDArray[np.int64],
    kernel_error: float,
) -> None:
    """Errors of every exit that ran, and the images whose logits the host does not give for the same pixels."""
    stage = np.arange(found.exits)
    ran = stage < batch.ran[:, None]
    if host.pytorch is not None:
        for k in stage:
            some = should[(should >= 0) & ran[:, k]]
            found.quantization[k].add(host.artifact[some, k], host.pytorch[some, k], None)
    if batch.logits is None:
        return
    worst = np.full(ran.shape, 0, np.float32)
    for k in stage:
        logged = ran[:, k] & batch.logged
        same = logged & (rows >= 0)
        top = None if batch.top_labels is None else batch.top_labels[same, k]
        theirs = host.artifact[rows[same], k]
        found.kernels[k].add(batch.logits[same, k], theirs, top)
        expected = theirs if top is None else np.take_along_axis(theirs, top, axis=1)
        with np.errstate(invalid="ignore"):
            off = np.abs(batch.logits[same, k] - expected).max(axis=1, initial=0)
        worst[same, k] = np.where(np.isfinite(off), off, np.inf)
        if host.pytorch is not None:
            meant = logged & (should >= 0)
            top = None if batch.top_labels is None else batch.top_labels[meant, k]
            found.total[k].add(batch.logits[meant, k], host.pytorch[should[meant], k], top)
    off_at = worst > kernel_error
    for k in np.flatnonzero(off_at.any(axis=1)):
        first = int(off_at[k].argmax())
        found.deviating[first] += 1
        if len(found.suspects) < SUSPECTS:
            before = batch.records[k - 1] if k else batch.before
            found.suspects.append(Suspect(batch.records[k], before, first))


def count_answers(
    found: Measured,
    batch: Batch,
    manifest: Manifest,
    values: NDArray[np.float32],
    host: HostRun,
    should: NDArray[np.int64],
    places: NDArray[np.int64],
    truth: Sequence[int] | None,
) -> None:
    """Exits, labels and confidences against those that the host gives by the same operating point and cap."""
    thresholds = {p.name: p.thresholds for p in manifest.operating_points}
    known = np.array([row >= 0 and r.point in thresholds for row, r in zip(should, batch.records, strict=True)])
    picked = np.flatnonzero(known)
    if not len(picked):
        return
    rows, value = should[picked], values[should[picked]]
    limits = np.array([thresholds[batch.records[k].point] for k in picked], np.float32)
    out = exits_of(value, limits, batch.last[picked])
    labels = host.artifact[rows, out].argmax(axis=1)
    ours, label = batch.exit[picked], batch.label[picked]
    np.add.at(found.confusion, (out, ours), 1)
    found.answered += len(picked)
    same = label == labels
    found.same_answer += int(same.sum())
    at = np.arange(len(picked))
    sure, host_sure = batch.confidence[picked, ours], value[at, ours]
    both = np.isfinite(sure) & np.isfinite(host_sure)
    with np.errstate(invalid="ignore"):
        shift = np.where(both, sure - host_sure, np.float32(0))
    found.shifts.append(shift)
    if len(found.scatter) < SCATTER:
        pairs = list(zip(host_sure[both].tolist(), sure[both].tolist(), strict=True))
        found.scatter += pairs[: SCATTER - len(found.scatter)]
    if truth is not None:
        known_place = places[picked] >= 0
        wanted = np.array([truth[p] if p >= 0 else -1 for p in places[picked]])
        right = [(answers == wanted)[known_place].astype(np.int64) for answers in (label, labels)]
        np.add.at(found.right, tuple(right), 1)
    badness = np.abs(shift) + (ours != out) + 2.0 * ~same
    _, first = np.unique([batch.keys[k] for k in picked], return_index=True)  # each picture once
    for k in first[np.argsort(-badness[first], kind="stable")][:WORST]:
        if badness[k] <= 0:
            break
        record = batch.records[picked[k]]
        if any(row["pixels_sha256"] == record.pixels_sha256 for _, _, row in found.worst):
            continue
        row = {
            "id": record.id,
            "pixels": record.pixels,
            "pixels_sha256": record.pixels_sha256,
            "place": int(places[picked[k]]),
            "device": {"exit": int(ours[k]), "label": int(label[k]), "confidence": known_float(sure[k])},
            "host": {"exit": int(out[k]), "label": int(labels[k]), "confidence": known_float(value[k, out[k]])},
        }
        entry = (float(badness[k]), record.seq, row)
        push = heapq.heappush if len(found.worst) < WORST else heapq.heappushpop
        push(found.worst, entry)


def known_float(value: np.float32) -> float | None:
    """None of what is not finite: figures are JSON."""
    return float(value) if np.isfinite(value) else None


def exits_of(
    values: NDArray[np.float32], thresholds: NDArray[np.float32], last: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The exit of each image from (images, exits) confidences and thresholds, under caps; not finite ones fall back,
    and where none is finite the last that ran is named.
    """
    ran = stops(values, thresholds, last)
    found = latest_finite(values, ran)
    return np.where(found < 0, ran, found)
