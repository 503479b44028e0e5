"""docs/results.md: the grocery cascade on its photographs, every table and figure from one run of this script.

    python export_scripts/reproduce/make_photographs.py GroceryStoreDataset        or `make photographs DATA=...`

Bundles and logits are made once, under build/photographs, and reused. Static models, one exit each and trained by the
same recipe, are compared where they are given (--static runs/.../cascade.safetensors), and cascades without reuse exit
by exit (--ablation). Easy and hard photographs of each class are written under build/ too: the photographs stay out of
the repository.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import torch
import typer
from make_results import plot_budget, plot_examples
from numpy.typing import NDArray
from photographs_page import CHECKPOINT, page, read_runs
from results_tables import read_answers
from rich.console import Console

from dvt_edge.atomic import write_text
from dvt_edge.calibration.exit_logits import ExitLogits, compute, open_logits
from dvt_edge.cli.options import progress
from dvt_edge.cli.tables import print_study
from dvt_edge.data.reading import open_images
from dvt_edge.evaluation.curves import TorchSource
from dvt_edge.evaluation.study import Study, run_study, write_answers
from dvt_edge.exporting.pipeline import calibration_images, export
from dvt_edge.network.accuracy import coarse_answers
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.quiet import Report

matplotlib.use("Agg")
TARGETS = ("onnx-fp32", "onnx-int8", "executorch-xnnpack-int8-dynamic")  # all: docs/recipes-photographs.md


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


def ablation(checkpoint: Path, study: Study, report: Report) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """A cascade of the same recipe without reuse: its figures, and (images, exits) which answers are right."""
    cascade = load_cascade(checkpoint)
    digest = checkpoint_sha256(checkpoint)
    source = TorchSource(cascade, digest)
    kept = compute(source, open_images(study.data, "test"), study.out / "logits-ablations" / digest[:12], report)
    config = cascade.config
    kinds = {"features": config.feature_reuse, "relations": config.relation_reuse}
    without = " and ".join(kind for kind, reused in kinds.items() if not reused)
    return {"without": without, "top1": list(kept.top1), "macs": list(kept.about.macs)}, kept.correct


def main(
    data: Path,
    static: Annotated[list[Path] | None, typer.Option(help="A static model's checkpoint, trained alike.")] = None,
    ablations: Annotated[
        list[Path] | None, typer.Option("--ablation", help="A checkpoint of the cascade without reuse, trained alike.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Bundles and logits, kept between runs.")] = Path("build/photographs"),
    timed: Annotated[int, typer.Option(help="Photographs that are timed at batch 1.")] = 200,
    docs: Path = Path("docs"),
) -> None:
    images = open_images(data, "test")
    statics = {f"static{index}": str(path) for index, path in enumerate(static or ())}
    with progress() as report:
        for name, checkpoint in {"bundles": CHECKPOINT, **statics}.items():
            cascade = load_cascade(checkpoint)
            given, digest = calibration_images(cascade, str(data)), checkpoint_sha256(checkpoint)
            for target in TARGETS:
                export(
                    cascade,
                    target,
                    out / name / target,
                    calibration=given,
                    checkpoint_sha256=digest,
                    cached=True,
                    report=report,
                )
        compared = [path for n, c in statics.items() for path in (Path(c), *(out / n / target for target in TARGETS))]
        bundles = tuple(out / "bundles" / target for target in TARGETS)
        study = Study(CHECKPOINT, str(data), out, bundles=bundles, statics=tuple(compared), timed=timed)
        result: dict[str, Any] = run_study(study, report)
        found = [ablation(path, study, report) for path in ablations or ()]
    print_study(Console(), result)
    if images.coarse is not None:
        result["coarse_top1"] = coarse_top1(out / "logits", images.coarse.of)
        result["coarse_classes"] = len(images.coarse.classes)
    result["ablations"] = [figures for figures, _ in found]
    answers = dict(read_answers(out / "answers.npz"))
    answers |= {f"without {figures['without']}/right": right for figures, right in found}
    result = json.loads(json.dumps(result).replace(f"{data}/", ""))  # where the clone lies is nobody's business
    place = docs / "results/photographs"
    plot_budget(result, place / "budget.svg")
    plot_examples(result, data, CHECKPOINT, out / "examples.png")
    write_text(place / "eval.json", json.dumps(result, indent=1) + "\n")
    write_answers(place / "answers.npz", answers)
    write_text(docs / "results.md", page(result, answers, read_runs(place)))


if __name__ == "__main__":
    typer.run(main)
