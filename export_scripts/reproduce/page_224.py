"""The pages of 224 px, docs/results.md and docs/results-cifar224.md, from the figures of make_224.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cross_fitting import CROSSED, Differences, Exits
from cross_fitting import DRAWS as SAMPLES
from numpy.typing import NDArray
from results_tables import (
    SHOWN_LOSSES,
    Answers,
    carry_table,
    chosen,
    dominated_text,
    equal_table,
    exits_table,
    last_table,
    macs_interval,
    md,
    mega,
    paragraph,
    percent,
    points,
    ratio,
    search_text,
    throughput_table,
    times_table,
    top1_difference,
)
from train_baselines import Variants, variants_of

from dvt_edge.calibration.confidence import wilson
from dvt_edge.evaluation.curves import REPEATS, TURN
from dvt_edge.evaluation.intervals import DRAWS, Interval, bootstrap, paired_difference
from dvt_edge.evaluation.study import cost_run, equal_run, loss_run
from dvt_edge.exporting.recipes import recipe_for

SHOWN_CLASSES = 8  # that leave first, and that leave last
REDONE = """Those by thresholds from the other half, their times too, were computed
later from the logits and bundles that it kept. """
LOSING = tuple(loss_run(loss) for loss in SHOWN_LOSSES)
BF16 = 2e-3  # of top-1 on thousands of images: what evaluating in bf16 may change
NOT_LEFT_OUT = "None with a reuse left out was trained, so what each reuse gives is not told apart here"
APART = "the static models, one after another"  # what that cascade is called among the others


@dataclass(frozen=True)
class Subject:
    """What a page is of. Its figures are in docs/results/<name>, its bundles and logits in build/<name>."""

    name: str
    page: str  # in docs
    title: str
    images: str  # what they are called
    data: str  # what they are
    held_out: str  # how those that thresholds come from are akin to those of the figures
    model: str
    run: str  # the training run that it came from
    checkpoint: str
    command: str
    targets: tuple[str, ...]  # artifacts beside PyTorch
    script: str  # of export_scripts/reproduce, which trains it and what it is compared with
    variants: Variants  # all of these
    crossed: bool  # whether thresholds are taken from the test images' other half too, held-out ones being unlike them

    @property
    def ships(self) -> bool:
        """Its checkpoint is in the zoo; of one that is not, logits are kept beside the figures."""
        return self.checkpoint.startswith("zoo:")


PHOTOGRAPHS = Subject(
    name="photographs",
    page="results.md",
    title="photographs, at 224 px",
    images="photographs",
    data="smartphone photographs of groceries (arXiv 1901.00711)",
    held_out="are of the shops that the training ones are from",
    model="dvt_grocery",
    run="cascade-11ep-seed0",
    checkpoint="zoo:dvt_grocery",
    command="make photographs DATA=GroceryStoreDataset",
    script="train_photographs.py",
    variants=variants_of("dvt_grocery", cascade=(7, 14), static=(14, 7)),
    targets=("onnx-fp32", "onnx-int8", "executorch-xnnpack-int8-dynamic"),  # all: docs/recipes-photographs.md
    crossed=True,
)
CIFAR224 = Subject(
    name="cifar224",
    page="results-cifar224.md",
    title="CIFAR-10 upsampled to 224 px",
    images="images",
    data="CIFAR-10 (Krizhevsky, 2009), each image made 7 times larger a side",
    held_out="are training images that no step has seen",
    model="dvt_cifar10_224",
    run="cascade-2ep-seed0",
    checkpoint="runs/dvt_cifar10_224/cascade-2ep-seed0/cascade.safetensors",
    command="make cifar224 DATA=data",
    script="train_cifar224.py",
    variants=variants_of("dvt_cifar10_224", cascade=(7, 14), static=(7, 10, 14), depths=(3,)),
    targets=("onnx-int8",),
    crossed=False,
)
SUBJECTS = {subject.name: subject for subject in (PHOTOGRAPHS, CIFAR224)}


def coarse_table(result: dict[str, Any]) -> str:
    images = result["evaluations"][0]["images"]
    rows = []
    for target, top1 in result["coarse_top1"].items():
        for k, value in enumerate(top1):
            low, high = wilson(round(value * images), images)
            rows.append([target, str(k), percent(value), f"{percent(low)} to {percent(high)}"])
    return md(["artifact", "exit", "coarse top-1", "95 % interval"], rows)


@dataclass(frozen=True, eq=False)
class Duel:
    """One run of the cascade in float against another way to spend as much; `mine` and `theirs` are (images,), how
    likely each is answered rightly."""

    run: str
    other: str
    cost: float  # mean MACs, or milliseconds
    other_cost: float
    mine: NDArray[np.float64]
    theirs: NDArray[np.float64]

    @property
    def name(self) -> str:
        return f"{self.other}/{self.run}"

    @property
    def difference(self) -> float:
        return float(self.mine.mean() - self.theirs.mean())

    def interval(self, result: dict[str, Any], kind: str) -> Interval | None:
        """Of the difference: thresholds found anew for those of the other half (`CROSSED`), else as they were found."""
        if kind == CROSSED:
            return result["crossed"]["differences"].get(self.name)
        return bootstrap(np.stack([self.mine, self.theirs], axis=1), lambda means: means[:, 0] - means[:, 1])


def mixtures(result: dict[str, Any], answers: Answers, kind: str = "") -> list[Duel]:
    """The cascade in float at each aimed loss, against static models of its mean MACs; `kind` is "" or `CROSSED`."""
    ours = result["evaluations"][0]
    alike = [s for s in result["statics"] if s["target"] == ours["target"]]
    statics = [(s["macs"][0], answers[f"{s['static']}, {s['target']}/right"][:, 0].astype(float)) for s in alike]
    macs, names = np.asarray(ours["macs"]), [kind + run for run in (*LOSING, *(cost_run(s["static"]) for s in alike))]
    left = {run: exits for run in names if (exits := answers.get(f"{ours['target']}/{run}")) is not None}
    runs = {run: float(macs[exits].mean()) for run, exits in left.items()}
    return [
        duel for run, cost in runs.items() if (duel := against_the_best(answers, ours["target"], run, cost, statics))
    ]


def timed_mixtures(result: dict[str, Any], answers: Answers, target: str) -> list[Duel]:
    """The same of an artifact by the milliseconds that it and the static models' took in turns, thresholds from
    held-out images."""
    ms = {t["run"]: t["mean_ms"] for t in result["times"] if t["target"] == target}
    names = [s["static"] for s in result["statics"] if s["target"] == target]
    statics = [(ms[name], answers[f"{name}, {target}/right"][:, 0].astype(float)) for name in names]
    runs = {run: ms[run] for run in (*LOSING, *map(cost_run, names)) if run in ms}
    return [duel for run, cost in runs.items() if (duel := against_the_best(answers, target, run, cost, statics))]


def against_the_best(
    answers: Answers, target: str, run: str, cost: float, statics: Sequence[tuple[float, NDArray[np.float64]]]
) -> Duel | None:
    """A run of that mean cost against the best of `statics`, (cost, (images,) right), that cost no more.

    That is one static model alone, or two and a coin that sends each image to one of them. None where every one costs
    more than the run.
    """
    mine = chosen(answers, target, run)
    assert mine is not None
    below, above = [s for s in statics if s[0] <= cost], [s for s in statics if s[0] > cost]
    if not below:
        return None
    coins = [less + (cost - low) / (high - low) * (more - less) for low, less in below for high, more in above]
    theirs = max([*(alone for _, alone in below), *coins], key=np.mean)
    return Duel(run.removeprefix(CROSSED), "static models", cost, cost, mine.astype(float), theirs)


@dataclass(frozen=True, eq=False)
class Contest:
    """A cascade in float and the other ones that it is held against."""

    name: str  # of its answers
    shown: str
    figures: dict[str, Any]
    others: list[dict[str, Any]]


def contests(result: dict[str, Any]) -> list[Contest]:
    """The page's cascade first; then those that others of their own epochs are held against."""
    ours, known = result["evaluations"][0], {other["name"]: other for other in result["others"]}
    against: dict[str, list[dict[str, Any]]] = {"": []}
    for name, other in known.items():
        group = against.setdefault(other.get("against", ""), [])
        if name != other.get("against"):
            group.append(other)
    first = Contest(ours["target"], "this one", ours, against.pop(""))
    return [first, *(Contest(name, name, known[name], others) for name, others in against.items())]


def equal_costs(contest: Contest, answers: Answers, kind: str = "") -> list[Duel]:
    """A cascade against each other one, where both may cost as much on the images that give the thresholds."""
    macs, found = np.asarray(contest.figures["macs"]), []
    start = f"{contest.name}/{kind}"
    costs_as = [key.removeprefix(start) for key in answers if key.startswith(start + cost_run(""))]
    for run in (*LOSING, *costs_as):
        mine, exits = chosen(answers, contest.name, kind + run), answers[start + run]
        assert mine is not None
        for other in contest.others:
            theirs, left = chosen(answers, other["name"], kind + run), answers.get(f"{other['name']}/{kind}{run}")
            if theirs is None or left is None:  # it cannot be had so cheaply
                continue
            costs = float(macs[exits].mean()), float(np.asarray(other["macs"])[left].mean())
            found.append(Duel(run, other["name"], *costs, mine.astype(float), theirs.astype(float)))
    return found


def differences(result: dict[str, Any], answers: Answers) -> Differences:
    """What `cross_fitting.loss_intervals` redoes: each duel's difference, on some of the images."""

    def found(exits: Exits, images: NDArray[np.intp]) -> dict[str, float]:
        of_these = {name: rows[images] for name, rows in {**answers, **exits}.items()}
        duels = *mixtures(result, of_these, CROSSED), *equal_costs(contests(result)[0], of_these, CROSSED)
        return {duel.name: duel.difference for duel in duels}

    return found


Runs = dict[str, dict[str, Any]]  # the result.json of each training run, by its folder's name


def read_runs(place: Path, model: str) -> Runs:
    """Those of the page's folder of results."""
    files = sorted((place / "runs" / model).glob("*/result.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in files}


def best_static(result: dict[str, Any]) -> dict[str, Any]:
    """The figures in PyTorch of the most accurate one."""
    ours = result["evaluations"][0]
    return max((s for s in result["statics"] if s["target"] == ours["target"]), key=lambda s: s["top1"][0])


def at_its_accuracy(result: dict[str, Any], answers: Answers) -> str:
    """The cascade at the accuracy of the best static model, in each artifact: what early exit is held against."""
    static = best_static(result)["static"]
    rows = [r for r in result["equal_accuracy"] if r["static"] == static and r["tolerance"] == 0]
    times = {(t["target"], t["run"]): t for t in result["times"]}
    images, cells = result["evaluations"][0]["images"], []
    for row in rows:
        target, run, point = row["target"], equal_run(static, 0.0), row["cascade"]
        timed, alone = times.get((target, run)), times.get((target, static))
        right = answers.get(f"{static}, {target}/right")
        pair = chosen(answers, target, run), None if right is None else right[:, 0]
        fewer = macs_interval(result, point["shares"], row["static_macs"])
        interval = timed and timed.get("less_time", {}).get(static)
        less = ratio(alone["mean_ms"] / timed["mean_ms"], interval) if timed and alone else "-"
        cells.append(
            [
                target,
                percent(row["static_top1"]),
                top1_difference(point["top1"], row["static_top1"], images, pair),
                ratio(row["fewer_macs"], fewer),
                less,
            ]
        )
    return md(["artifact", f"{static}: top-1", "cascade, points", "times fewer MACs", "times less time"], cells)


def verdict(subject: Subject, result: dict[str, Any], answers: Answers, runs: Runs) -> str:
    """What the figures say of the method, in words and tables."""
    if not result["statics"]:
        return ""
    ours, best = result["evaluations"][0], best_static(result)
    pair = answers[f"{ours['target']}/right"][:, -1], answers[f"{best['static']}, {best['target']}/right"][:, 0]
    low, high = paired_difference(*pair)
    mixed = mixtures(result, answers)
    wins = any(surely(duel, result, "") for duel in mixed)
    loses = high < 0 and not wins
    alone = best["static"]
    more, cost = points(ours["top1"][-1] - best["top1"][0], (low, high)), ours["macs"][-1] / best["macs"][0]
    said = paragraph(
        "**The method does not win here.**" if loses else "**Against static models:**",
        f"The cascade's last exit has {more} points of top-1 over the {alone} model of the same recipe and epochs,",
        f"and takes {cost:.2f} times its MACs, since each stage has blocks of its own. At that model's accuracy,",
        "thresholds that reach it on held-out images:",
    )
    coin = paragraph(
        "At equal mean MACs, thresholds from held-out images, the alternative is a coin that sends each one to one of",
        "two static models. Runs that are cheaper than every static model are left out:",
    )
    held_out, test = runs[subject.run]["held_out_top1"][0], ours["top1"][0]
    why = paragraph(
        "An exit saves compute where it is right and knows it. The images that thresholds come from",
        f"{subject.held_out}: the first exit has {percent(held_out)} on them, and {percent(test)} on the test",
        f"{subject.images}.",
    )
    if again := better_training(best["top1"][0], runs):
        why += f"\n\n{again}"
    tables = f"{at_its_accuracy(result, answers)}\n{coin}\n\n{mixtures_table(result, mixed)}"
    tables += in_time(subject, result, answers)
    return f"## Does it pay?\n\n{said}\n\n{tables}\n{why}\n{crossed_text(subject, result, answers)}"


def in_time(subject: Subject, result: dict[str, Any], answers: Answers) -> str:
    """Tables of `timed_mixtures`, of quantized artifacts whose static models were timed beside them."""
    timed, statics = {(t["target"], t["run"]) for t in result["times"]}, result["statics"]
    said = ""
    for target in subject.targets:
        own = [(target, s["static"]) for s in statics if s["target"] == target]
        if not recipe_for(target).quantization or f"{target}/right" not in answers or not own or set(own) - timed:
            continue
        if duels := timed_mixtures(result, answers, target):
            table = mixtures_table(result, duels, of_time=True)
            said += f"\nAnd at equal mean milliseconds in `{target}`:\n\n{table}"
    return said


def surely(duel: Duel, result: dict[str, Any], kind: str) -> bool:
    """Whether the cascade leads by an interval above 0."""
    interval = duel.interval(result, kind)
    return interval is not None and interval[0] > 0


def mixtures_table(result: dict[str, Any], mixed: Sequence[Duel], kind: str = "", of_time: bool = False) -> str:
    rows = [
        [
            duel.run,
            f"{duel.cost:.2f}" if of_time else f"{duel.cost / 1e6:.0f}",
            percent(duel.mine.mean()),
            percent(duel.theirs.mean()),
            points(duel.difference, duel.interval(result, kind)),
        ]
        for duel in mixed
    ]
    cost = "mean ms" if of_time else "mean MMACs"
    return md(["run", cost, "cascade", "static models", "difference, points"], rows)


def crossed_table(result: dict[str, Any], answers: Answers) -> str:
    """As `at_its_accuracy`, by thresholds from the other half of the test images."""
    static, rows = best_static(result)["static"], []
    for figures in result["evaluations"]:
        target, run = figures["target"], CROSSED + equal_run(static, 0.0)
        if (mine := chosen(answers, target, run)) is None:
            continue
        theirs = answers[f"{static}, {target}/right"][:, 0]
        costs = np.asarray(figures["macs"], float)[answers[f"{target}/{run}"]]
        whole = next(s["macs"][0] for s in result["statics"] if (s["static"], s["target"]) == (static, target))
        timed, interval = result["crossed_times"].get(target), result["crossed"]["equal"][target]
        rows.append(
            [
                target,
                percent(theirs.mean()),
                points(mine.mean() - theirs.mean(), interval["points"]),
                ratio(whole / costs.mean(), interval["fewer_macs"]),
                ratio(timed["static_mean_ms"] / timed["mean_ms"], timed["less_time"]) if timed else "-",
            ]
        )
    return md(["artifact", f"{static}: top-1", "cascade, points", "times fewer MACs", "times less time"], rows)


def crossed_text(subject: Subject, result: dict[str, Any], answers: Answers) -> str:
    """What the same cascade does with thresholds from images like those that it is tested on."""
    if not subject.crossed:
        return ""
    mixed = mixtures(result, answers, CROSSED)
    won = sum(surely(duel, result, CROSSED) for duel in mixed)
    timed = max((found["images"] for found in result["crossed_times"].values()), default=0)
    said = paragraph(
        f"The same with thresholds from test {subject.images}, each half from the other, drawn at random (times: of",
        f"{timed} of them, weighted by where all leave), at that static model's accuracy. Intervals hold what other",
        f"{subject.images} would have given as thresholds, too: all is done again on random half-samples.",
    )
    equal = paragraph(
        "And at equal mean MACs, the aimed loss being against the last exit on the other half. The cascade's lead has",
        f"an interval above 0 at {won} of {len(mixed)} costs:",
    )
    return f"\n{said}\n\n{crossed_table(result, answers)}\n{equal}\n\n{mixtures_table(result, mixed, CROSSED)}"


def better_training(top1: float, runs: Runs) -> str:
    """What is to be said where another training of a static model has more than the one that is compared."""
    alone = {name: run["test_top1"][0] for name, run in runs.items() if len(run["test_top1"]) == 1}
    name = max(alone, key=lambda name: alone[name], default="")
    rounding = (
        BF16 if name and runs[name].get("precision") == "bf16" else 1e-4
    )  # a run measures itself in its precision
    if not name or alone[name] - top1 < rounding:
        return ""
    return paragraph(
        f"Another training by the same recipe, {name}, has {percent(alone[name])},",
        f"{100 * (alone[name] - top1):.2f} points",
        "more than the static model of this comparison: one training of each proves no difference of that size.",
    )


def ablation_table(contest: Contest, answers: Answers) -> str:
    """Each other cascade against one, exit by exit, paired by image."""
    ours, right = contest.figures, answers[f"{contest.name}/right"]
    rows = [[contest.shown, str(k), mega(macs), percent(ours["top1"][k]), "-"] for k, macs in enumerate(ours["macs"])]
    for found in contest.others:
        theirs = answers[f"{found['name']}/right"]
        for k, top1 in enumerate(found["top1"]):
            interval = paired_difference(theirs[:, k], right[:, k])
            difference = points(top1 - ours["top1"][k], interval)
            rows.append([found["name"], str(k), mega(found["macs"][k]), percent(top1), difference])
    return md(["cascade", "exit", "MMACs", "top-1", f"against {contest.shown}, points"], rows)


def equal_cost_table(result: dict[str, Any], contest: Contest, answers: Answers, kind: str = "") -> str:
    rows = [
        [
            duel.run,
            duel.other,
            f"{duel.cost / 1e6:.0f}",
            f"{duel.other_cost / 1e6:.0f}",
            percent(duel.mine.mean()),
            percent(duel.theirs.mean()),
            points(duel.difference, duel.interval(result, kind)),
        ]
        for duel in equal_costs(contest, answers, kind)
    ]
    columns = ["run", "other cascade", "MMACs", "its MMACs", "top-1", "its top-1", "difference, points"]
    return md(columns, rows)


def going_on_table(contest: Contest, answers: Answers, kind: str = "") -> str:
    """The last exits on the images that do not leave at this cascade's first one, paired by image."""
    ours, rows = answers[f"{contest.name}/right"][:, -1], []
    for run in LOSING:
        on = answers[f"{contest.name}/{kind}{run}"] > 0
        for found in contest.others if on.any() else ():
            theirs = answers[f"{found['name']}/right"][:, -1]
            difference = points(ours[on].mean() - theirs[on].mean(), paired_difference(ours[on], theirs[on]))
            tops = percent(ours[on].mean()), percent(theirs[on].mean())
            rows.append([run, str(on.sum()), found["name"], *tops, difference])
    last = f"{contest.shown}'s last exit"
    return md(["run", "go on", "other cascade", last, "the other's", "difference, points"], rows)


def of_reuse(contest: Contest, answers: Answers) -> str:
    """What the intervals say of the last exit, and of the first where it pays."""
    ours = answers[f"{contest.name}/right"][:, 0]
    first = {o["name"]: answers[f"{o['name']}/right"][:, 0] for o in contest.others}
    losing = {name: right for name, right in first.items() if paired_difference(right, ours)[0] > 0}
    less = [f"{100 * (right.mean() - ours.mean()):.2f} points less than {name}" for name, right in losing.items()]
    pays = f". **Its first exit pays for it**: {' and '.join(less)}" if less else ""
    return at_the_last_exit(contest, answers) + pays


def at_the_last_exit(contest: Contest, answers: Answers) -> str:
    """What the intervals say of reuse there."""
    right = answers[f"{contest.name}/right"][:, -1]
    gains = {o["name"]: paired_difference(right, answers[f"{o['name']}/right"][:, -1]) for o in contest.others}
    better = [name for name, (low, _) in gains.items() if low > 0]
    if any(high < 0 for _, high in gains.values()):
        return "**Reuse costs accuracy at the last exit here**, as far as one training of each tells"
    if len(better) == len(gains):
        return "**The last exit is better with reuse**, as far as one training of each tells"
    if better:
        told = f"**The last exit is better than {' and '.join(better)}**, as far as one training of each tells"
        return f"{told}; against {' and '.join(name for name in gains if name not in better)} intervals contain 0"
    return "What it gives to the last exit is within the intervals of one training each"


def reuse_text(subject: Subject, result: dict[str, Any], answers: Answers) -> str:
    if not result.get("others"):
        return ""
    main, *shorter = contests(result)
    left_out = [found["name"] for found in main.others if found["name"] != APART]
    kinds = ["of the same recipe, epochs and seed with a reuse left out"] if left_out else []
    if len(left_out) < len(main.others):
        kinds.append("the static models themselves, trained apart, one after another")
    about = f"Other cascades: {'; and '.join(kinds)}. In PyTorch, every stage run:"
    if not left_out:
        about = f"{'Reuse is left out further down' if shorter else NOT_LEFT_OUT}. {about}"
    equal = paragraph(
        "With early exit, each other cascade may cost on the held-out images what this one costs there, and its",
        "thresholds are the best of that cost:",
    )
    going_on = paragraph(
        f"What reuse is there for are the {subject.images} that the first exit sends on. The last exits on those that",
        f"this cascade's first exit does{', by the latter thresholds' if subject.crossed else ''}:",
    )
    crossed = ""
    if subject.crossed:
        table = equal_cost_table(result, main, answers, CROSSED)
        crossed = f"By thresholds from the other half of the test {subject.images}:\n\n{table}\n"
    return f"""## What reuse gives

{paragraph(f"{of_reuse(main, answers)}.", about)}

{ablation_table(main, answers)}
{equal}

{equal_cost_table(result, main, answers)}
{crossed}{going_on}

{going_on_table(main, answers, CROSSED if subject.crossed else "")}
{"".join(shorter_text(subject, result, contest, answers) for contest in shorter)}"""


def shorter_text(subject: Subject, result: dict[str, Any], contest: Contest, answers: Answers) -> str:
    """Of cascades that were trained for other epochs than the page's."""
    epochs = contest.name.rpartition(", ")[2]
    said = paragraph(
        f"{of_reuse(contest, answers)}. Here all were trained for {epochs}, the one with both reuses too, by",
        f"the same recipe from the same seed (`{subject.script} --epochs {epochs.split()[0]}`); every stage run:",
    )
    return f"""### Reuse left out, after {epochs}

{said}

{ablation_table(contest, answers)}
With early exit, at equal cost on the held-out images as above:

{equal_cost_table(result, contest, answers)}
And the last exits on the {subject.images} that {contest.shown}'s first exit sends on:

{going_on_table(contest, answers)}
"""


def runs_table(runs: Runs) -> str:
    def shares(values: list[float]) -> str:
        return " / ".join(percent(v) for v in values) or "-"

    rows = [
        [
            name,
            shares(run["held_out_top1"]),
            shares(run["test_top1"]),
            shares(run.get("test_coarse_top1", [])),
            f"{run['hours']:.2f}",
        ]
        for name, run in runs.items()
    ]
    return md(["run", "held out", "test", "test, coarse", "hours"], rows)


def untrained_text(subject: Subject, runs: Runs) -> str:
    """What the training script has that no run is of."""
    trained = {name.split("-seed")[0].rsplit("-", 1)[0] for name in runs}
    if not (missing := [f"`{variant}`" for variant in subject.variants if variant not in trained]):
        return ""
    words = f"Not trained yet, of what export_scripts/reproduce/{subject.script} has: {', '.join(missing)}."
    return f"\n{paragraph(words)}\n"


def class_shares(subject: Subject, result: dict[str, Any]) -> str:
    """The classes of which most and fewest images leave at exit 0."""
    shares = {name: found["exit_shares"] for name, found in result["examples"]["classes"].items()}
    at_first = [found[0] for found in shares.values()]
    said = f"At the thresholds that lose half a point on the held-out images, {np.mean(at_first):.0%} of a class leave"
    if min(at_first) == max(at_first):
        return paragraph(f"{said} at exit 0, whichever class it is.")
    said = paragraph(f"{said} at exit 0 on average. The classes of which most and of which fewest {subject.images} do:")
    order = sorted(shares, key=lambda name: -shares[name][0])
    shown = order if len(order) <= 2 * SHOWN_CLASSES else [*order[:SHOWN_CLASSES], *order[-SHOWN_CLASSES:]]
    exits = len(next(iter(shares.values())))
    table = md(["class", *(f"exit {k}" for k in range(exits))], [[n, *(f"{v:.0%}" for v in shares[n])] for n in shown])
    return f"{said}\n\n{table}"


def statics_text(result: dict[str, Any], answers: Answers) -> str:
    if not result["statics"]:
        return paragraph(
            "No static model was trained on these images by this recipe yet. The figures below say what leaving",
            "early saves of this cascade's own cost, and nothing of whether one smaller model would do as well for it.",
        )
    return f"""A static model is one stage, alone and without reuse, trained by the same recipe. At each one's accuracy,
with thresholds that reach it on the held-out images:

{equal_table(result, answers)}
{dominated_text(result)}"""


def coarse_text(result: dict[str, Any]) -> str:
    if "coarse_top1" not in result:
        return ""
    return f"""The same answers by the data's {result["coarse_classes"]} coarse classes:

{coarse_table(result)}
"""


def later_text(result: dict[str, Any]) -> str:
    """Of the models that add_to_224.py put on the page."""
    if not (names := result.get("later")):
        return ""
    return f"Those of\n{', '.join(names)}\nwere computed later, against the logits that it kept. "


def carry_text(result: dict[str, Any]) -> str:
    """Of quantized artifacts whose engine has a float one on the page."""
    if not result["carry_over"]:
        return ""
    return f"## Quantized artifacts: thresholds carried over, or found anew\n\n{carry_table(result)}\n"


def others_of(subject: Subject, docs: Path) -> list[Subject]:
    """Those that have a page."""
    return [other for other in SUBJECTS.values() if other is not subject and (docs / other.page).exists()]


def page(subject: Subject, result: dict[str, Any], answers: Answers, runs: Runs, others: Sequence[Subject] = ()) -> str:
    ours, images, place = result["evaluations"][0], subject.images, f"results/{subject.name}"
    card = f" ([model card](../dvt_edge/zoo/{subject.model}.md))" if subject.ships else ""
    pages = [
        *(f"[{other.title}]({other.page})" for other in others),
        "[the small cascade of 32 px](results-cifar10.md)",
    ]
    few = paragraph(
        f"The images that thresholds come from {subject.held_out}, and are few: a loss that was aimed at there is not",
        f"what the test {images} show.",
    )
    halves = f"where they come from the other half of the test {images}, they are found anew on {SAMPLES} half-samples"
    made = f"{REDONE if result.get('redone') else ''}{later_text(result)}"
    intervals = paragraph(
        f"- **In parentheses:** 95 % intervals over the test {images}, by a bootstrap of {DRAWS:,} draws, paired by",
        f"each one's answers ([answers.npz]({place}/answers.npz)). Thresholds from held-out images are taken as they",
        f"were found{f'; {halves}' if subject.crossed else ''}. The cascade is of one seed: what another would have",
        "given is in none of them.",
    ).replace("\n", "\n  ")
    return f"""# Results on {subject.title}

Made by `{subject.command}`; every figure below is from that run, its numbers in
[eval.json]({place}/eval.json). {made}Other pages: {", ".join(pages)}.

- **Model:** {subject.checkpoint}, SHA-256 `{result["checkpoint_sha256"]}`{card}.
- **Data:** {result["data"]}; {subject.data}.{search_text(result)}
- **Machine:** {result["machine"]}; one thread.
- **MACs** are those of the graphs that ship, reuse matrices included.
{intervals}

![top-1 against mean MACs]({place}/budget.svg)

{verdict(subject, result, answers, runs)}
{reuse_text(subject, result, answers)}## Each exit, each artifact

All test {images}, every stage run. Core ML artifacts do not run on Linux and are not in any table.

{exits_table(result)}
{coarse_text(result)}{percent(ours["last_share"])} of the test {images} are answered rightly by the last exit alone.

## Less compute

{statics_text(result, answers)}

Early exit against running every stage of the same cascade, thresholds from held-out images:

{last_table(result, answers)}
{few}

## And in time

Batch 1, one thread, {result["times"][0]["images"]} test {images} drawn at random; all runs of a target take turns,
{TURN} {images} each, and each is timed {REPEATS} times, of which the median counts. Stages, confidences and the
choice of exit are counted, decoding is not. Top-1 is that of the same thresholds on all test {images}.

{times_table(result)}
In batches of 64 in PyTorch, answered {images} leaving the batch; the runs take turns, the best of three:

{throughput_table(result)}
{carry_text(result)}## Where {images} leave

{class_shares(subject, result)}

## Training runs

Top-1 as each run itself measured it, exit by exit; logs and options are [beside the figures]({place}/runs).

{runs_table(runs)}{untrained_text(subject, runs)}
The easy and the hard {images} of each class are in build/{subject.name}/examples.png after the command: they are not
ours to ship.
"""
