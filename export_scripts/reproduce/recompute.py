"""What of docs/results needs no static model's weights and no quiet machine: answers, crossings, and the page anew.

    python export_scripts/reproduce/recompute.py data

Exports the shipped cascade for every target and computes its logits, as make_results.py does. Where an artifact is the
one of docs/results/eval.json to the bit, its answers to each test image are kept and its crossings computed anew; the
figures that eval.json has of it must come out the same. All other figures stay.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from make_results import RUNNABLE
from numpy.typing import NDArray
from results_page import CHECKPOINT, MODEL, page, read_runs, statics_as_long
from results_tables import read_answers

from dvt_edge import machine
from dvt_edge.atomic import write_text
from dvt_edge.calibration.exit_logits import LogitSource, compute
from dvt_edge.cli.options import progress
from dvt_edge.data.classes import class_names, in_classes
from dvt_edge.errors import DataError
from dvt_edge.evaluation.curves import Evidence, Point, TorchSource, search_and_test
from dvt_edge.evaluation.study import TIMED_LOSSES, answers_of, bundle_source, equal_run, loss_run, write_answers
from dvt_edge.exporting.pipeline import export
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.quiet import Report

COMMAND = "python export_scripts/reproduce/recompute.py data"


def evidences(data: Path, out: Path, report: Report) -> dict[str, tuple[LogitSource, Evidence]]:
    """By target, what computes the logits, and those of the held-out and the test images."""
    cascade, digest = load_cascade(CHECKPOINT), checkpoint_sha256(CHECKPOINT)
    found = search_and_test(str(data), cascade.trained_on)
    classes = class_names(cascade.trained_on, found.test, cascade.config.num_classes)
    images = [in_classes(part, classes, cascade.config.name) for part in (found.search, found.test)]
    sources: list[LogitSource] = [TorchSource(cascade, digest, classes)]
    for recipe in RUNNABLE:
        folder = out / "bundles" / recipe.name
        export(cascade, recipe.name, folder, checkpoint_sha256=digest, cached=True, report=report)
        sources.append(bundle_source(folder, cascade, digest))
    pairs = {}
    for source in sources:
        folder = out / "logits" / f"{source.target}-{source.artifact_sha256[:12]}"
        kept = [
            compute(source, part, folder / name, report) for name, part in zip(("search", "test"), images, strict=True)
        ]
        pairs[source.target] = source, Evidence(*kept)
    return pairs


def recorded_points(result: dict[str, Any], target: str, own: Evidence) -> dict[str, Point]:
    """The runs of an artifact, at the thresholds that eval.json has. Raises DataError where they give other figures."""
    points = {loss_run(loss): own.at(own.losing(loss)) for loss in TIMED_LOSSES}
    rows = [
        (equal_run(r["static"], r["tolerance"]), r["cascade"])
        for r in result["equal_accuracy"]
        if r["target"] == target
    ]
    rows += [
        (t["run"], {"cost": t["macs"]} | t) for t in result["times"] if t["target"] == target and t["run"] in points
    ]
    for run, row in rows:
        points[run] = own.at(np.array(row["thresholds"], np.float32))
        if (points[run].top1, points[run].cost) != (row["top1"], row["cost"]):
            raise DataError(f"{target}, {run}: {points[run]} here, {row} in eval.json")
    return points


def main(
    data: Path,
    out: Annotated[Path, typer.Option(help="Bundles and logits, kept between runs.")] = Path("build/results"),
    docs: Path = Path("docs"),
) -> None:
    result = json.loads((docs / "results/eval.json").read_text())
    before = {e["target"]: e["artifact_sha256"] for e in result["evaluations"]}
    answers: dict[str, NDArray[Any]] = dict(read_answers(docs / "results/answers.npz"))  # others' stay
    same, others = [], {}
    with progress() as report:
        found = evidences(data, out, report)
    for target, (source, own) in found.items():
        if source.artifact_sha256 != before[target]:
            others[target] = list(own.test.top1)
            continue
        same.append(target)
        answers |= answers_of(target, own, recorded_points(result, target, own))
        for row in (r for r in result["equal_accuracy"] if r["target"] == target):
            point = own.crossing(row["static_top1"] - row["tolerance"])
            fewer = None if point is None else {"fewer_macs": row["static_macs"] / point.cost}
            row["crossing"] = None if point is None or fewer is None else dataclasses.asdict(point) | fewer
    result["recomputed"] = {"command": COMMAND, "machine": machine.describe(), "same": same, "others": others}
    print(json.dumps(result["recomputed"], indent=1))
    write_text(docs / "results/eval.json", json.dumps(result, indent=1) + "\n")
    write_answers(docs / "results/answers.npz", answers)
    trained = [run for run in read_runs(docs / "results/runs") if run.model == MODEL]
    kept = read_answers(docs / "results/answers.npz")
    write_text(docs / "results-cifar10.md", page(result, trained, statics_as_long(trained), kept))


if __name__ == "__main__":
    typer.run(main)
