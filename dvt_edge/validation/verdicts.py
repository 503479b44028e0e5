"""Verdicts: what a device's log keeps of its bounds, one check after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dvt_edge.calibration.confidence import too_low
from dvt_edge.device.log_reader import LogReader
from dvt_edge.device.manifest import Manifest
from dvt_edge.validation.bounds import Bounds, DeviceBounds
from dvt_edge.validation.device_compare import Measured
from dvt_edge.validation.log_figures import accuracy, latency

Verdict = Literal["pass", "fail", "not checked"]


@dataclass(frozen=True)
class Check:
    """One verdict in words: what was found, and what was asked."""

    name: str
    verdict: Verdict
    found: str
    asked: str


@dataclass(frozen=True)
class Finding:
    """A fault by its name, and what of the record it explains."""

    fault: str
    words: str


def checks(
    found: Measured,
    reader: LogReader,
    manifest: Manifest,
    bounds: DeviceBounds,
    recipe: Bounds,
    artifact_sha256: str,
    pixels: tuple[float, int] | None,
) -> list[Check]:
    """Every verdict. `pixels` is the mean difference of those that are not the host's, and of how many that is."""
    header = reader.header
    lost = reader.notes.missing
    jumps = found.timeline.jumps
    asked_backend = f"{manifest.backend}, every stage"
    wrong = {k: b for k, b in enumerate(header.backends) if b != manifest.backend}
    about_log = [
        Check(
            "artifacts",
            passed(header.artifact_sha256 == artifact_sha256),
            short(header.artifact_sha256),
            short(artifact_sha256),
        ),
        Check("provider", passed(not wrong), ", ".join(sorted(set(header.backends))), asked_backend),
        Check(
            "whole log",
            passed(not lost),
            f"{sum(b - a - 1 for a, b in lost)} records missing" if lost else f"{found.images} images",
            "no record missing",
        ),
        Check(
            "clock",
            passed(not jumps),
            f"jumps by {jumps[0][1]:+.3f} s at seq {jumps[0][0]}" if jumps else "no jump",
            "no jump",
        ),
        errors_of(found),
    ]
    if header.artifact_sha256 != artifact_sha256:
        words = "of other artifacts: nothing is compared"
        return [*about_log, Check("answers", "not checked", words, ""), *latency_of(found, bounds)]
    return [
        *about_log,
        pixels_of(found, bounds, pixels),
        finite_of(found),
        kernels_of(found, bounds),
        top1_of(found, bounds),
        rule_of(found),
        Check(
            "confidence",
            passed(found.confidence_off == 0) if found.confidence_checked else "not checked",
            f"{found.confidence_off} of {found.confidence_checked} do not follow from their logits",
            "all do",
        ),
        labels_of(found),
        share("exits", int(np.trace(found.confusion)), found.answered, bounds.min_exit_agreement, "as on the host"),
        share("answers", found.same_answer, found.answered, bounds.min_answer_agreement, "as on the host"),
        shift_of(found, bounds),
        *quantization_of(found, recipe),
        accuracy_of(found, bounds),
        *latency_of(found, bounds),
    ]


def passed(ok: bool) -> Verdict:
    return "pass" if ok else "fail"


def short(sha256: str) -> str:
    return f"{sha256[:12]}..."


def share(name: str, same: int, of: int, least: float | None, words: str) -> Check:
    """Fails where the 95 % interval (Wilson) of the share lies below `least`."""
    if least is None or not of:
        return Check(name, "not checked", f"{of} images to compare", "" if least is None else f"at least {least:.1%}")
    ok = not too_low(same / of, of, least)
    return Check(name, passed(ok), f"{same / of:.2%} {words}, of {of}", f"at least {least:.1%}")


def errors_of(found: Measured) -> Check:
    count = sum(found.timeline.errors.values())
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(found.timeline.errors.items()))
    return Check("errors", passed(count == 0), kinds or "none", "none")


def pixels_of(found: Measured, bounds: DeviceBounds, pixels: tuple[float, int] | None) -> Check:
    asked = f"the host's, or within {bounds.max_pixel_difference} levels"
    if not found.known:
        return Check("pixels", "not checked", "no image of a test set that the host has", asked)
    same = f"{found.same_pixels} of {found.known} are the host's"
    if found.same_pixels == found.known or bounds.max_pixel_difference is None:
        return Check("pixels", "pass", same, asked)
    if pixels is None:
        return Check("pixels", "not checked", f"{same}; how others differ only the pixels file would tell", asked)
    mean, of = pixels
    return Check(
        "pixels", passed(mean <= bounds.max_pixel_difference), f"{same}; {of} others differ by {mean:.2f} levels", asked
    )


def finite_of(found: Measured) -> Check:
    meters = [m for m in found.kernels if m.images] or [m for m in found.total if m.images]
    bad = sum(m.not_finite for m in meters)
    verdict: Verdict = passed(bad == 0) if meters else "not checked"
    return Check("finite logits", verdict, f"{bad} exits that are not" if bad else "all", "all")


def kernels_of(found: Measured, bounds: DeviceBounds) -> Check:
    errors = [m.summary()["p99_abs_error"] for m in found.kernels]
    asked = f"at most {bounds.max_kernel_error:g} of a logit on 99 % of images"
    known = [e for e in errors if e is not None]
    if not known:
        return Check("kernels", "not checked", "no pixels that both sides ran", asked)
    words = " / ".join("-" if e is None else f"{e:.3g}" for e in errors)
    return Check("kernels", passed(max(known) <= bounds.max_kernel_error), f"{words} by exit", asked)


def top1_of(found: Measured, bounds: DeviceBounds) -> Check:
    same = sum(m.same_top1 for m in found.kernels)
    of = sum(m.images - m.not_finite for m in found.kernels)
    return share("top-1", same, of, bounds.min_top1_agreement, "as on the host, same pixels, all exits")


def rule_of(found: Measured) -> Check:
    asked = "as the thresholds of the point say"
    if found.unknown_points:
        names = ", ".join(sorted(found.unknown_points)[:5])
        return Check("exit rule", "fail", f"points that the bundle has not: {names}", asked)
    words = f"{found.rule_broken} of {found.ruled} leave elsewhere"
    if found.exit_off:
        words += f", {found.exit_off} answers are not the last finite exit's"
    verdict = passed(not found.rule_broken and not found.exit_off)
    return Check("exit rule", verdict if found.ruled or found.exit_off else "not checked", words, asked)


def labels_of(found: Measured) -> Check:
    named = sum(found.names.values())
    words = f"{found.label_off} labels are not the largest logit, {named} names not the label's"
    return Check("labels", passed(found.label_off == 0 and named == 0), words, "none")


def shift_of(found: Measured, bounds: DeviceBounds) -> Check:
    limit = bounds.max_confidence_shift
    if limit is None or not found.shifts:
        return Check("confidence shift", "not checked", "no image to compare", "")
    shifts = np.abs(np.concatenate(found.shifts))
    words = f"{shifts.mean():.4f} in the mean, {shifts.max():.3f} at most"
    return Check("confidence shift", passed(float(shifts.mean()) <= limit), words, f"at most {limit:g} in the mean")


def quantization_of(found: Measured, recipe: Bounds) -> list[Check]:
    rows = []
    for k, meter in enumerate(found.quantization):
        summary = meter.summary()
        if not meter.images:
            rows.append(Check(f"against PyTorch, exit {k}", "not checked", "no checkpoint, or no image", ""))
        elif recipe.min_sqnr_db is not None:
            sqnr = summary["sqnr_db"]
            words = "identical" if sqnr is None else f"{sqnr:.1f} dB SQNR"
            verdict = passed(sqnr is None or sqnr >= recipe.min_sqnr_db)
            rows.append(Check(f"against PyTorch, exit {k}", verdict, words, f"at least {recipe.min_sqnr_db:g} dB"))
        elif recipe.max_abs_error is not None:
            error = summary["max_abs_error"]
            verdict = passed(error <= recipe.max_abs_error)
            rows.append(
                Check(f"against PyTorch, exit {k}", verdict, f"off by {error:.2g}", f"at most {recipe.max_abs_error:g}")
            )
    return rows


def accuracy_of(found: Measured, bounds: DeviceBounds) -> Check:
    figures = accuracy(found)
    if figures is None or bounds.max_accuracy_loss is None:
        return Check("top-1 accuracy", "not checked", "no image whose class is known", "")
    low, high = figures["interval"]
    words = f"{figures['device']:.2%}, host {figures['host']:.2%} (difference {low:+.2%} to {high:+.2%}, 95 %, paired)"
    ok = high >= -bounds.max_accuracy_loss
    return Check("top-1 accuracy", passed(ok), words, f"at most {bounds.max_accuracy_loss:.1%} below the host")


def latency_of(found: Measured, bounds: DeviceBounds) -> list[Check]:
    figures: dict[str, Any] = latency(found)
    total, slower = figures["total_ms"], figures["sustained"]
    rows = []
    if total is not None:
        words = f"p50 {total['p50']:.2f}, p90 {total['p90']:.2f}, p99 {total['p99']:.2f} ms"
        limit = bounds.max_p99_ms
        verdict: Verdict = "not checked" if limit is None else passed(total["p99"] <= limit)
        rows.append(Check("latency", verdict, words, "" if limit is None else f"p99 at most {limit:g} ms"))
    if slower is not None:
        limit = bounds.max_slowdown
        verdict = "not checked" if limit is None else passed(slower <= limit)
        rows.append(
            Check(
                "sustained",
                verdict,
                f"{slower:.2f} times the first median at the end",
                "" if limit is None else f"at most {limit:g}",
            )
        )
    return rows
