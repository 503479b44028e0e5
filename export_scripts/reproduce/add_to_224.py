"""Add to a page of 224 px what was trained later, its cascade's weights being gone: in PyTorch, and not timed.

    python export_scripts/reproduce/add_to_224.py cifar224 data --static runs/.../cascade.safetensors --ablation ...

Of the page's cascade and static models the logits were kept (rivals_224.py); those of the new models are kept too.
Ablations that were trained for other epochs than the page's cascade are held against a cascade with both reuses that
was trained for as many: give that one as an ablation of nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import typer
from page_224 import APART, SUBJECTS, Subject
from results_tables import read_answers
from rivals_224 import (
    WHOLE,
    add_others,
    add_static,
    apart,
    evidence,
    kept,
    read_models,
    reuse_of,
    write_models,
    write_page,
)

from dvt_edge.cli.options import progress
from dvt_edge.device.schema import parse_json
from dvt_edge.evaluation.curves import TorchSource, search_and_test
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.quiet import Report

matplotlib.use("Agg")


@dataclass(frozen=True)
class Later:
    """A model that was trained after the page was made."""

    path: Path  # of its checkpoint, in the folder of its run
    cascade: Cascade
    epochs: str  # after its name, where they are not those of the page's cascade

    @property
    def name(self) -> str:
        return reuse_of(self.cascade.config) + self.epochs

    @property
    def base(self) -> str:
        """The name of what it is held against: a cascade of as many epochs; "" for the page's own."""
        return WHOLE + self.epochs if self.epochs else ""


def epochs_of(run: Path) -> int:
    """For how many a model was trained. Raises typer.BadParameter where its folder does not say."""
    try:
        found: Any = parse_json((run / "result.json").read_bytes(), str(run))["options"]["epochs"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise typer.BadParameter(f"{run}: has no result.json that says for how many epochs it was trained") from error
    return int(found)


def checked(about: Subject, data: Path, paths: list[Path], place: Path, result: dict[str, Any]) -> list[Later]:
    """Those that others are held against first. Raises typer.BadParameter for what cannot be held against the page's:
    trained with other images held out, or for other epochs without a cascade that was, too."""
    usual = epochs_of(place / "runs" / about.model / about.run)
    own = kept(place / "logits", TorchSource.target, result["checkpoint_sha256"])
    wanted = own.search.about.read_sha256, own.test.about.read_sha256
    found = []
    for path in paths:
        cascade, epochs = load_cascade(path), epochs_of(path.parent)
        search, test, *_ = search_and_test(str(data), cascade.trained_on)
        if (search.fingerprint, test.fingerprint) != wanted:
            raise typer.BadParameter(f"{path}: trained with other images held out than the page's cascade")
        found.append(Later(path, cascade, "" if epochs == usual else f", {epochs} epoch{'s' * (epochs != 1)}"))
    known = {other["name"] for other in result["others"]} | {model.name for model in found}
    for model in found:
        if model.epochs and (model.cascade.config.num_exits == 1 or model.base not in known):
            raise typer.BadParameter(f"{model.path}: nothing of its epochs to hold it against, but of {usual}")
    return sorted(found, key=lambda model: model.name != model.base)


def add(about: Subject, data: Path, checkpoints: list[Path], docs: Path, report: Report) -> None:
    """Put these models on the page, or raise typer.BadParameter before any is computed."""
    place = docs / "results" / about.name
    result, answers = json.loads((place / "eval.json").read_text()), read_answers(place / "answers.npz")
    logits, digest = place / "logits", result["checkpoint_sha256"]
    own = kept(logits, TorchSource.target, digest)
    bases = {
        other["name"]: kept(logits, TorchSource.target, other["artifact_sha256"])
        for other in result["others"]
        if other.get("against") == other["name"]
    }
    for model in checked(about, data, checkpoints, place, result):
        config = model.cascade.config
        search, test, *_ = search_and_test(str(data), model.cascade.trained_on)
        found = evidence(model.cascade, model.path, logits, search, test, report)
        write_models(logits, {checkpoint_sha256(model.path): config})
        result["later"] = sorted({*result.get("later", ()), model.path.parent.name})
        if config.num_exits == 1:
            add_static(result, answers, own, found, config.grids[0])
            continue
        if model.name == model.base:
            bases[model.name] = found
        add_others(result, answers, bases.get(model.base, own), {model.name: found}, model.base)
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
