"""All of `dvt-edge validate --device-log`: a log and a bundle in, verdicts, findings and figures out.

log ──► log_batches ──► device_compare ──► verdicts     what was kept
bundle, images, checkpoint ──► host_run ──┘    └► diagnosis   why not
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvt_edge import machine
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.log_reader import LogReader
from dvt_edge.device.manifest import Manifest
from dvt_edge.device.preprocess import preprocess
from dvt_edge.device.runtime import Runtime
from dvt_edge.device.schema import parse_json, require
from dvt_edge.errors import DataError, SchemaError
from dvt_edge.network.cascade import Cascade
from dvt_edge.quiet import Report
from dvt_edge.validation.against import compare_logs
from dvt_edge.validation.bounds import Bounds, DeviceBounds
from dvt_edge.validation.device_compare import Measured, compare_log
from dvt_edge.validation.diagnosis import Evidence, diagnose, pixel_difference
from dvt_edge.validation.host_run import HostRun, LoggedPixels, Pixels, run_host
from dvt_edge.validation.log_figures import accuracy, latency
from dvt_edge.validation.verdicts import Check, Finding, checks

LIMIT = 20_000  # distinct pictures that the host runs, at most


Pair = tuple[Pixels | None, Pixels | None]


@dataclass(frozen=True)
class LogReport:
    """`figures` is plain JSON: what the verdicts rest on."""

    checks: list[Check]
    findings: list[Finding]
    figures: dict[str, Any]
    pictures: list[Pair]  # of figures["worst"]: what went in, and what should have; None where it is not known

    @property
    def passed(self) -> bool:
        return not self.findings and all(c.verdict != "fail" for c in self.checks)

    def summary(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "checks": [dataclasses.asdict(c) for c in self.checks],
            "findings": [dataclasses.asdict(f) for f in self.findings],
            **self.figures,
        }


@dataclass(frozen=True)
class HostSide:
    """What a log is held against. `others` are bundles whose artifacts a device may have run by mistake."""

    bundle: CascadeBundle
    bounds: DeviceBounds
    recipe: Bounds
    cascade: Cascade | None = None
    images: LabelledImages | None = None
    others: Sequence[CascadeBundle] = ()
    cache: Path | None = None
    against: Path | None = None  # another log
    limit: int = LIMIT
    threads: int = 1


def validate_log(log: Path, side: HostSide, report: Report | None = None) -> LogReport:
    """Verdicts on a device's log. Raises SchemaError for a damaged log, DataError for one of another cascade."""
    reader = LogReader(log)
    manifest, header = side.bundle.manifest, reader.header
    check_belongs(reader, manifest)
    ours = side.bundle.artifacts_sha256
    same = header.artifact_sha256 == ours
    runtime = Runtime(side.bundle, threads=side.threads)
    size = manifest.image_size(0).size
    logged = LoggedPixels.beside(log, header, size) if same else None
    images = side.images if same else None
    if same:
        host = run_host(runtime, side.cascade, images, logged, side.cache, side.limit, report)
    else:
        host = HostRun.empty(manifest)
    truth = images.labels if images is not None else None
    found = compare_log(reader, manifest, side.bundle.labels, host, truth, logged, side.bounds.max_kernel_error)
    if not found.images:
        raise DataError(f"{log}: no answered image in it")
    evidence = Evidence(
        runtime, header, ours, side.bundle.labels, host, images, logged, side.others, side.bounds.max_kernel_error
    )
    verdicts = checks(found, reader, manifest, side.bounds, side.recipe, ours, pixel_difference(found, evidence))
    figures = figures_of(found, reader, side)
    if side.against is not None:
        more, figures["against"] = compare_logs(log, side.against, side.bounds)
        verdicts += more
    return LogReport(verdicts, diagnose(found, evidence), figures, pictures_of(figures["worst"], side, logged, images))


def check_belongs(reader: LogReader, manifest: Manifest) -> None:
    """Raises DataError where a log cannot be of a bundle's cascade at all."""
    header = reader.header
    if header.log == 1:
        raise DataError(f"{reader.path}: a log of version 1 has no answers; `dvt-edge profile` reads it")
    ours = len(manifest.stages), manifest.model.classes
    theirs = header.stages, header.classes
    if ours != theirs:
        raise DataError(
            f"{reader.path}: a log of {theirs[0]} stages and {theirs[1]} classes; {manifest.name} has {ours[0]} and "
            f"{ours[1]}"
        )
    if not manifest.same_pixels:
        raise DataError(
            f"{manifest.name}: its stages take images of several sizes, and a log has the pixels of stage 0 only: "
            "a device's log cannot be validated"
        )


def figures_of(found: Measured, reader: LogReader, side: HostSide) -> dict[str, Any]:
    notes, timeline = reader.notes, found.timeline
    shifts = np.abs(np.concatenate(found.shifts)) if found.shifts else np.zeros(0)
    header = dataclasses.asdict(reader.header)
    return {
        "log": reader.path.name,
        "header": header,
        "bundle": {"name": side.bundle.manifest.name, "artifact_sha256": side.bundle.artifacts_sha256},
        "host": machine.describe(),
        "notes": notes.words() + more_notes(found, reader, side),
        "images": found.images,
        "errors": timeline.errors,
        "pixels": {"known": found.known, "same": found.same_pixels, "run_by_host": found.seen},
        "exits": {
            "kernels": [m.summary() for m in found.kernels],
            "quantization": [m.summary() for m in found.quantization],
            "total": [m.summary() for m in found.total],
        },
        "confusion": found.confusion.tolist(),
        "answers": {"compared": found.answered, "same": found.same_answer},
        "confidence_shift": {"mean": float(shifts.mean()), "max": float(shifts.max())} if len(shifts) else None,
        "scatter": found.scatter,
        "accuracy": accuracy(found),
        "latency": latency(found),
        "worst": [
            {
                **row,
                **{who: row[who] | {"name": side.bundle.labels[row[who]["label"]]} for who in ("device", "host")},
            }
            for _, _, row in sorted(found.worst, key=lambda w: (-w[0], w[1]))
        ],
    }


def pictures_of(
    worst: Sequence[dict[str, Any]], side: HostSide, logged: LoggedPixels | None, images: LabelledImages | None
) -> list[Pair]:
    size = side.bundle.manifest.image_size(0)
    found = []
    for row in worst:
        went_in = logged.get(row["pixels"], row["pixels_sha256"]) if logged is not None else None
        known = images is not None and row["place"] >= 0
        should = preprocess(images[row["place"]], size.size, size.resize) if images is not None and known else None
        found.append((went_in, should))
    return found


def more_notes(found: Measured, reader: LogReader, side: HostSide) -> list[str]:
    notes, header, slept = [], reader.header, found.timeline.suspended_s
    if slept:
        notes.append(f"the device was suspended for {slept:.0f} s")
    if side.images is not None and not header.data:
        notes.append("it names no data set: pictures are told by their pixels alone, without input and accuracy")
    if header.pixels and not (reader.path.parent / header.pixels).is_file():
        notes.append(f"its pixels file {header.pixels!r} is not beside it")
    if header.artifact_sha256 == side.bundle.artifacts_sha256 and found.seen < found.images:
        notes.append(f"{found.images - found.seen} images have pixels that the host does not: no logits to compare")
    return notes


def bounds_of(base: DeviceBounds, file: Path | None) -> DeviceBounds:
    """The recipe's, some of them replaced by a JSON object of their fields. Raises SchemaError."""
    if file is None:
        return base
    try:
        values = parse_json(file.read_bytes(), str(file))
    except OSError as error:
        raise SchemaError(f"{file}: cannot be read ({error.strerror})") from error
    known = [f.name for f in dataclasses.fields(DeviceBounds)]
    try:
        require(isinstance(values, dict), "expected an object")
        for name, value in values.items():
            require(name in known, f"unknown field {name!r}; known are {', '.join(known)}")
            number = type(value) in (int, float) and value >= 0
            require(number or (value is None and name != known[0]), f"{name} {value!r}; expected a number of 0 or more")
    except ValueError as error:
        raise SchemaError(f"{file}: {error}") from error
    return dataclasses.replace(base, **values)
