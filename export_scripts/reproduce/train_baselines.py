"""The baselines and ablations of docs/results-cifar10.md: the same recipe, data and epochs, one difference each.

    python export_scripts/reproduce/train_baselines.py data --epochs 8 --seed 0   all variants, one after the other
    python export_scripts/reproduce/train_baselines.py data --variant static8     one, as long as the shipped cascade

A schedule is one cosine cycle or several, each a run of its own that starts from the weights of the one before:
`--epochs 24,32 --lr 0.005,0.003` trains static8-24ep-seed0 and then static8-24+32ep-seed0. A killed run goes on where
it stopped, a finished one is skipped. Logs and figures, not the weights, are copied to docs/results/runs/<model>/.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

Variants = dict[str, list[str]]  # what `dvt-edge train` takes for each
Schedule = tuple[tuple[int, float], ...]  # of each cycle: epochs, and the highest learning rate

# What the shipped cascade was trained with (dvt_edge/zoo/dvt_cifar10.md), but for model and seed.
SCHEDULE: Schedule = ((32, 0.005),)
RECIPE = {
    "--optimizer": "muon",
    "--warmup-epochs": "1",
    "--mixup": "0",
    "--cutmix": "0",
    "--auto-augment": "rand-m6-n1-mstd0.5-inc1",
    "--erasing": "0.15",
    "--ema-decay": "0.998",
    "--distill": "0.4",
    "--workers": "0",
    "--amp": "bf16",
}
NO_FEATURES, NO_RELATIONS = "--no-feature-reuse", "--no-relation-reuse"
ALONE = [NO_FEATURES, NO_RELATIONS]
VARIANTS = {
    "static8": ["--grids", "8", *ALONE],
    "static4": ["--grids", "4", *ALONE],
    "static2": ["--grids", "2", *ALONE],
    "cascade": [],
    "no-reuse": ALONE,
    "no-feature-reuse": [NO_FEATURES],
    "no-relation-reuse": [NO_RELATIONS],
}
KEPT = ("options.json", "log.jsonl", "result.json")


def variants_of(model: str, cascade: Sequence[int], static: Sequence[int], depths: Sequence[int] = ()) -> Variants:
    """What `dvt-edge train` takes for a cascade over some grids, static models of some, and the cascade's ablations.

    `depths` are those of more static models, beside those of the recipe's depth.
    """
    grids = ["--grids", ",".join(map(str, cascade))]
    alone = {
        f"static{grid}" + f"-depth{depth}" * (depth > 0): [
            *("--name", f"{model}_static{grid}" + f"_depth{depth}" * (depth > 0), "--grids", f"{grid}", *ALONE),
            *(("--depth", f"{depth}") if depth else ()),
        ]
        for depth in (0, *depths)
        for grid in static
    }
    return {
        "cascade": ["--name", model, *grids],
        **alone,
        "no-reuse": ["--name", f"{model}_no_reuse", *grids, *ALONE],
        "no-feature-reuse": ["--name", f"{model}_no_features", *grids, NO_FEATURES],
        "no-relation-reuse": ["--name", f"{model}_no_relations", *grids, NO_RELATIONS],
    }


def chosen(variants: Sequence[str] | None, known: Collection[str]) -> Collection[str]:
    """Those that were asked for, or all. Raises typer.BadParameter for one that is not known."""
    if unknown := set(variants or ()) - set(known):
        raise typer.BadParameter(f"{min(unknown)}: expected one of {', '.join(known)}")
    return variants or known


def run_name(variant: str, schedule: Schedule, seed: int) -> str:
    return f"{variant}-{'+'.join(str(epochs) for epochs, _ in schedule)}ep-seed{seed}"


def train_variant(data: Path, runs: Path, model: str, variant: str, schedule: Schedule, seed: int) -> list[Path]:
    """Train one variant, those cycles that are not done; returns the run folder of each."""
    folders: list[Path] = []
    for count, (epochs, lr) in enumerate(schedule, start=1):
        folder = runs / model / run_name(variant, schedule[:count], seed)
        options = RECIPE | {"--model": model, "--epochs": str(epochs), "--lr": str(lr), "--seed": str(seed)}
        if folders:
            options["--init"] = str(folders[-1] / "cascade.safetensors")
        train(data, folder, options, VARIANTS[variant])
        folders.append(folder)
    return folders


def train(data: Path, folder: Path, options: Mapping[str, str], more: Sequence[str]) -> None:
    """`dvt-edge train` into a run's folder, from where it stopped; a finished run is left as it is."""
    if (folder / "result.json").exists():
        return
    words = [word for option in options.items() for word in option]
    command = [sys.executable, "-m", "dvt_edge", "train", str(data), str(folder), *words, *more]
    subprocess.run(command, check=True)


def keep_figures(folder: Path, results: Path) -> None:
    """Copy log and figures of the run `<model>/<run>` below `results`."""
    target = results / folder.parent.name / folder.name
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(folder / name, target / name)


def main(
    data: Path,
    epochs: Annotated[str, typer.Option(help="Of each cycle; default: the shipped cascade's.")] = "",
    lr: Annotated[str, typer.Option(help="The highest of each cycle; default: the shipped cascade's.")] = "",
    seed: int = 0,
    model: Annotated[str, typer.Option(help="A preset.")] = "dvt_cifar10",
    variant: Annotated[list[str] | None, typer.Option(help=", ".join(VARIANTS))] = None,
    runs: Path = Path("runs"),
    results: Path = Path("docs/results/runs"),
) -> None:
    lengths = [int(word) for word in epochs.split(",")] if epochs else [length for length, _ in SCHEDULE]
    rates = [float(word) for word in lr.split(",")] if lr else [rate for _, rate in SCHEDULE]
    if len(lengths) != len(rates):
        raise typer.BadParameter(f"{len(lengths)} cycles of --epochs and {len(rates)} of --lr")
    for name in chosen(variant, VARIANTS):
        for folder in train_variant(data, runs, model, name, tuple(zip(lengths, rates, strict=True)), seed):
            keep_figures(folder, results)


if __name__ == "__main__":
    typer.run(main)
