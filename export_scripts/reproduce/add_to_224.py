"""Add to a page of 224 px what was trained later, its cascade's weights being gone: in PyTorch, and not timed.

    python export_scripts/reproduce/add_to_224.py cifar224 data --static runs/.../cascade.safetensors --ablation ...

Of the page's cascade and static models the logits were kept (rivals_224.py); those of the new models are kept too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import matplotlib
import typer
from page_224 import APART, SUBJECTS, Subject
from results_tables import read_answers
from rivals_224 import add_others, add_static, apart, evidence, kept, read_models, without, write_models, write_page

from dvt_edge.cli.options import progress
from dvt_edge.evaluation.curves import TorchSource, search_and_test
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.quiet import Report

matplotlib.use("Agg")


def add(about: Subject, data: Path, checkpoints: list[Path], docs: Path, report: Report) -> None:
    """Raises typer.BadParameter for a model that was trained with other images held out than the page's cascade."""
    place = docs / "results" / about.name
    result, answers = json.loads((place / "eval.json").read_text()), read_answers(place / "answers.npz")
    logits, digest = place / "logits", result["checkpoint_sha256"]
    own = kept(logits, TorchSource.target, digest)
    for path in checkpoints:
        model = load_cascade(path)
        search, test, *_ = search_and_test(str(data), model.trained_on)
        if (search.fingerprint, test.fingerprint) != (own.search.about.read_sha256, own.test.about.read_sha256):
            raise typer.BadParameter(f"{path}: trained with other images held out than the page's cascade")
        found = evidence(model, path, logits, search, test, report)
        write_models(logits, {checkpoint_sha256(path): model.config})
        result["later"] = sorted({*result.get("later", ()), model.config.name})
        if model.config.num_exits == 1:
            add_static(result, answers, own, found, model.config.grids[0])
        else:
            add_others(result, answers, own, {without(model): found})
    models = read_models(logits)
    if joined := apart(models[digest], models, logits):
        add_others(result, answers, own, {APART: joined})
    write_page(about, result, answers, docs)


def main(
    subject: Annotated[str, typer.Argument(help=", ".join(name for name, s in SUBJECTS.items() if not s.ships))],
    data: Path,
    static: Annotated[list[Path] | None, typer.Option(help="A static model's checkpoint, trained alike.")] = None,
    ablation: Annotated[list[Path] | None, typer.Option(help="Of the cascade without reuse, trained alike.")] = None,
    docs: Path = Path("docs"),
) -> None:
    if subject not in SUBJECTS or SUBJECTS[subject].ships:
        raise typer.BadParameter(f"{subject}: of a cascade that ships, or unknown; make_224.py makes those pages")
    with progress() as report:
        add(SUBJECTS[subject], data, [*(static or ()), *(ablation or ())], docs, report)


if __name__ == "__main__":
    typer.run(main)
