"""Add to a page of 224 px what was trained later, its cascade's weights being gone: in PyTorch, and not timed.

    python export_scripts/reproduce/add_to_224.py cifar224 data --static runs/.../cascade.safetensors --ablation ...

Of the page's cascade and static models the logits were kept (rivals_224.py); those of the new models are kept too.
Ablations that were trained for other epochs than the page's cascade are held against a cascade with both reuses that
was trained for as many: give that one as an ablation of nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import matplotlib
import typer
from page_224 import APART, SUBJECTS, Subject
from results_tables import read_answers
from rivals_224 import (
    add_others,
    add_rival,
    add_static,
    apart,
    evidence,
    kept,
    read_models,
    rivals_of,
    write_models,
    write_page,
)

from dvt_edge.cli.options import progress
from dvt_edge.evaluation.curves import TorchSource, search_and_test
from dvt_edge.evaluation.study import answers_of, points_of
from dvt_edge.network.checkpoint import checkpoint_sha256
from dvt_edge.quiet import Report

matplotlib.use("Agg")


def add(about: Subject, data: Path, checkpoints: list[Path], docs: Path, report: Report) -> None:
    """Put these models on the page.

    Raises typer.BadParameter, before any is computed, for one that was trained with other images held out than the
    page's cascade, or for other epochs than all that it could be held against.
    """
    place = docs / "results" / about.name
    result, answers = json.loads((place / "eval.json").read_text()), read_answers(place / "answers.npz")
    logits, digest = place / "logits", result["checkpoint_sha256"]
    own = kept(logits, TorchSource.target, digest)
    rivals = rivals_of(about, checkpoints, docs, {other["name"] for other in result["others"]})
    images = [search_and_test(str(data), rival.cascade.trained_on)[:2] for rival in rivals]
    for rival, (search, test) in zip(rivals, images, strict=True):
        if (search.fingerprint, test.fingerprint) != (own.search.about.read_sha256, own.test.about.read_sha256):
            raise typer.BadParameter(f"{rival.path}: trained with other images held out than the page's cascade")
    bases = {"": own}
    for other in result["others"]:
        if other.get("against") == other["name"]:
            bases[other["name"]] = kept(logits, TorchSource.target, other["artifact_sha256"])
    for rival, (search, test) in zip(rivals, images, strict=True):
        found = evidence(rival.cascade, rival.path, logits, search, test, report)
        write_models(logits, {checkpoint_sha256(rival.path): rival.cascade.config})
        result["later"] = sorted({*result.get("later", ()), rival.path.parent.name})
        if rival.alone:
            add_static(result, answers, own, found, rival.cascade.config.grids[0])
        else:
            add_rival(result, answers, bases, rival, found)
    alone = [static for static in result["statics"] if static["target"] == own.test.about.target]
    peers = {static["static"]: kept(logits, TorchSource.target, static["artifact_sha256"]) for static in alone}
    answers |= answers_of(own.test.about.target, own, points_of(own, peers, 0.0))
    models = read_models(logits)
    if joined := apart(models[digest], models, logits):
        add_others(result, answers, own, {APART: joined})
    write_page(about, result, answers, docs)


def main(
    subject: Annotated[str, typer.Argument(help=", ".join(name for name, s in SUBJECTS.items() if not s.ships))],
    data: Path,
    static: Annotated[list[Path] | None, typer.Option(help="A static model's checkpoint, trained alike.")] = None,
    ablation: Annotated[
        list[Path] | None, typer.Option(help="Of the cascade without a reuse, or for as many epochs.")
    ] = None,
    docs: Path = Path("docs"),
) -> None:
    if subject not in SUBJECTS or SUBJECTS[subject].ships:
        raise typer.BadParameter(f"{subject}: of a cascade that ships, or unknown; make_224.py makes those pages")
    with progress() as report:
        add(SUBJECTS[subject], data, [*(static or ()), *(ablation or ())], docs, report)


if __name__ == "__main__":
    typer.run(main)
