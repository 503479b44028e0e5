"""docs/results.md: the shipped cascade against static models, every table and figure from one run of this script.

    python export_scripts/make_results.py data            or `make results DATA=data`

Resumable: the static model is trained unless it is there, bundles and logits are made once and reused.
Ablations come from the logs in docs/results/runs (export_scripts/train_baselines.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from train_baselines import keep_figures, train_variant

from dvt_edge.atomic import write_text
from dvt_edge.bundle import CascadeBundle
from dvt_edge.cascade import Cascade
from dvt_edge.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.cli import progress
from dvt_edge.config import CascadeConfig
from dvt_edge.data import open_images
from dvt_edge.demo import exported
from dvt_edge.evaluation import TURN, cumulative_macs
from dvt_edge.recipes import RECIPES
from dvt_edge.study import Study, run_study
from dvt_edge.tables import print_study

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "dvt-edge"  # the same figures give the same files
CHECKPOINT = "zoo:dvt_cifar10"
STATIC = "static8"
TIMED = 1000  # images
RUNNABLE = tuple(r for r in RECIPES if r.engine != "coreml")
PAPER = """The paper's own figures on CIFAR-10 (arXiv 2105.15075; models of 224 px, pretrained on ImageNet). Nothing
here reproduces them, since neither ImageNet nor the released weights were at hand:

| model | static, GMACs | DVT at the same top-1, GMACs | times fewer | top-1 |
|---|---|---|---|---|
| T2T-ViT-10 | 1.53 | 0.50 | 3.1 | 97.21 % |
| T2T-ViT-12 | 1.78 | 0.52 | 3.4 | 97.46 % |
| T2T-ViT-14 | 4.80 | 0.77 | 6.2 | 98.19 % |
"""


def md(columns: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def mega(value: float) -> str:
    return f"{value / 1e6:.2f}"


# -- tables ----------------------------------------------------------------------------------------------------------


def exits_table(result: dict[str, Any]) -> str:
    rows = []
    for found in (*result["evaluations"], *result["statics"]):
        name = found["target"] if found in result["evaluations"] else f"static 8x8, {found['target']}"
        for k, top1 in enumerate(found["top1"]):
            low, high = found["interval"][k]
            rows.append([name, str(k), mega(found["macs"][k]), percent(top1), f"{percent(low)} to {percent(high)}"])
    return md(["artifact", "exit", "MMACs", "top-1", "95 % interval"], rows)


def equal_table(result: dict[str, Any]) -> str:
    rows = []
    for row in result["equal_accuracy"]:
        static, ours, crossing = row["static"], row["cascade"], row["crossing"]
        reads = "never reaches it" if crossing is None else f"{crossing['fewer_macs']:.2f}"
        rows.append(
            [
                static["target"],
                f"{percent(static['top1'])} at {mega(static['macs'])}",
                f"{percent(ours['top1'])} at {mega(ours['cost'])}",
                f"{row['fewer_macs']:.2f}",
                reads,
            ]
        )
    columns = ["static 8x8", "its top-1 and MMACs", "cascade, thresholds from held-out images", "times fewer MACs"]
    return md([*columns, "where the test curve itself crosses"], rows)


def times_table(result: dict[str, Any]) -> str:
    rows = []
    for t in result["times"]:
        statics = [
            s["mean_ms"] for s in result["times"] if s["target"] == t["target"] and s["run"].startswith("static")
        ]
        gain = f"{statics[0] / t['mean_ms']:.2f}" if statics else "-"
        figures = [f"{t[k]:.3f}" for k in ("mean_ms", "median_ms", "p95_ms")]
        rows.append([t["target"], t["run"], percent(t["top1"]), mega(t["macs"]), *figures, gain])
    columns = ["artifact", "run", "top-1", "mean MMACs", "mean ms", "median ms", "p95 ms", "times faster than static"]
    return md(columns, rows)


def throughput_table(result: dict[str, Any]) -> str:
    return md(["run", "images a second"], [[row["run"], f"{row['images_per_s']:.0f}"] for row in result["throughput"]])


def carry_table(result: dict[str, Any]) -> str:
    rows = []
    for row in result["carry_over"]:
        cells = [f"{percent(row[k]['top1'])} at {mega(row[k]['cost'])}" for k in ("carried", "own", "reference")]
        rows.append([row["target"], percent(row["loss"]), *cells])
    return md(["artifact", "aimed loss", "float's thresholds", "its own thresholds", "float artifact"], rows)


def ablation_table(runs: Path) -> str:
    rows = []
    for folder in sorted(p for p in runs.iterdir() if (p / "result.json").is_file()) if runs.is_dir() else ():
        asked, result = (json.loads((folder / f).read_text()) for f in ("options.json", "result.json"))
        config = CascadeConfig.from_dict(asked["model"])
        macs = " / ".join(mega(m) for m in cumulative_macs(Cascade(config).eval()))
        top1 = " / ".join(percent(v) for v in result["test_top1"])
        hours = f"{result['hours']:.2f}"
        rows.append([folder.name, str(result["epochs"]), str(asked["options"]["seed"]), macs, top1, hours])
    columns = ["run", "epochs", "seed", "MMACs, cumulative", "top-1 per exit", "hours"]
    return md(columns, rows) if rows else "None trained yet.\n"


def class_table(result: dict[str, Any]) -> str:
    classes = result["examples"]["classes"]
    return md(
        ["class", "leaves at exit 0", "exit 1", "needs the last"],
        [[name, *(f"{100 * s:.0f} %" for s in found["exit_shares"])] for name, found in classes.items()],
    )


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
    axes.plot(
        np.array(found["macs"]) / 1e6, 100 * np.array(found["top1"]), "ko", label="anytime: all leave at one exit"
    )
    for static in result["statics"]:
        if static["target"] == "pytorch":
            axes.plot(static["macs"][0] / 1e6, 100 * static["top1"][0], "r*", markersize=12, label="static 8x8")
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
                axes.plot(t["mean_ms"], 100 * t["top1"], "*", color=f"C{index}", markersize=12)
    axes.set(xlabel="mean milliseconds an image, batch 1, one thread", ylabel="top-1 on the test images, %")
    axes.grid(alpha=0.3)
    axes.legend(title="stars: static 8x8 of the same target")
    save(figure, path)


def plot_examples(result: dict[str, Any], data: Path, path: Path) -> None:
    images = open_images(data, "test")
    classes = result["examples"]["classes"]
    shown = max(len(found["easy"]) for found in classes.values())
    figure = Figure(figsize=(1 + 1.1 * 2 * shown, 1.15 * len(classes)), layout="constrained")
    grid = figure.subplots(len(classes), 2 * shown, squeeze=False)
    for row, (name, found) in zip(grid, classes.items(), strict=True):
        for axes, example in zip(row, [*padded(found["easy"], shown), *padded(found["hard"], shown)], strict=True):
            axes.axis("off")
            if example is not None:
                axes.imshow(images[example["image"]], interpolation="nearest")
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


def padded(rows: list[Any], length: int) -> list[Any]:
    return rows + [None] * (length - len(rows))


# -- the page --------------------------------------------------------------------------------------------------------


def overhead_text(result: dict[str, Any], out: Path, target: str = "onnx-int8") -> str:
    """Why time falls less than MACs, in this run's numbers."""
    first, alone = (CascadeBundle.open(out / folder / target).manifest.stages[0] for folder in ("bundles", "static"))
    rows = {t["run"]: t["mean_ms"] for t in result["times"] if t["target"] == target}
    static = next(ms for run, ms in rows.items() if run.startswith("static"))
    earliest = min(rows.values())
    faster, fewer = static / earliest, alone.macs / first.macs
    return (
        f"Time falls less than MACs do. On {target} the fastest run, at exit 0 almost always, takes {earliest:.3f} ms: "
        f"{faster:.2f} times less than the static model, for {fewer:.2f} times fewer MACs. The two graphs have "
        f"{first.operators.delegated} and {alone.operators.delegated} operators, which suggests that at this size "
        "starting operators takes a good part of the time, and a stage of five tokens has as many to start."
    )


def page(result: dict[str, Any], command: str, runs: Path, overhead: str) -> str:
    last = result["evaluations"][0]["last_share"]
    return f"""# Results on CIFAR-10

Made by `{command}`; every figure below is from that run, its numbers in [eval.json](results/eval.json).

- **Model:** {CHECKPOINT}, SHA-256 `{result["checkpoint_sha256"]}` ([model card](../dvt_edge/zoo/dvt_cifar10.md)).
- **Data:** {result["data"]}.
- **Machine:** {result["machine"]}; one thread.
- **MACs** are those of the graphs that ship, reuse matrices included.

## Each exit, each artifact

All test images, every stage run. Core ML artifacts do not run on Linux and are not in any table.

{exits_table(result)}
{percent(last)} of the test images are answered rightly by the last exit alone: the most that early exit can lose.

## Less compute at the same accuracy

![top-1 against mean MACs](results/budget.svg)

The static model is the 8x8 stage alone, without reuse, trained by the same command for as many epochs (run
`{STATIC}` below). The thresholds are those that reach its accuracy on the held-out images.

{equal_table(result)}
## And in time

Batch 1, one thread, {TIMED} test images; all runs of a target take turns, {TURN} images each. Stages, confidences and
the choice of exit are counted, decoding is not. Top-1 is that of the same thresholds on all test images.

![top-1 against milliseconds](results/latency.svg)

{times_table(result)}
{overhead}

In batches of 64 in PyTorch, answered images leaving the batch:

{throughput_table(result)}
## Quantized artifacts: thresholds carried over, or found anew

Thresholds found on the float artifact's held-out logits, used on the quantized one, against thresholds found on its
own; top-1 and mean MMACs on the test images.

{carry_table(result)}
## Easy and hard

At the thresholds that lose half a point on the held-out images. The number is the confidence of exit 0; a wrong answer
is named in red.

![easy and hard images](results/examples.png)

{class_table(result)}
## Baselines and ablations

The same recipe and data, one difference each; logs in [results/runs](results/runs). Runs of different lengths are not
to be compared with one another.

{ablation_table(runs)}
## What the paper reports

{PAPER}"""


def main(
    data: Path,
    out: Annotated[Path, typer.Option(help="Bundles and logits, kept between runs.")] = Path("build/results"),
    docs: Path = Path("docs"),
    runs: Path = Path("runs"),
    epochs: Annotated[int, typer.Option(help="Of the static model; the shipped cascade had as many.")] = 32,
) -> None:
    static = train_variant(data, runs, STATIC, epochs, 0)
    keep_figures(static, docs / "results/runs")
    weights = static / "cascade.safetensors"
    with progress() as report:
        for recipe in RUNNABLE:
            for folder, checkpoint in (("bundles", CHECKPOINT), ("static", str(weights))):
                cascade, digest = load_cascade(checkpoint), str(checkpoint_sha256(checkpoint))
                exported(recipe, cascade, digest, out / folder / recipe.name, report)
        bundles = tuple(out / "bundles" / r.name for r in RUNNABLE)
        statics = (weights, *(out / "static" / r.name for r in RUNNABLE))
        result = run_study(Study(CHECKPOINT, str(data), out, bundles=bundles, statics=statics, timed=TIMED), report)
    print_study(Console(), result)
    plot_budget(result, docs / "results/budget.svg")
    plot_latency(result, docs / "results/latency.svg")
    plot_examples(result, data, docs / "results/examples.png")
    write_text(docs / "results/eval.json", json.dumps(result, indent=1) + "\n")
    write_text(
        docs / "results.md", page(result, "make results DATA=data", docs / "results/runs", overhead_text(result, out))
    )


if __name__ == "__main__":
    typer.run(main)
