"""A device's own logits for calibration, of an app that ran every stage: kernels differ, and points with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvt_edge.calibration.exit_logits import About, ExitLogits
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.device_log import ImageRecord
from dvt_edge.device.log_reader import LogReader
from dvt_edge.errors import DataError
from dvt_edge.validation.host_run import places_of


@dataclass(frozen=True)
class DeviceLogits:
    found: ExitLogits
    name: Callable[[int], str]  # of an image by its row
    notes: list[str]


def device_logits(log: Path, bundle: CascadeBundle, images: LabelledImages | None) -> DeviceLogits:
    """Logits of every exit, each picture once, with the labels that `images` has for what the log calls its images.

    Raises DataError for a log of other artifacts, of early exits, without all logits, or of other images.
    """
    reader = LogReader(log)
    header, manifest = reader.header, bundle.manifest
    if header.log == 1 or not header.every_stage:
        raise DataError(f"{log}: a log of early exits; calibration takes one of every stage (`every_stage`)")
    if header.artifact_sha256 != bundle.artifacts_sha256:
        raise DataError(
            f"{log}: a log of artifacts {header.artifact_sha256[:12]}...; {manifest.name} has "
            f"{bundle.artifacts_sha256[:12]}..."
        )
    if images is not None and not header.data:
        raise DataError(f"{log}: names no data set (`data`), so its pictures are not those of {images.source}")
    places = {} if images is None else places_of(images, len(images))
    rows, times, labels, ids = [], [], [], []
    digest, seen, again = hashlib.sha256(), set(), 0
    for record in reader:
        if not isinstance(record, ImageRecord):
            continue
        if len(record.logits) != header.stages:
            raise DataError(f"{log}: record {record.seq} has the logits of {len(record.logits)} exits; all are needed")
        if record.pixels_sha256 in seen:
            again += 1
            continue
        seen.add(record.pixels_sha256)
        if images is not None:
            if record.id not in places:
                raise DataError(f"{log}: record {record.seq}: no image {record.id!r}, or several, in {images.source}")
            if images.labels is not None:
                labels.append(images.labels[places[record.id]])
        rows.append(np.stack(record.logits))
        times.append(record.stage_ms)
        ids.append(record.id)
        digest.update(record.pixels_sha256.encode())
    if not rows:
        raise DataError(f"{log}: no answered image in it")
    known = np.array(labels, dtype=np.int64) if labels else None
    digest.update(b"" if known is None else known.tobytes())
    about = About(
        name=manifest.name,
        target=manifest.target,
        artifact_sha256=header.artifact_sha256,
        data=f"{reader.path.name} ({header.data or 'images of its own'})",
        data_sha256=digest.hexdigest(),
        images=len(rows),
        exits=header.stages,
        classes=tuple(bundle.labels),
        macs=manifest.macs,
        stage_ms=tuple(np.median(np.array(times), axis=0).round(5).tolist()),
        machine=f"{header.device}, {header.os}, {header.engine}",
    )
    notes = reader.notes.words()
    if again:
        notes.append(f"{again} records are of pictures that stand before, and count once")
    return DeviceLogits(ExitLogits(np.stack(rows), known, about), ids.__getitem__, notes)
