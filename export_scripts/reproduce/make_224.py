"""The pages of 224 px, docs/results.md and docs/results-cifar224.md: all tables and figures from one run of this.

    python export_scripts/reproduce/make_224.py photographs GroceryStoreDataset   or `make photographs DATA=...`
    python export_scripts/reproduce/make_224.py cifar224 data                     or `make cifar224 DATA=...`

Bundles and logits are made once, under build/<subject>, and reused. What the cascade is compared with was trained by
the same recipe: static models of one exit each (--static runs/.../cascade.safetensors), and cascades without reuse
(--ablation). Static models of the cascade's own grids and depth are also run one after another, as people do without
this method. Easy and hard images of each class are written under build/ too: they stay out of the repository.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import torch
import typer
from cross_fitting import Exits, crossed_equal, crossed_losses, crossed_time, equal_intervals, loss_intervals
from make_results import plot_examples
from numpy.typing import NDArray
from page_224 import APART, SUBJECTS, best_static, differences
from results_tables import read_answers
from rich.console import Console
from rivals_224 import Models, add_others, add_rival, apart, evidence, kept, rivals_of, write_models, write_page

from dvt_edge.calibration.exit_logits import ExitLogits, open_logits
from dvt_edge.cli.options import progress
from dvt_edge.cli.tables import print_study
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.evaluation.curves import Evidence, TorchSource, search_and_test
from dvt_edge.evaluation.study import Study, run_study
from dvt_edge.exporting.pipeline import calibration_images, export
from dvt_edge.network.accuracy import coarse_answers
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.quiet import Report

matplotlib.use("Agg")


def coarse_right(logits: ExitLogits, of: tuple[int, ...]) -> NDArray[np.bool_]:
    """(images, exits): whether the coarse class is right."""
    assert logits.labels is not None
    answers = coarse_answers(torch.from_numpy(np.array(logits.logits)), torch.tensor(of)).numpy()
    found: NDArray[np.bool_] = answers == np.asarray(of)[logits.labels][:, None]
    return found


def coarse_top1(folder: Path, of: tuple[int, ...]) -> dict[str, list[float]]:
    """Of each artifact whose logits are kept in `folder`, by its target, exit by exit."""
    kept = [open_logits(path) for path in sorted(folder.glob("*/test"))]
    return {x.about.target: coarse_right(x, of).mean(axis=0).tolist() for x in kept if x.about.exits > 1}


def bundle_of(digest: str, folders: Sequence[Path]) -> CascadeBundle:
    return next(b for b in map(CascadeBundle.open, folders) if b.artifacts_sha256 == digest)


def held_against_the_best(
    result: dict[str, Any], out: Path, test: LabelledImages, timed: int, report: Report
) -> tuple[Exits, dict[str, Any], dict[str, Any]]:
    """Each artifact at the best static model's accuracy by cross-fitted thresholds: where images leave, intervals,
    times."""
    exits: Exits = {}
    intervals, times = {}, {}
    name = best_static(result)["static"]
    for figures in result["evaluations"]:
        target = figures["target"]
        static = next(s for s in result["statics"] if (s["static"], s["target"]) == (name, target))
        own, alone = (kept(out / "logits", target, found["artifact_sha256"]) for found in (figures, static))
        exits |= crossed_equal(own, alone.test, name)
        redone = equal_intervals(own, alone.test, report)
        intervals[target] = {"points": redone.points, "fewer_macs": redone.fewer_macs, "shares": redone.shares}
        if target != TorchSource.target:
            bundles = (
                CascadeBundle.open(out / "bundles" / target),
                bundle_of(static["artifact_sha256"], list(out.glob(f"static*/{target}"))),
            )
            times[target] = crossed_time(own, alone.test, bundles, test, timed, redone, report)
    return exits, intervals, times


def main(
    subject: Annotated[str, typer.Argument(help=", ".join(SUBJECTS))],
    data: Path,
    checkpoint: Annotated[str, typer.Option(help="The cascade; default: where the subject has it.")] = "",
    static: Annotated[list[Path] | None, typer.Option(help="A static model's checkpoint, trained alike.")] = None,
    ablations: Annotated[
        list[Path] | None, typer.Option("--ablation", help="A checkpoint of the cascade without reuse, trained alike.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundles and logits, kept; default: build/<it>.")] = None,
    timed: Annotated[int, typer.Option(help="Images that are timed at batch 1.")] = 200,
    docs: Path = Path("docs"),
) -> None:
    if subject not in SUBJECTS:
        raise typer.BadParameter(f"{subject}: expected one of {', '.join(SUBJECTS)}")
    about = SUBJECTS[subject]
    out, checkpoint = out or Path("build") / about.name, checkpoint or about.checkpoint
    images, cascade = open_images(data, "test"), load_cascade(checkpoint)
    rivals = rivals_of(about, [*(static or ()), *(ablations or ())], docs)
    statics = {f"static{index}": str(path) for index, path in enumerate(static or ())}
    with progress() as report:
        for name, weights in {"bundles": checkpoint, **statics}.items():
            model = load_cascade(weights)
            given, digest = calibration_images(model, str(data)), checkpoint_sha256(weights)
            for target in about.targets:
                export(
                    model,
                    target,
                    out / name / target,
                    calibration=given,
                    checkpoint_sha256=digest,
                    accept_degraded=name in statics,  # nobody ships them
                    cached=True,
                    report=report,
                )
        compared = [
            path for n, c in statics.items() for path in (Path(c), *(out / n / target for target in about.targets))
        ]
        bundles = tuple(out / "bundles" / target for target in about.targets)
        result: dict[str, Any] = run_study(
            Study(checkpoint, str(data), out, bundles=bundles, statics=tuple(compared), timed=timed), report
        )
        answers = dict(read_answers(out / "answers.npz"))
        search, test, *_ = search_and_test(str(data), cascade.trained_on)
        own = kept(out / "logits", TorchSource.target, checkpoint_sha256(checkpoint))
        result["others"], bases = [], {"": own}
        alike: dict[str, Evidence] = {}  # trained for as many epochs
        for rival in (rival for rival in rivals if not rival.alone):
            found = evidence(rival.cascade, rival.path, out / "logits-others", search, test, report)
            add_rival(result, answers, bases, rival, found)
            alike |= {} if rival.base else {rival.name: found}
        models = {checkpoint_sha256(path): load_cascade(path).config for path in (checkpoint, *statics.values())}
        if joined := apart(cascade.config, models, out / "logits"):
            alike[APART] = joined
            add_others(result, answers, own, {APART: joined})
        if about.crossed:
            answers |= crossed_losses(own, alike)
            equal: dict[str, Any] = {}
            if statics:
                exits, equal, result["crossed_times"] = held_against_the_best(result, out, test, timed, report)
                answers |= exits
            redone = loss_intervals(own, alike, differences(result, answers), report)
            result["crossed"] = {"equal": equal, "differences": redone}
    print_study(Console(), result)
    if images.coarse is not None:
        result["coarse_top1"] = coarse_top1(out / "logits", images.coarse.of)
        result["coarse_classes"] = len(images.coarse.classes)
    result = json.loads(json.dumps(result).replace(f"{data}/", ""))  # where the clone lies is nobody's business
    plot_examples(result, data, checkpoint, out / "examples.png")
    write_page(about, result, answers, docs)
    if not about.ships:
        place = docs / "results" / about.name / "logits"
        keep(out / "logits", place, models)
        keep(out / "logits-others", place, {checkpoint_sha256(r.path): r.cascade.config for r in rivals if not r.alone})


def keep(logits: Path, place: Path, models: Models) -> None:
    """Copy what these models said in PyTorch to `place`, for what is trained later."""
    for digest in models:
        name = f"{TorchSource.target}-{digest[:12]}"
        shutil.copytree(logits / name, place / name, dirs_exist_ok=True)
    write_models(place, models)


if __name__ == "__main__":
    typer.run(main)
