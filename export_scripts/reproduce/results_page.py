"""docs/results-cifar10.md from the figures of make_results.py: its tables, and what may be said of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from results_tables import (
    Answers,
    carry_table,
    class_table,
    dominated_text,
    equal_table,
    exits_table,
    last_table,
    md,
    mega,
    paragraph,
    percent,
    search_text,
    throughput_table,
    times_table,
    top1_difference,
)
from train_baselines import SCHEDULE, VARIANTS, run_name

from dvt_edge.evaluation.curves import REPEATS, TURN, cumulative_macs
from dvt_edge.evaluation.intervals import DRAWS, unpaired_difference
from dvt_edge.evaluation.study import ALWAYS_LAST, equal_run
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import load_cascade
from dvt_edge.network.config import CascadeConfig

ABLATIONS = ("no-reuse", "no-feature-reuse", "no-relation-reuse")
COMMAND = "make results DATA=data"
MODEL = "dvt_cifar10"
CHECKPOINT = f"zoo:{MODEL}"
STATICS = ("static8", "static4", "static2")
LARGEST = "static 8x8"
TAKEN_APART = "onnx-int8"  # the artifact whose time is told in parts
TIMED = 1000  # images
PAPER = """The paper's own figures on CIFAR-10 (arXiv 2105.15075; models of 224 px, pretrained on ImageNet). Nothing
here reproduces them, since neither ImageNet nor the released weights were at hand:

| model | static, GMACs | DVT at the same top-1, GMACs | times fewer | top-1 |
|---|---|---|---|---|
| T2T-ViT-10 | 1.53 | 0.50 | 3.1 | 97.21 % |
| T2T-ViT-12 | 1.78 | 0.52 | 3.4 | 97.46 % |
| T2T-ViT-14 | 4.80 | 0.77 | 6.2 | 98.19 % |
"""


def alone_table(result: dict[str, Any], statics: list[Run], grids: Sequence[int]) -> str:
    """Each exit beside the static model of its grid."""
    alone = {run.config.grids[0]: run for run in statics}
    ours = result["evaluations"][0]
    rows = []
    for k, grid in enumerate(grids):
        run = alone.get(grid)
        figures = [percent(run.top1[0]), mega(run.macs[0])] if run else ["not trained", "-"]
        rows.append([str(k), f"{grid}x{grid}", percent(ours["top1"][k]), mega(ours["macs"][k]), *figures])
    return md(["exit", "tokens", "its top-1", "MMACs, cumulative", "static model's top-1", "its MMACs"], rows)


def best_static_text(result: dict[str, Any], runs: list[Run], answers: Answers) -> str:
    """What the best of the static models leaves to the cascade, in PyTorch."""
    ours = result["evaluations"][0]
    best = max((s for s in result["statics"] if s["target"] == ours["target"]), key=lambda s: s["top1"][0])
    name, top1, macs = best["static"], best["top1"][0], best["macs"][0]
    said = [f"The most accurate of them is {name}: {percent(top1)} at {mega(macs)} MMACs."]
    left = answers.get(f"{ours['target']}/right")
    right = answers.get(f"{name}, {ours['target']}/right")
    for exit_ in (0, len(ours["top1"]) - 1):
        pair = (None if left is None else left[:, exit_], None if right is None else right[:, 0])
        points = top1_difference(ours["top1"][exit_], top1, ours["images"], pair)
        said.append(
            f"Exit {exit_} less that model: {points} points, of one seed each{held_out_words(name, runs, exit_)}."
        )
    rows = [r for r in result["equal_accuracy"] if (r["static"], r["target"]) == (name, ours["target"])]
    crossing = next((r["crossing"] for r in rows if r["crossing"] and r["tolerance"] == 0), None)
    if crossing is None:
        return paragraph(*said, "The cascade reaches its top-1 on the test images at no point.")
    top = max(ours["curves"]["joint"], key=lambda p: p["top1"])
    return paragraph(
        *said,
        "The cheapest of all the cascade's points that has its top-1 on the test images takes",
        f"{mega(crossing['cost'])} MMACs, {crossing['cost'] / macs:.2f} times as many; chosen on the test images,",
        "so that thresholds found elsewhere take more.",
        f"The curve goes on to {percent(top['top1'])} at {mega(top['cost'])}.",
    )


def held_out_words(static: str, runs: list[Run], exit_: int) -> str:
    """What the images held out from training say of an exit and a static model, from the runs' own results."""
    whole = [r for r in runs if r.name == run_name("cascade", SCHEDULE, 0) and r.held_out]
    alone = [r for r in statics_as_long(runs) if static == "static {0}x{0}".format(r.config.grids[0]) and r.held_out]
    if not (whole and alone):
        return ""
    return f"; on the held-out images {100 * (whole[0].held_out[exit_] - alone[0].held_out[0]):+.2f}"


@dataclass(frozen=True)
class Run:
    """One training run of train_baselines.py, from its log."""

    model: str
    name: str
    variant: str
    epochs: int  # of all cycles
    seed: int
    config: CascadeConfig
    top1: tuple[float, ...]  # of each exit on the test images
    held_out: tuple[float, ...]
    hours: float

    @property
    def macs(self) -> tuple[int, ...]:
        return cumulative_macs(Cascade(self.config).eval())


def read_runs(folder: Path) -> list[Run]:
    found = []
    for path in sorted(folder.glob("*/*/result.json")):
        asked, result = (json.loads((path.parent / name).read_text()) for name in ("options.json", "result.json"))
        name, config = path.parent.name, CascadeConfig.from_dict(asked["model"])
        variant, length, _ = name.rsplit("-", 2)
        epochs, seed = sum(map(int, length.removesuffix("ep").split("+"))), asked["options"]["seed"]
        top1, held_out = (tuple(result.get(f"{part}_top1", ())) for part in ("test", "held_out"))
        found.append(Run(config.name, name, variant, epochs, seed, config, top1, held_out, result["hours"]))
    return found


def repeated(runs: list[Run]) -> list[list[Run]]:
    """Static models trained with several seeds, each with its runs."""
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in (r for r in runs if len(r.top1) == 1):
        groups.setdefault((run.model, run.variant, run.epochs), []).append(run)
    return [group for group in groups.values() if len(group) > 1]


def seed_noise(runs: list[Run]) -> float:
    """Standard deviation of a static model's top-1 over seeds, pooled over models; 0 where no model has two."""
    groups = [[run.top1[0] for run in group] for group in repeated(runs)]
    freedom = sum(len(g) - 1 for g in groups)
    squares = sum(float(np.var(g)) * len(g) for g in groups)
    return (squares / freedom) ** 0.5 if freedom else 0.0


def ablation_table(runs: list[Run]) -> str:
    """Means over seeds of one model's runs as long as its ablations, and against the cascade of the same seeds."""
    lengths = Counter(r.epochs for r in runs if len(r.top1) > 1 and r.variant != "cascade")
    epochs = max(lengths, key=lambda n: (lengths[n], -n), default=None)
    groups: dict[str, dict[int, Run]] = {}
    for run in runs:
        if run.epochs == epochs:
            groups.setdefault(run.variant, {})[run.seed] = run
    rows = []
    for variant in (v for v in VARIANTS if v in groups):
        found, whole = groups[variant], groups.get("cascade", {})
        macs = " / ".join(mega(m) for m in next(iter(found.values())).macs)
        cells = " / ".join(percent(v) for v in np.mean([r.top1 for r in found.values()], axis=0))
        shared, against = sorted(found.keys() & whole.keys()), "-"
        if variant in ABLATIONS and shared:
            gains = 100 * np.array([np.subtract(found[s].top1, whole[s].top1) for s in shared])  # (seeds, exits)
            against = " / ".join(f"{g.mean():+.2f} ({', '.join(f'{one:+.2f}' for one in g)})" for g in gains.T)
        rows.append([variant, ", ".join(map(str, sorted(found))), macs, cells, against])
    columns = [
        "variant",
        "seeds",
        "MMACs, cumulative",
        "top-1 per exit, mean",
        "against the cascade, points: mean (each seed)",
    ]
    return md(columns, rows) if rows else "None trained yet.\n"


def runs_table(runs: list[Run]) -> str:
    rows = []
    for run in runs:
        top1 = " / ".join(percent(v) for v in run.top1)
        rows.append([run.name, str(run.epochs), str(run.seed), top1, f"{run.hours:.2f}"])
    return md(["run", "epochs", "seed", "top-1 per exit", "hours"], rows)


# -- the page --------------------------------------------------------------------------------------------------------


def overhead_text(result: dict[str, Any], target: str = TAKEN_APART) -> str:
    """What the time at the static model's accuracy consists of, in this run's numbers."""
    operators = " and ".join(map(str, result["operators"]))
    fewer = next(r["static_macs"] for r in result["equal_accuracy"] if r["static"] == LARGEST)
    fewer /= result["evaluations"][0]["macs"][0]
    rows = {t["run"]: t for t in result["times"] if t["target"] == target}
    static, equal = rows[LARGEST], rows[equal_run(LARGEST, 0)]
    always = rows[ALWAYS_LAST]["stage_ms"]
    glue = equal["mean_ms"] - sum(s * ms for s, ms in zip(equal["ran"], equal["stage_ms"], strict=True))
    later = [
        f"- Stage {k}, which {equal['ran'][k]:.0%} of the images run, takes {equal['stage_ms'][k]:.3f} ms there, and "
        f"{always[k]:.3f} ms where every image runs it."
        for k in range(1, len(equal["stage_ms"]))
    ]
    return f"""What the time on {target} consists of, at the accuracy of {LARGEST}:

- Stage 0 takes {equal["stage_ms"][0]:.3f} ms and {LARGEST} {static["stage_ms"][0]:.3f} ms: \
{static["stage_ms"][0] / equal["stage_ms"][0]:.2f} times less, for {fewer:.2f} times fewer MACs. \
The graphs have {operators} operators.
{"".join(line + chr(10) for line in later)}\
- Confidences, the choice of exit and Python take {glue:.3f} ms an image, of a mean of {equal["mean_ms"]:.3f}."""


def page(result: dict[str, Any], runs: list[Run], statics: list[Run], answers: Answers) -> str:
    noise, grids = seed_noise(runs), load_cascade(CHECKPOINT).config.grids
    last, within = result["evaluations"][0]["last_share"], ""
    but = " unless it says otherwise" if "recomputed" in result else ""
    later = f"\n\n{recomputed_text(result['recomputed'])}" if "recomputed" in result else ""
    if noise:
        lengths = " and ".join(map(str, sorted({group[0].epochs for group in repeated(runs)})))
        within = f""", or that accuracy less
{100 * noise:.2f} points: the standard deviation of a static model's top-1 over seeds, pooled over those below that were
trained with several, for {lengths} epochs"""
    return f"""# Results on CIFAR-10

Made by `{COMMAND}`; every figure below is from that run{but}, its numbers in [eval.json](results/eval.json).{later}

- **Model:** {CHECKPOINT}, SHA-256 `{result["checkpoint_sha256"]}` ([model card](../dvt_edge/zoo/dvt_cifar10.md)).
- **Data:** {result["data"]}.{search_text(result)}
- **Machine:** {result["machine"]}; one thread.
- **MACs** are those of the graphs that ship, reuse matrices included.
- **In parentheses:** 95 % intervals over the test images, by a bootstrap of {DRAWS:,} draws; differences are paired by
  each image's answers ([answers.npz](results/answers.npz)). A u marks those where one side's were not kept: unpaired,
  from the counts, and if anything too wide. What another seed of training would have given is in none of them. A ratio
  of times without an interval is of a run that did not keep one.

## Each exit, each artifact

All test images, every stage run. Core ML artifacts do not run on Linux and are not in any table.

{exits_table(result)}
{percent(last)} of the test images are answered rightly by the last exit alone, whatever earlier one is chosen.

## Less compute at the same accuracy

![top-1 against mean MACs](results/budget.svg)

A static model is one stage, alone and without reuse, trained by the same command for as many epochs as the cascade:

{alone_table(result, statics, grids)}
What an exit has above the model of its grid, reuse and training with the others give it. The coarser a grid, the more
convolutions its stem has, two for each halving of the image: fewer tokens do not have to mean a weaker model, so every
static model has its own rows below.

{best_static_text(result, runs, answers)}

At each static model's accuracy, with thresholds that reach it on the held-out images{within}.
Milliseconds are means, from the next section.

{equal_table(result, answers)}
{dominated_text(result)}

Against running every stage of the same cascade:

{last_table(result, answers)}
## And in time

Batch 1, one thread, {TIMED} test images drawn at random; all runs of a target take turns, {TURN} images each, and each
image is timed {REPEATS} times, of which the median counts. Stages, confidences and the choice of exit are counted,
decoding is not. Top-1 is that of the same thresholds on all test images.

![top-1 against milliseconds](results/latency.svg)

{times_table(result)}
{overhead_text(result)}

In batches of 64 in PyTorch, answered images leaving the batch; the runs take turns, the best of three:

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
What the class token attends to in each exit's last block, mean over its heads: of each class, the image that exit 0 was
least sure of among those that need the last. Each exit's answer is above its map, in red where it is wrong.

![attention of the class token](results/attention.png)

## Where it comes from: ablations

The same recipe, data and few epochs for all, cascade included, one difference each:

{ablation_table(runs)}
{ablation_text(runs, result["evaluations"][0]["images"])}

Every run, its log in [results/runs](results/runs). Runs of different lengths are not to be compared with one another;
hours are by the clock of a machine that did other things too, and some runs were paused.

{runs_table(runs)}
## What the paper reports

{PAPER}"""


def recomputed_text(again: dict[str, Any]) -> str:
    """What recompute.py did after the run, and what it could not."""
    told = "; ".join(f"{target} {' / '.join(percent(v) for v in top1)}" for target, top1 in again["others"].items())
    others = (
        f"The others came out otherwise there (top-1 of the exits: {told}) and have the first run's figures; XNNPACK's"
        " ranges were histograms in both, and are the least and largest values now. [Recipes](recipes.md) has what"
        " today's artifacts keep."
        if told
        else ""
    )
    return paragraph(
        f"Later, `{again['command']}` on {again['machine']} computed the crossings and each image's answers, for the",
        f"artifacts that came out there with the SHA-256 of that run: {', '.join(again['same'])}. {others} The static",
        "models' weights were not kept: their rows, all times and all throughputs are of the first run.",
    )


def ablation_text(runs: list[Run], images: int) -> str:
    """How much of the table above is noise."""
    found = [r for r in runs if r.variant in ABLATIONS]
    if not found:
        return ""
    right = round(images * found[0].top1[0])
    _, high = unpaired_difference((right, images), (right, images))
    return paragraph(
        f"{len({r.seed for r in found})} seeds are too few for an interval over seeds,",
        "and these runs' answers were not kept: the parentheses hold each seed.",
        "From the test images alone, one run less another as good as it is within",
        f"{100 * high:.2f} points of 0 in 95 % of draws, unpaired.",
        "A difference below that, or one that changes its sign between seeds, shows nothing.",
    )


def statics_as_long(runs: list[Run]) -> list[Run]:
    """The static models that were trained as long as the shipped cascade."""
    return [r for r in runs if len(r.top1) == 1 and r.name == run_name(r.variant, SCHEDULE, 0)]
