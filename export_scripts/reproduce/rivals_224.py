"""What the pages of 224 px hold a cascade against, from logits in PyTorch: static models, and other cascades.

Of a cascade that does not ship, these logits are kept beside the page's figures, docs/results/<name>/logits, with what
each model is: what is trained later is held against them when the weights are gone (add_to_224.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from cross_fitting import as_cheap
from make_results import plot_budget
from numpy.typing import NDArray
from page_224 import APART, Subject, others_of, page, read_runs

from dvt_edge.atomic import write_text
from dvt_edge.calibration.exit_logits import ExitLogits, compute, open_logits
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.schema import parse_json
from dvt_edge.evaluation.curves import Evidence, TorchSource
from dvt_edge.evaluation.study import answers_of, equal_accuracy, static_name, write_answers
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.quiet import Report

WHOLE = "the cascade"  # what one with both reuses is called among others of its recipe
Answers = dict[str, NDArray[Any]]
Models = dict[str, CascadeConfig]  # by their checkpoints' hashes


def kept(logits: Path, target: str, artifact_sha256: str) -> Evidence:
    """What a study left of one artifact in its folder of logits."""
    folder = logits / f"{target}-{artifact_sha256[:12]}"
    return Evidence(open_logits(folder / "search"), open_logits(folder / "test"))


def evidence(
    cascade: Cascade, checkpoint: Path, folder: Path, search: LabelledImages, test: LabelledImages, report: Report
) -> Evidence:
    """A cascade's logits in PyTorch, kept in `folder` as a study keeps them."""
    digest = checkpoint_sha256(checkpoint)
    source, own = TorchSource(cascade, digest), folder / f"pytorch-{digest[:12]}"
    return Evidence(
        compute(source, search, own / "search", report),
        compute(source, test, own / "test", report),
    )


def apart(config: CascadeConfig, models: Models, logits: Path) -> Evidence | None:
    """The static models of a cascade's grids and depth, one after another; None where one is not among `models`.

    `logits` has what each of them said.
    """
    found = []
    for grid in config.grids:
        wanted = config.replace(grids=(grid,), feature_reuse=False, relation_reuse=False)
        alike = [digest for digest, other in models.items() if other == wanted.replace(name=other.name)]
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


def reuse_of(config: CascadeConfig) -> str:
    """What a cascade is called among others of its recipe: by what it does not reuse."""
    kinds = {"features": config.feature_reuse, "relations": config.relation_reuse}
    left_out = [kind for kind, reused in kinds.items() if not reused]
    return f"without {' and '.join(left_out)}" if left_out else WHOLE


@dataclass(frozen=True, eq=False)
class Rival:
    """A static model or another cascade, trained by the recipe of a page's."""

    path: Path  # of its checkpoint, in the folder of its run
    cascade: Cascade
    epochs: str  # after its name, where they are not those of the page's cascade

    @property
    def alone(self) -> bool:
        """It is a static model."""
        return self.cascade.config.num_exits == 1

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
        found: Any = parse_json((run / "result.json").read_bytes(), str(run))
        return int(found["epochs"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise typer.BadParameter(f"{run}: has no result.json that says for how many epochs it was trained") from error


def rivals_of(about: Subject, paths: Sequence[Path], docs: Path, known: Collection[str] = ()) -> list[Rival]:
    """What a page's cascade is held against: static models, cascades that others are held against, and others.

    Raises typer.BadParameter for one that was trained for other epochs than the page's cascade, where no cascade with
    both reuses was, too: neither of these nor of the names `known`.
    """
    usual = epochs_of(docs / "results" / about.name / "runs" / about.model / about.run)
    found = []
    for path in paths:
        epochs = epochs_of(path.parent)
        found.append(
            Rival(path, load_cascade(path), "" if epochs == usual else f", {epochs} epoch{'s' * (epochs != 1)}")
        )
    names = {*known, *(rival.name for rival in found)}
    for rival in found:
        if rival.epochs and (rival.alone or rival.base not in names):
            raise typer.BadParameter(f"{rival.path}: nothing of its epochs to hold it against, but of {usual}")
    return sorted(found, key=lambda rival: (not rival.alone, rival.name != rival.base))


def add_static(result: dict[str, Any], answers: Answers, own: Evidence, static: Evidence, grid: int) -> None:
    """A static model's figures and answers in PyTorch, by the first name that none has: MACs, then hash, are added."""
    about, figures = static.test.about, dataclasses.asdict(static.evaluation)
    if any(s["artifact_sha256"] == about.artifact_sha256 for s in result["statics"]):
        return
    taken = {s["static"] for s in result["statics"]}
    longer = (), about.macs[:1], (about.macs[0], about.artifact_sha256)
    name = next(name for more in longer if (name := static_name(grid, *more)) not in taken)
    result["statics"].append({"static": name} | figures)
    result["equal_accuracy"].append({"static": name} | equal_accuracy(own, static, 0.0))
    answers |= answers_of(f"{name}, {about.target}", static, {})


def add_others(
    result: dict[str, Any], answers: Answers, base: Evidence, rivals: Mapping[str, Evidence], against: str = ""
) -> None:
    """Other cascades' figures and answers, by name; in place of what had that name.

    They are held against the page's cascade or, where named, `against` another one, which may be one of them; `base` is
    that one's evidence.
    """
    statics = {s["static"]: s["macs"][0] for s in result["statics"] if s["target"] == TorchSource.target}
    for name, found in rivals.items():
        figures, about = found.evaluation, found.test.about
        others = [other for other in result["others"] if other["name"] != name]
        said = {
            "name": name,
            "against": against,
            "artifact_sha256": about.artifact_sha256,
            "top1": list(figures.top1),
            "macs": list(about.macs),
            "curve": [(point.cost, point.top1) for point in figures.curves["joint"]],
        }
        result["others"] = [*others, said]
        answers |= answers_of(name, found, as_cheap(base, found, statics))


def add_rival(
    result: dict[str, Any], answers: Answers, bases: dict[str, Evidence], rival: Rival, found: Evidence
) -> None:
    """`add_others` of one; `bases` has what any is held against, by name, and gets those that others will be."""
    if rival.name == rival.base:
        bases[rival.name] = found
    add_others(result, answers, bases[rival.base], {rival.name: found}, rival.base)


def read_models(logits: Path) -> Models:
    """What each model is whose logits are kept in a folder."""
    file = logits / "models.json"
    found: Any = parse_json(file.read_bytes(), str(file)) if file.exists() else {}
    return {digest: CascadeConfig.from_dict(config) for digest, config in found.items()}


def write_models(logits: Path, models: Models) -> None:
    plain = {digest: config.to_dict() for digest, config in (read_models(logits) | models).items()}
    write_text(logits / "models.json", json.dumps(plain, indent=1) + "\n")


def write_page(about: Subject, result: dict[str, Any], answers: Answers, docs: Path) -> None:
    place = docs / "results" / about.name
    plot_budget(result, place / "budget.svg")
    write_text(place / "eval.json", json.dumps(result, indent=1) + "\n")
    write_answers(place / "answers.npz", answers)
    write_text(docs / about.page, page(about, result, answers, read_runs(place, about.model), others_of(about, docs)))
