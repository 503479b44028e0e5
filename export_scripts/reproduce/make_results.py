"""docs/results-cifar10.md: the shipped cascade against static models, every table and figure from one run of this.

    python export_scripts/reproduce/make_results.py data            or `make results DATA=data`

Resumable: static models are trained unless they are there, bundles and logits are made once and reused.
Ablations come from the logs in docs/results/runs (export_scripts/reproduce/train_baselines.py).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray
from results_page import (
    CHECKPOINT,
    MODEL,
    STATICS,
    TAKEN_APART,
    TIMED,
    page,
    read_runs,
    seed_noise,
    statics_as_long,
)
from results_tables import percent, read_answers
from rich.console import Console
from train_baselines import SCHEDULE, keep_figures, train_variant

from dvt_edge.atomic import write_text
from dvt_edge.cli.options import progress
from dvt_edge.cli.tables import print_study
from dvt_edge.data.reading import open_images
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.preprocess import preprocess
from dvt_edge.evaluation.study import Study, run_study
from dvt_edge.exporting.pipeline import export
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.network.cascade import Block, Cascade, Stage
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.network.pixels import normalise
from dvt_edge.network.presets import PRESETS

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "dvt-edge"  # the same figures give the same files
TARGETS = ("onnx-fp32", "onnx-int8", "executorch-xnnpack-fp32", "executorch-xnnpack-int8")  # others: docs/targets.md
RUNNABLE = tuple(map(recipe_for, TARGETS))


# -- figures ---------------------------------------------------------------------------------------------------------


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def plot_budget(result: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    found = result["evaluations"][0]
    for method, style, label in (
        ("joint", "-", "joint thresholds (ours)"),
        ("shared", "--", "one threshold for all exits"),
        ("paper", ":", "the paper's search"),
    ):
        points = sorted((p["cost"] / 1e6, 100 * p["top1"]) for p in found["curves"][method])
        axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1.8)
    for other in result.get("others", ()):
        if other.get("against"):  # held against another one than this
            continue
        costs, top1 = np.array(other["curve"]).T
        axes.plot(costs / 1e6, 100 * top1, linewidth=0.9, label=other["name"])
    axes.plot(
        np.array(found["macs"]) / 1e6, 100 * np.array(found["top1"]), "ko", label="anytime: all leave at one exit"
    )
    ours = [point["top1"] for points in found["curves"].values() for point in points]
    lowest = min(ours) - max(2 * (max(ours) - min(ours)), 0.02)  # of what is drawn: others would flatten the curves
    statics = [s for s in result["statics"] if s["target"] == found["target"]]
    alone = [s for s in statics if s["top1"][0] >= lowest]
    if below := [f"{s['static']}, {percent(s['top1'][0])}" for s in statics if s not in alone]:
        axes.text(0.02, 0.02, f"below: {'; '.join(below)}", transform=axes.transAxes, color="crimson", fontsize=8)
    axes.plot([s["macs"][0] / 1e6 for s in alone], [100 * s["top1"][0] for s in alone], "r*", markersize=12)
    for static in alone:
        where = (static["macs"][0] / 1e6, 100 * static["top1"][0])
        axes.annotate(static["static"], where, (8, -12), textcoords="offset points", color="crimson")
    axes.margins(y=0.08)  # the labels stand below their stars
    axes.set(xlabel="mean MMACs an image", ylabel="top-1 on the test images, %")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def plot_latency(result: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    targets = list(dict.fromkeys(t["target"] for t in result["times"]))
    for index, target in enumerate(targets):
        rows = [t for t in result["times"] if t["target"] == target]
        early = sorted((t["mean_ms"], 100 * t["top1"]) for t in rows if not t["run"].startswith("static"))
        axes.plot(*zip(*early, strict=True), "o-", color=f"C{index}", label=target, markersize=4)
        for t in rows:
            if t["run"].startswith("static"):
                where = (t["mean_ms"], 100 * t["top1"])
                axes.plot(*where, "*", color=f"C{index}", markersize=12)
                if index == 0:
                    axes.annotate(t["run"].removeprefix("static "), where, (6, 4), textcoords="offset points")
    axes.set(xlabel="mean milliseconds an image, batch 1, one thread", ylabel="top-1 on the test images, %")
    axes.grid(alpha=0.3)
    axes.legend(title="stars: static models")
    save(figure, path)


def plot_examples(result: dict[str, Any], data: Path, checkpoint: str, path: Path) -> None:
    images, config = open_images(data, "test"), load_cascade(checkpoint).config
    classes = result["examples"]["classes"]
    shown = max(len(found["easy"]) for found in classes.values())
    figure = Figure(figsize=(1 + 1.1 * 2 * shown, 1.15 * len(classes)), layout="constrained")
    grid = figure.subplots(len(classes), 2 * shown, squeeze=False)
    for row, (name, found) in zip(grid, classes.items(), strict=True):
        for axes, example in zip(row, [*padded(found["easy"], shown), *padded(found["hard"], shown)], strict=True):
            axes.axis("off")
            if example is not None:
                pixels = preprocess(images[example["image"]], config.image_size, config.resize)
                axes.imshow(pixels, interpolation="nearest")
                right = example["answer"] == name
                axes.set_title(
                    f"{example['confidence'][0]:.2f}" + ("" if right else f" {example['answer']}"),
                    fontsize=7,
                    color="black" if right else "crimson",
                    pad=2,
                )
        row[0].text(-0.25, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=9)
    figure.suptitle("left: leave at exit 0      right: need the last exit", fontsize=10)
    save(figure, path)


def last_attention(stage: torch.nn.Module) -> torch.nn.Module:
    assert isinstance(stage, Stage)
    block = stage.blocks[-1]
    assert isinstance(block, Block)
    return block.attn


def attention_maps(cascade: Cascade, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """(side, side) an exit: how much the class token attends to each token in the last block, mean over the heads."""
    seen: list[torch.Tensor] = []
    hooks = [
        last_attention(stage).register_forward_hook(lambda module, given, found: seen.append(found[1]))
        for stage in cascade.stages
    ]
    with torch.inference_mode():
        cascade.eval()(normalise(torch.from_numpy(pixels)[None], cascade.config))
    for hook in hooks:
        hook.remove()
    sides = cascade.config.grids
    maps = (r.softmax(dim=-1)[0, :, 0, 1:].mean(dim=0) for r in seen)  # (heads, N, N) -> (n,)
    return [m.reshape(side, side).numpy() for m, side in zip(maps, sides, strict=True)]


def plot_attention(result: dict[str, Any], data: Path, path: Path) -> None:
    """For each class, the image that was least sure at exit 0 of those that need the last one."""
    images, cascade = open_images(data, "test"), load_cascade(CHECKPOINT)
    config = cascade.config
    hard = {name: found["hard"][0] for name, found in result["examples"]["classes"].items() if found["hard"]}
    figure = Figure(figsize=(1.25 * len(hard), 1.3 * (1 + config.num_exits)), layout="constrained")
    grid = figure.subplots(1 + config.num_exits, len(hard), squeeze=False)
    for column, (name, example) in zip(grid.T, hard.items(), strict=True):
        pixels = preprocess(images[example["image"]], config.image_size, config.resize)
        column[0].imshow(pixels, interpolation="nearest")
        column[0].set_title(name, fontsize=9, pad=3)
        for k, (axes, seen) in enumerate(zip(column[1:], attention_maps(cascade, pixels), strict=True)):
            axes.imshow(pixels.mean(axis=2), cmap="gray", interpolation="nearest")
            box = (-0.5, config.image_size - 0.5, config.image_size - 0.5, -0.5)
            axes.imshow(seen, extent=box, cmap="inferno", alpha=0.6, vmin=0, interpolation="nearest")
            right = example["answers"][k] == name
            axes.set_title(example["answers"][k], fontsize=8, color="black" if right else "crimson", pad=2)
    for axes in grid.flat:
        axes.axis("off")
    for k in range(config.num_exits):
        where = grid[1 + k, 0]
        where.text(-0.15, 0.5, f"exit {k}", transform=where.transAxes, rotation=90, ha="right", va="center", fontsize=9)
    save(figure, path)


def padded(rows: list[Any], length: int) -> list[Any]:
    return rows + [None] * (length - len(rows))


# -- all of it -------------------------------------------------------------------------------------------------------


def first_operators(out: Path, target: str = TAKEN_APART) -> list[int]:
    """Operators of the graphs of the cascade's first stage and of the largest static model."""
    folders = (out / name / target for name in ("bundles", STATICS[0]))
    return [CascadeBundle.open(folder).manifest.stages[0].operators.delegated for folder in folders]


def main(
    data: Path,
    out: Annotated[Path, typer.Option(help="Bundles and logits, kept between runs.")] = Path("build/results"),
    docs: Path = Path("docs"),
    runs: Path = Path("runs"),
) -> None:
    if load_cascade(CHECKPOINT).config != PRESETS[MODEL]:
        raise typer.BadParameter(f"{CHECKPOINT} is not of the preset {MODEL}, which its static models are of")
    weights: dict[str, str] = {}
    for variant in STATICS:
        folders = train_variant(data, runs, MODEL, variant, SCHEDULE, 0)
        for folder in folders:
            keep_figures(folder, docs / "results/runs")
        weights[variant] = str(folders[-1] / "cascade.safetensors")
    trained = [run for run in read_runs(docs / "results/runs") if run.model == MODEL]
    with progress() as report:
        for recipe in RUNNABLE:
            for name, checkpoint in {"bundles": CHECKPOINT, **weights}.items():
                cascade, digest = load_cascade(checkpoint), checkpoint_sha256(checkpoint)
                folder = out / name / recipe.name
                export(cascade, recipe.name, folder, checkpoint_sha256=digest, cached=True, report=report)
        bundles = tuple(out / "bundles" / r.name for r in RUNNABLE)
        statics = [path for v in STATICS for path in (Path(weights[v]), *(out / v / r.name for r in RUNNABLE))]
        study = Study(CHECKPOINT, str(data), out, bundles=bundles, statics=tuple(statics), timed=TIMED)
        result = run_study(dataclasses.replace(study, tolerance=seed_noise(trained)), report)
    print_study(Console(), result)
    as_long = statics_as_long(trained)
    plot_budget(result, docs / "results/budget.svg")
    plot_latency(result, docs / "results/latency.svg")
    plot_examples(result, data, CHECKPOINT, docs / "results/examples.png")
    plot_attention(result, data, docs / "results/attention.png")
    result["operators"] = first_operators(out)
    write_text(docs / "results/eval.json", json.dumps(result, indent=1) + "\n")
    shutil.copyfile(out / "answers.npz", docs / "results/answers.npz")
    write_text(docs / "results-cifar10.md", page(result, trained, as_long, read_answers(docs / "results/answers.npz")))


if __name__ == "__main__":
    typer.run(main)
