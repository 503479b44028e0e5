"""`make demo`: a cascade through every target, checked against PyTorch, on 256 real images.

The images are the package's, or drawn from a user's own (`--data`), those that the training held out then calibrating.
Writes bundles, summary.json and report.html; both files hold the same figures, all measured in this run.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from dvt_edge import machine
from dvt_edge.atomic import write_text
from dvt_edge.data.classes import class_names
from dvt_edge.data.images import LabelledImages, no_labels
from dvt_edge.data.reading import task_images
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.exit_rule import confidences, simulate_exits
from dvt_edge.device.preprocess import preprocess
from dvt_edge.device.runtime import Result, Runtime
from dvt_edge.errors import DegradedError, MissingPackageError
from dvt_edge.exporting.pipeline import calibration_images, export
from dvt_edge.exporting.recipes import RECIPES, Recipe
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.quiet import Report, each
from dvt_edge.report.demo_page import write_report
from dvt_edge.validation.compare import Comparison, compare

SHOWN_PER_EXIT = 8
IMAGES = 256  # that are shown to each target, at most


def run_demo(checkpoint: str, out: Path, report: Report, data: str | None = None) -> dict[str, Any]:
    """Returns what summary.json holds. A target whose package is missing, and one whose artifacts its export refuses,
    is listed as not run, with the reason; `refused` tells the second.

    Raises DataError where the images at `data`, or the package's, are of other classes or have no labels.
    """
    cascade, digest = load_cascade(checkpoint), checkpoint_sha256(checkpoint)
    calibration = calibration_images(cascade, data)
    classes = class_names(cascade.trained_on, calibration, cascade.config.num_classes)
    images = task_images(data, classes, cascade.config.name)
    if images.labels is None:
        raise no_labels(images.source)
    images = images.shuffled().first(IMAGES) if data else images
    targets, shown = [], None
    for recipe in (recipe for recipe in RECIPES if recipe.status == "ready"):
        try:
            bundle = export(
                cascade,
                recipe.name,
                out / recipe.name,
                calibration=calibration,
                checkpoint_sha256=digest,
                cached=True,
                report=report,
            )
        except (MissingPackageError, DegradedError) as error:
            refused = isinstance(error, DegradedError)
            not_run = {"ran": False, "refused": refused, "megabytes": 0.0, "reason": str(error)}
            targets.append({"target": recipe.name} | not_run)
            continue
        if not bundle.manifest.verification.verified:
            reason = bundle.manifest.verification.reason
            targets.append(described(bundle) | {"ran": False, "reason": reason})
            continue
        figures, results = measure(bundle, recipe, cascade, images, report)
        targets.append(figures)
        shown = shown or results
    summary = {
        "model": cascade.config.name,
        "checkpoint_sha256": digest,
        "data": images.source,
        "images": len(images),
        "machine": machine.describe(),
        "point": next((t["point"] for t in targets if t["ran"]), "none"),
        "targets": targets,
    }
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_report(out / "report.html", summary, examples(cascade, images, shown or []))
    return summary


def described(bundle: CascadeBundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "target": manifest.target,
        "megabytes": bundle.size / 1e6,
        "point": manifest.default_operating_point,
        "operators": [[s.operators.delegated, s.operators.undelegated] for s in manifest.stages],
        "macs": list(manifest.macs),
        "tools": manifest.tools,
    }


def measure(
    bundle: CascadeBundle, recipe: Recipe, cascade: Cascade, images: LabelledImages, report: Report
) -> tuple[dict[str, Any], list[Result]]:
    """One target on all images: quality against PyTorch, then early exit and always-last, taking turns."""
    manifest = bundle.manifest
    runtime = Runtime(bundle)
    comparison = compare(cascade, runtime, images, report)
    runtime.prewarm()
    early, last = [], []
    for image in each(images, f"{recipe.name}: {len(images)} images with early exit", report):
        early.append(runtime.run(image))
        last.append(runtime.run(image, operating_point="full"))
    assert images.labels is not None
    exits = [r.exit for r in early]
    cost = statistics.mean(manifest.macs[k] for k in exits)
    qualities = comparison.qualities()
    point = manifest.operating_point(manifest.default_operating_point)
    return described(bundle) | {
        "ran": True,
        "broken_bounds": comparison.broken_bounds(recipe.bounds, manifest),
        "thresholds": list(point.thresholds),
        "stage_ms": [statistics.median(r.stage_ms[k] for r in last) for k in range(len(manifest.stages))],
        "sqnr_db": [q.sqnr_db for q in qualities],
        "max_abs_error": [q.max_abs_error for q in qualities],
        "top1_agreement": [q.top1_agreement for q in qualities],
        "exit_agreement": comparison.exit_agreement(point.thresholds, manifest.confidence),
        "top1_per_exit": [q.top1 for q in qualities],
        "top1": statistics.mean(r.label == y for r, y in zip(early, images.labels, strict=True)),
        "exit_shares": [exits.count(k) / len(images) for k in range(len(manifest.stages))],
        "mean_macs": cost,
        "macs_saved": manifest.macs[-1] / cost,
        "mean_ms": statistics.mean(r.total_ms for r in early),
        "mean_ms_last": statistics.mean(r.total_ms for r in last),
        "time_saved": statistics.mean(r.total_ms for r in last) / statistics.mean(r.total_ms for r in early),
        "glue_ms": statistics.median(r.glue_ms for r in early),
        "curve": curve(comparison, bundle),
    }, early


def curve(comparison: Comparison, bundle: CascadeBundle) -> list[list[float]]:
    """[threshold, mean MACs, top-1] for one threshold shared by all exits, on the artifacts' own logits."""
    manifest, labels = bundle.manifest, np.asarray(comparison.labels)
    spec = manifest.confidence
    pairs = zip(comparison.logits, spec.temperature, strict=True)
    values = np.stack([confidences(z, t, spec.measure) for z, t in pairs], axis=1)
    guesses = np.stack([z.argmax(axis=1) for z in comparison.logits], axis=1)
    rows = []
    for threshold in np.linspace(0.01, 0.999, 199):
        exits = simulate_exits(values, (float(threshold),) * values.shape[1])
        right = guesses[np.arange(len(exits)), exits] == labels
        rows.append([round(float(threshold), 4), float(np.asarray(manifest.macs)[exits].mean()), float(right.mean())])
    return rows


def examples(cascade: Cascade, images: LabelledImages, results: list[Result]) -> list[list[dict[str, Any]]]:
    """For each exit, the first images that left there, as the cascade saw them."""
    exits = 1 + max((r.exit for r in results), default=-1)
    chosen: list[list[dict[str, Any]]] = [[] for _ in range(exits)]
    for index, result in enumerate(results):
        if len(chosen[result.exit]) < SHOWN_PER_EXIT:
            assert images.labels is not None
            truth = images.classes[images.labels[index]]
            pixels = preprocess(images[index], cascade.config.image_size, cascade.config.resize)
            row = {"pixels": pixels, "label": result.label_name, "truth": truth, "confidence": result.confidence}
            chosen[result.exit].append(row)
    return chosen
