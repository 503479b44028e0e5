"""The baselines and ablations of docs/results.md: the same recipe, data and epochs, one difference each.

    python export_scripts/train_baselines.py data --epochs 8 --seed 0            all variants, one after the other
    python export_scripts/train_baselines.py data --epochs 32 --variant static8  one, as long as the shipped cascade

A killed run goes on where it stopped, a finished one is skipped. Logs and figures, not the weights, are copied to
docs/results/runs/<model>/.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

# What the shipped cascade was trained with (dvt_edge/zoo/dvt_cifar10.md), but for model, epochs and seed.
RECIPE = {
    "--optimizer": "muon",
    "--lr": "0.005",
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
VARIANTS = {
    "static8": ["--grids", "8", NO_FEATURES, NO_RELATIONS],
    "static4": ["--grids", "4", NO_FEATURES, NO_RELATIONS],
    "static2": ["--grids", "2", NO_FEATURES, NO_RELATIONS],
    "cascade": [],
    "no-reuse": [NO_FEATURES, NO_RELATIONS],
    "no-feature-reuse": [NO_FEATURES],
    "no-relation-reuse": [NO_RELATIONS],
}
KEPT = ("options.json", "log.jsonl", "result.json")


def run_name(variant: str, epochs: int, seed: int) -> str:
    return f"{variant}-{epochs}ep-seed{seed}"


def train_variant(data: Path, runs: Path, model: str, variant: str, epochs: int, seed: int) -> Path:
    """Train one variant unless it is done; returns its run folder."""
    folder = runs / model / run_name(variant, epochs, seed)
    if not (folder / "result.json").exists():
        recipe = [word for option in (RECIPE | {"--model": model}).items() for word in option]
        command = [sys.executable, "-m", "dvt_edge", "train", str(data), str(folder), *recipe, *VARIANTS[variant]]
        subprocess.run([*command, "--epochs", str(epochs), "--seed", str(seed)], check=True)
    return folder


def keep_figures(folder: Path, results: Path) -> None:
    """Copy log and figures of the run `<model>/<run>` below `results`."""
    target = results / folder.parent.name / folder.name
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(folder / name, target / name)


def main(
    data: Path,
    epochs: Annotated[int, typer.Option(min=1)] = 6,
    seed: int = 0,
    model: Annotated[str, typer.Option(help="A preset.")] = "dvt_cifar10",
    variant: Annotated[list[str] | None, typer.Option(help=", ".join(VARIANTS))] = None,
    runs: Path = Path("runs"),
    results: Path = Path("docs/results/runs"),
) -> None:
    for name in variant or VARIANTS:
        if name not in VARIANTS:
            raise typer.BadParameter(f"{name}: expected one of {', '.join(VARIANTS)}")
        keep_figures(train_variant(data, runs, model, name, epochs, seed), results)


if __name__ == "__main__":
    typer.run(main)
