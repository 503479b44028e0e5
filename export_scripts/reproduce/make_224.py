"""The pages of 224 px, docs/results.md and docs/results-cifar224.md: all tables and figures from one run of this.

    python export_scripts/reproduce/make_224.py photographs GroceryStoreDataset   or `make photographs DATA=...`
    python export_scripts/reproduce/make_224.py cifar224 data                     or `make cifar224 DATA=...`

Bundles and logits are made once, under build/<subject>, and reused. What the cascade is compared with was trained by
the same recipe: static models of one exit each (--static runs/.../cascade.safetensors), and cascades without reuse
(--ablation). Static models of the cascade's own grids and depth are also run one after another, as people do without
this method. Easy and hard images of each class are written under build/ too: they stay out of the repository.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import torch
import typer
from cross_fitting import Exits, as_cheap, crossed_equal, crossed_losses, crossed_time, equal_intervals, loss_intervals
from make_results import plot_budget, plot_examples
from numpy.typing import NDArray
from page_224 import APART, SUBJECTS, Subject, best_static, differences, others_of, page, read_runs
from results_tables import read_answers
from rich.console import Console

from dvt_edge.atomic import write_text
from dvt_edge.calibration.exit_logits import ExitLogits, compute, open_logits
from dvt_edge.cli.options import progress
from dvt_edge.cli.tables import print_study
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.evaluation.curves import Evidence, TorchSource, search_and_test
from dvt_edge.evaluation.study import Study, answers_of, run_study, write_answers
from dvt_edge.exporting.pipeline import calibration_images, export
from dvt_edge.network.accuracy import coarse_answers
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.network.config import CascadeConfig
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


def apart(cascade: Cascade, statics: Mapping[str, CascadeConfig], logits: Path) -> Evidence | None:
    """The static models of its grids and depth, by their checkpoints' hashes, as a cascade; None where one is missing.

    `logits` has what each of them said.
    """
    found = []
    for grid in cascade.config.grids:
        wanted = cascade.config.replace(grids=(grid,), feature_reuse=False, relation_reuse=False)
        alike = [digest for digest, config in statics.items() if config == wanted.replace(name=config.name)]
        if not alike:
            return None
        found.append(kept(logits, TorchSource.target, alike[0]))
    return Evidence(one_after_another([e.search for e in found]), one_after_another([e.test for e in found]))


def one_after_another(alone: Sequence[ExitLogits]) -> ExitLogits:
    """What models of one exit each say of the same images, as the exits of one; the MACs add up."""
    about = dataclasses.replace(
        alone[0].about,
        name=APART,
        artifact_sha256="+".join(x.about.artifact_sha256 for x in alone),
        exits=len(alone),
        macs=tuple(np.cumsum([x.about.macs[0] for x in alone]).tolist()),
    )
    return ExitLogits(np.concatenate([x.logits for x in alone], axis=1), alone[0].labels, about)


def without(cascade: Cascade) -> str:
    kinds = {"features": cascade.config.feature_reuse, "relations": cascade.config.relation_reuse}
    return f"without {' and '.join(kind for kind, reused in kinds.items() if not reused)}"


def evidence(
    cascade: Cascade, checkpoint: Path, folder: Path, search: LabelledImages, test: LabelledImages, report: Report
) -> Evidence:
    """A cascade's logits in PyTorch, kept in `folder`."""
    digest = checkpoint_sha256(checkpoint)
    source, own = TorchSource(cascade, digest), folder / f"pytorch-{digest[:12]}"
    return Evidence(
        compute(source, search, own / "search", report),
        compute(source, test, own / "test", report),
    )


def left_out(
    ablations: Sequence[Path], folder: Path, search: LabelledImages, test: LabelledImages, report: Report
) -> dict[str, Evidence]:
    """What each ablation says of the images, by what it lacks."""
    found = {}
    for path in ablations:
        cascade = load_cascade(path)
        found[without(cascade)] = evidence(cascade, path, folder, search, test, report)
    return found


def hold_against(
    result: dict[str, Any], answers: dict[str, NDArray[Any]], own: Evidence, rivals: Mapping[str, Evidence]
) -> None:
    """Other cascades' figures and answers, beside those of this one."""
    for name, found in rivals.items():
        figures, macs = found.evaluation, list(found.test.about.macs)
        curve = [(point.cost, point.top1) for point in figures.curves["joint"]]
        others = [other for other in result["others"] if other["name"] != name]
        result["others"] = [*others, {"name": name, "top1": list(figures.top1), "macs": macs, "curve": curve}]
        answers |= answers_of(name, found, as_cheap(own, found))


def add(about: Subject, data: Path, ablations: Sequence[Path], out: Path, docs: Path, report: Report) -> None:
    """Hold ablations that were trained later against what the page's cascade said, kept beside the page's figures."""
    place = docs / "results" / about.name
    result, answers = json.loads((place / "eval.json").read_text()), dict(read_answers(place / "answers.npz"))
    own = Evidence(open_logits(place / "logits/search"), open_logits(place / "logits/test"))
    search, test, *_ = search_and_test(str(data), load_cascade(ablations[0]).trained_on)
    if (search.fingerprint, test.fingerprint) != (own.search.about.read_sha256, own.test.about.read_sha256):
        raise typer.BadParameter("the ablation was trained with other images held out than the page's cascade")
    hold_against(result, answers, own, left_out(ablations, out / "logits-others", search, test, report))
    write_page(about, result, answers, docs)


def write_page(about: Subject, result: dict[str, Any], answers: dict[str, NDArray[Any]], docs: Path) -> None:
    place = docs / "results" / about.name
    plot_budget(result, place / "budget.svg")
    write_text(place / "eval.json", json.dumps(result, indent=1) + "\n")
    write_answers(place / "answers.npz", answers)
    write_text(docs / about.page, page(about, result, answers, read_runs(place, about.model), others_of(about, docs)))


def kept(logits: Path, target: str, artifact_sha256: str) -> Evidence:
    """What a study left of one artifact in its folder of logits."""
    folder = logits / f"{target}-{artifact_sha256[:12]}"
    return Evidence(open_logits(folder / "search"), open_logits(folder / "test"))


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
    later: Annotated[
        bool, typer.Option("--later", help="Only add --ablation to a page whose cascade's weights were not kept.")
    ] = False,
) -> None:
    if subject not in SUBJECTS:
        raise typer.BadParameter(f"{subject}: expected one of {', '.join(SUBJECTS)}")
    about = SUBJECTS[subject]
    out, checkpoint = out or Path("build") / about.name, checkpoint or about.checkpoint
    if later:
        if about.ships or static or not ablations:
            raise typer.BadParameter("--later wants --ablation alone, of a subject whose cascade is not in the zoo")
        with progress() as report:
            add(about, data, ablations, out, docs, report)
        return
    images, cascade = open_images(data, "test"), load_cascade(checkpoint)
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
        rivals = left_out(ablations or (), out / "logits-others", search, test, report)
        static_configs = {checkpoint_sha256(path): load_cascade(path).config for path in statics.values()}
        if joined := apart(cascade, static_configs, out / "logits"):
            rivals[APART] = joined
        result["others"] = []
        hold_against(result, answers, own, rivals)
        if about.crossed:
            answers |= crossed_losses(own, rivals)
            equal: dict[str, Any] = {}
            if statics:
                exits, equal, result["crossed_times"] = held_against_the_best(result, out, test, timed, report)
                answers |= exits
            redone = loss_intervals(own, rivals, differences(result, answers), report)
            result["crossed"] = {"equal": equal, "differences": redone}
    print_study(Console(), result)
    if images.coarse is not None:
        result["coarse_top1"] = coarse_top1(out / "logits", images.coarse.of)
        result["coarse_classes"] = len(images.coarse.classes)
    result = json.loads(json.dumps(result).replace(f"{data}/", ""))  # where the clone lies is nobody's business
    plot_examples(result, data, checkpoint, out / "examples.png")
    write_page(about, result, answers, docs)
    if not about.ships:
        for name in ("search", "test"):
            folder = out / "logits" / f"{TorchSource.target}-{result['checkpoint_sha256'][:12]}" / name
            shutil.copytree(folder, docs / "results" / about.name / "logits" / name, dirs_exist_ok=True)


if __name__ == "__main__":
    typer.run(main)
