"""docs/results.md from the figures of make_photographs.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from results_tables import (
    SHOWN_LOSSES,
    Answers,
    carry_table,
    dominated_text,
    equal_table,
    exits_table,
    last_table,
    md,
    mega,
    paragraph,
    percent,
    points,
    search_text,
    throughput_table,
    times_table,
)

from dvt_edge.calibration.confidence import wilson
from dvt_edge.evaluation.curves import REPEATS, TURN
from dvt_edge.evaluation.intervals import DRAWS, Interval, bootstrap, paired_difference

COMMAND = "make photographs DATA=GroceryStoreDataset"
MODEL = "dvt_grocery"
CHECKPOINT = f"zoo:{MODEL}"
RUN = "cascade-11ep-seed0"  # the training run that it came from
SHOWN_CLASSES = 8  # that leave first, and that leave last


def coarse_table(result: dict[str, Any]) -> str:
    images = result["evaluations"][0]["images"]
    rows = []
    for target, top1 in result["coarse_top1"].items():
        for k, value in enumerate(top1):
            low, high = wilson(round(value * images), images)
            rows.append([target, str(k), percent(value), f"{percent(low)} to {percent(high)}"])
    return md(["artifact", "exit", "coarse top-1", "95 % interval"], rows)


Mixed = tuple[str, float, float, float, Interval]  # run, MACs, top-1, the mixture's top-1, the difference's interval


def mixtures(result: dict[str, Any], answers: Answers) -> list[Mixed]:
    """The cascade in float at each aimed loss, against static models of its mean MACs.

    Of those MACs at most, the best is taken: one static model alone, or two and a coin that sends each photograph to
    one of them. Runs that are cheaper than every static model are left out.
    """
    ours = result["evaluations"][0]
    alike = [s for s in result["statics"] if s["target"] == ours["target"]]
    statics = [(s["macs"][0], answers[f"{s['static']}, {s['target']}/right"][:, 0].astype(float)) for s in alike]
    right, macs = answers[f"{ours['target']}/right"], np.asarray(ours["macs"])
    found = []
    for loss in SHOWN_LOSSES:
        exits = answers[f"{ours['target']}/loses {100 * loss:g} %"]
        cost, mine = float(macs[exits].mean()), right[np.arange(len(exits)), exits].astype(float)
        below = [s for s in statics if s[0] <= cost]
        if not below:
            continue
        above = [s for s in statics if s[0] > cost]
        coins = [less + (cost - low) / (high - low) * (more - less) for low, less in below for high, more in above]
        theirs = max([*(alone for _, alone in below), *coins], key=np.mean)
        interval = bootstrap(np.stack([mine, theirs], axis=1), lambda means: means[:, 0] - means[:, 1])
        found.append((f"loses {100 * loss:g} %", cost, float(mine.mean()), float(np.mean(theirs)), interval))
    return found


Runs = dict[str, dict[str, Any]]  # the result.json of each training run, by its folder's name


def read_runs(place: Path) -> Runs:
    """Those of the page's folder of results."""
    return {
        path.parent.name: json.loads(path.read_text())
        for path in sorted((place / "runs" / MODEL).glob("*/result.json"))
    }


def verdict(result: dict[str, Any], answers: Answers, runs: Runs) -> str:
    """What the figures say of the method on these photographs, in words and a table."""
    if not result["statics"]:
        return ""
    ours = result["evaluations"][0]
    best = max((s for s in result["statics"] if s["target"] == ours["target"]), key=lambda s: s["top1"][0])
    pair = answers[f"{ours['target']}/right"][:, -1], answers[f"{best['static']}, {best['target']}/right"][:, 0]
    low, high = paired_difference(*pair)
    mixed = mixtures(result, answers)
    wins = any(interval[0] > 0 for *_, interval in mixed)
    loses = high < 0 and not wins
    rows = [
        [run, f"{cost / 1e6:.0f}", percent(mine), percent(theirs), points(mine - theirs, interval)]
        for run, cost, mine, theirs, interval in mixed
    ]
    alone = best["static"]
    more, cost = points(ours["top1"][-1] - best["top1"][0], (low, high)), ours["macs"][-1] / best["macs"][0]
    said = paragraph(
        "**The method does not win here.**" if loses else "**Against static models:**",
        f"The cascade's last exit has {more} points of top-1 over the {alone} model of the same recipe and epochs,",
        f"and takes {cost:.2f} times its MACs, since each stage has blocks of its own. At equal mean MACs, thresholds",
        "from the held-out photographs, the alternative is a coin that sends each one to one of two static models:",
    )
    columns = ["run", "mean MMACs", "cascade", "static models", "difference, points"]
    held_out, test = runs[RUN]["held_out_top1"][0], ours["top1"][0]
    why = paragraph(
        "An exit saves compute where it is right and knows it. Thresholds come from held-out photographs, of the shops",
        f"that the training ones are from: the first exit has {percent(held_out)} on them, and {percent(test)} on the",
        "test photographs.",
    )
    if again := better_training(best["top1"][0], runs):
        why += f"\n\n{again}"
    return f"## Does it pay?\n\n{said}\n\n{md(columns, rows)}\n{why}\n"


def better_training(top1: float, runs: Runs) -> str:
    """What is to be said where another training of a static model has more than the one that is compared."""
    alone = {name: run["test_top1"][0] for name, run in runs.items() if len(run["test_top1"]) == 1}
    name = max(alone, key=lambda name: alone[name], default="")
    if not name or alone[name] - top1 < 1e-4:
        return ""
    return paragraph(
        f"Another training of the same recipe and seed, {name}, has {percent(alone[name])},",
        f"{100 * (alone[name] - top1):.2f} points",
        "more than the static model of this comparison: one training of each proves no difference of that size.",
    )


def ablation_table(result: dict[str, Any], answers: Answers) -> str:
    """Each cascade without reuse against the one that is shipped, exit by exit, paired by photograph."""
    ours = result["evaluations"][0]
    right = answers[f"{ours['target']}/right"]
    rows = [["as shipped", str(k), mega(macs), percent(ours["top1"][k]), "-"] for k, macs in enumerate(ours["macs"])]
    for found in result["ablations"]:
        name = f"without {found['without']}"
        theirs = answers[f"{name}/right"]
        for k, top1 in enumerate(found["top1"]):
            interval = paired_difference(theirs[:, k], right[:, k])
            difference = points(top1 - ours["top1"][k], interval)
            rows.append([name, str(k), mega(found["macs"][k]), percent(top1), difference])
    return md(["cascade", "exit", "MMACs", "top-1", "against the shipped one, points"], rows)


def reuse_text(result: dict[str, Any], answers: Answers) -> str:
    if not result.get("ablations"):
        return ""
    ours = result["evaluations"][0]
    right = answers[f"{ours['target']}/right"][:, -1]
    gains = [paired_difference(right, answers[f"without {a['without']}/right"][:, -1]) for a in result["ablations"]]
    said = "What it gives to the last exit is within the intervals of one training each"
    if any(high < 0 for _, high in gains):
        said = "**Reuse costs accuracy at the last exit here**, as far as one training of each tells"
    elif all(low > 0 for low, _ in gains):
        said = "**The last exit is better with reuse**, as far as one training of each tells"
    about = "Cascades of the same recipe, epochs and seed with a reuse left out, in PyTorch, every stage run:"
    return f"""## What reuse gives

{paragraph(f"{said}.", about)}

{ablation_table(result, answers)}
"""


def runs_table(runs: Runs) -> str:
    def shares(values: list[float]) -> str:
        return " / ".join(percent(v) for v in values)

    rows = [
        [
            name,
            shares(run["held_out_top1"]),
            shares(run["test_top1"]),
            shares(run["test_coarse_top1"]),
            f"{run['hours']:.2f}",
        ]
        for name, run in runs.items()
    ]
    return md(["run", "held out, 300", "test", "test, coarse", "hours"], rows)


def class_shares_table(result: dict[str, Any]) -> str:
    """The classes of which most and fewest photographs leave at exit 0."""
    shares = {name: found["exit_shares"] for name, found in result["examples"]["classes"].items()}
    order = sorted(shares, key=lambda name: -shares[name][0])
    shown = order if len(order) <= 2 * SHOWN_CLASSES else [*order[:SHOWN_CLASSES], *order[-SHOWN_CLASSES:]]
    exits = len(next(iter(shares.values())))
    return md(["class", *(f"exit {k}" for k in range(exits))], [[n, *(f"{v:.0%}" for v in shares[n])] for n in shown])


def statics_text(result: dict[str, Any], answers: Answers) -> str:
    if not result["statics"]:
        return paragraph(
            "No static model was trained on these photographs by this recipe yet. The figures below say what leaving",
            "early saves of this cascade's own cost, and nothing of whether one smaller model would do as well for it.",
        )
    return f"""A static model is one stage, alone and without reuse, trained by the same recipe. At each one's accuracy,
with thresholds that reach it on the held-out photographs:

{equal_table(result, answers)}
{dominated_text(result)}"""


def page(result: dict[str, Any], answers: Answers, runs: Runs) -> str:
    ours = result["evaluations"][0]
    coarse = ""
    if "coarse_top1" in result:
        coarse = f"""The same answers by the data's {result["coarse_classes"]} coarse classes:

{coarse_table(result)}
"""
    shares = np.array([found["exit_shares"] for found in result["examples"]["classes"].values()])
    return f"""# Results on photographs, at 224 px

Made by `{COMMAND}`; every figure below is from that run, its numbers in
[eval.json](results/photographs/eval.json). The small cascade of 32 px has [a page of its own](results-cifar10.md).

- **Model:** {CHECKPOINT}, SHA-256 `{result["checkpoint_sha256"]}` ([model card](../dvt_edge/zoo/{MODEL}.md)).
- **Data:** {result["data"]}; smartphone photographs of groceries (arXiv 1901.00711).{search_text(result)}
- **Machine:** {result["machine"]}; one thread.
- **MACs** are those of the graphs that ship, reuse matrices included.
- **In parentheses:** 95 % intervals over the test photographs, by a bootstrap of {DRAWS:,} draws, paired by each
  photograph's answers ([answers.npz](results/photographs/answers.npz)). The cascade is of one seed: what another seed
  would have given is in none of them.

![top-1 against mean MACs](results/photographs/budget.svg)

{verdict(result, answers, runs)}
{reuse_text(result, answers)}## Each exit, each artifact

All test photographs, every stage run. Core ML artifacts do not run on Linux and are not in any table.

{exits_table(result)}
{coarse}{percent(ours["last_share"])} of the test photographs are answered rightly by the last exit alone.

## Less compute

{statics_text(result, answers)}

Early exit against running every stage of the same cascade, thresholds from held-out photographs:

{last_table(result, answers)}
The held-out photographs are few and of the training images' shops: a loss that was aimed at there is not what the test
photographs show.

## And in time

Batch 1, one thread, {result["times"][0]["images"]} test photographs drawn at random; all runs of a target take turns,
{TURN} photographs each, and each is timed {REPEATS} times, of which the median counts. Stages, confidences and the
choice of exit are counted, decoding is not. Top-1 is that of the same thresholds on all test photographs.

{times_table(result)}
In batches of 64 in PyTorch, answered photographs leaving the batch; the runs take turns, the best of three:

{throughput_table(result)}
## Quantized artifacts: thresholds carried over, or found anew

{carry_table(result)}
## Where photographs leave

At the thresholds that lose half a point on the held-out photographs, {shares[:, 0].mean():.0%} of a class leave at exit
0 on average. The classes of which most and of which fewest do:

{class_shares_table(result)}
## Training runs

Top-1 as each run itself measured it, exit by exit; logs and options are [beside the figures](results/photographs/runs).
Those that end in "two-threads" are the same recipe and seed, trained earlier on two threads instead of one, which
changes the order of sums: what lies between the two is what one training more or less makes.

{runs_table(runs)}
The easy and the hard photographs of each class are in build/photographs/examples.png after the command: they are not
ours to ship.
"""
