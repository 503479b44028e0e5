"""Tables and sentences of the results' pages, from what `dvt-edge eval` found."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.evaluation.intervals import paired_difference, times_fewer, unpaired_difference
from dvt_edge.evaluation.study import ALWAYS_LAST, equal_run, loss_run

SHOWN_LOSSES = (0.0025, 0.005, 0.01, 0.02)  # of TIMED_LOSSES
UNPAIRED = " u"


def md(columns: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def paragraph(*sentences: str) -> str:
    words = " ".join(" ".join(sentences).split())
    return textwrap.fill(words, 120, break_long_words=False, break_on_hyphens=False)


def search_text(result: dict[str, Any]) -> str:
    """What an older run's thresholds were found by, where that is not what `dvt-edge eval` does now."""
    if "gains" in result:
        return ""
    return (
        "\n- **Thresholds** of this run were found with the last exit's probabilities at temperature 1; `dvt-edge eval`"
        "\n  fits that temperature first since."
    )


def percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def mega(value: float) -> str:
    return f"{value / 1e6:.2f}"


def exits_table(result: dict[str, Any]) -> str:
    rows = []
    for found in (*result["evaluations"], *result["statics"]):
        name = ", ".join(filter(None, (found.get("static"), found["target"])))
        for k, top1 in enumerate(found["top1"]):
            low, high = found["interval"][k]
            rows.append([name, str(k), mega(found["macs"][k]), percent(top1), f"{percent(low)} to {percent(high)}"])
    return md(["artifact", "exit", "MMACs", "top-1", "95 % interval"], rows)


Answers = Mapping[str, NDArray[Any]]  # study.answers_of, by "<artifact>/<what>"; of some artifacts only


def chosen(answers: Answers, name: str, run: str) -> NDArray[np.bool_] | None:
    """Which test images an artifact answers rightly in a run; None where its answers were not kept."""
    if (key := f"{name}/{run}") not in answers:
        return None
    return np.take_along_axis(answers[f"{name}/right"], answers[key][:, None].astype(int), axis=1)[:, 0]


def top1_difference(
    ours: float, theirs: float, images: int, pair: tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]
) -> str:
    """Points of top-1, with their interval: paired where each image's answers are there, else marked."""
    if pair[0] is not None and pair[1] is not None:
        (low, high), mark = paired_difference(pair[0], pair[1]), ""
    else:
        low, high = unpaired_difference((round(ours * images), images), (round(theirs * images), images))
        mark = UNPAIRED
    return points(ours - theirs, (low, high)) + mark


def points(difference: float, interval: Sequence[float] | None) -> str:
    return f"{100 * difference:+.2f}" + (f" ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})" if interval else "")


def ratio(value: float, interval: Sequence[float] | None) -> str:
    return f"{value:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def dominated(result: dict[str, Any], static: str, target: str) -> str:
    """The static model that is as accurate as this one or more, with no more MACs; "" where there is none."""
    rows = {s["static"]: (s["top1"][0], -s["macs"][0]) for s in result["statics"] if s["target"] == target}
    better = [name for name, row in rows.items() if row != rows[static] and min(np.subtract(row, rows[static])) >= 0]
    return max(better, key=lambda name: rows[name], default="")


def equal_table(result: dict[str, Any], answers: Answers) -> str:
    """The cascade at each static model's accuracy, and less the tolerance: in MACs and, where timed, in time."""
    times = {(t["target"], t["run"]): t for t in result["times"]}
    images = result["evaluations"][0]["images"]
    rows, tolerances = [], sorted({row["tolerance"] for row in result["equal_accuracy"]})
    found: dict[tuple[str, str], dict[float, dict[str, Any]]] = {}
    for row in result["equal_accuracy"]:
        found.setdefault((row["static"], row["target"]), {})[row["tolerance"]] = row
    for (static, target), group in found.items():
        first, alone = group[tolerances[0]], times.get((target, static))
        beaten = (
            f", dominated by {better.removeprefix('static ')}" if (better := dominated(result, static, target)) else ""
        )
        cells = [static + beaten, target, percent(first["static_top1"]), mega(first["static_macs"])]
        cells.append(f"{alone['mean_ms']:.3f}" if alone else "-")
        for tolerance in tolerances:
            row, run = group[tolerance], equal_run(static, tolerance)
            point, timed = row["cascade"], times.get((target, run))
            cells.append(percent(point["top1"]))
            if tolerance == tolerances[0]:
                right = answers.get(f"{static}, {target}/right")
                pair = chosen(answers, target, run), None if right is None else right[:, 0]
                cells.append(top1_difference(point["top1"], row["static_top1"], images, pair))
            cells += [
                f"{point['shares'][0]:.1%}",
                ratio(row["fewer_macs"], macs_interval(result, point["shares"], row["static_macs"])),
            ]
            less = timed and timed.get("less_time", {}).get(static)
            cells.append(ratio(alone["mean_ms"] / timed["mean_ms"], less) if alone and timed else "-")
        rows.append(cells)
    columns = ["static model", "artifact", "its top-1", "MMACs", "ms", "cascade: top-1", "difference, points"]
    columns += ["leave at exit 0", "times fewer MACs", "times less time"]
    for tolerance in tolerances[1:]:
        columns += [f"at {100 * tolerance:.2f} less: top-1", "leave at exit 0", "times fewer MACs", "times less time"]
    return md(columns, rows)


def macs_interval(result: dict[str, Any], shares: Sequence[float], whole: float) -> Sequence[float] | None:
    """Of `whole` MACs over the mean ones where these shares leave at each exit; None where all leave at one."""
    first = result["evaluations"][0]
    counts = [round(share * first["images"]) for share in shares]
    return times_fewer(first["macs"][: len(counts)], whole, counts) if sum(n > 0 for n in counts) > 1 else None


def last_table(result: dict[str, Any], answers: Answers) -> str:
    """Early exit against running every stage of the same cascade, for a few of the losses that were aimed at."""
    found: dict[str, dict[str, Any]] = {}
    for t in result["times"]:
        found.setdefault(t["target"], {})[t["run"]] = t
    images = result["evaluations"][0]["images"]
    rows = []
    for target, runs in found.items():
        last = runs[ALWAYS_LAST]
        for loss in SHOWN_LOSSES:
            run = loss_run(loss)
            t, right = runs[run], answers.get(f"{target}/right")
            pair = None if right is None else right[:, -1], chosen(answers, target, run)
            fewer = macs_interval(result, shares_of(result, answers, t, loss), last["macs"])
            less = t.get("less_time", {}).get(ALWAYS_LAST)
            lost = top1_difference(last["top1"], t["top1"], images, pair)
            gains = ratio(last["macs"] / t["macs"], fewer), ratio(last["mean_ms"] / t["mean_ms"], less)
            rows.append([target, percent(last["top1"]), f"{100 * loss:g}", lost, *gains])
    columns = ["artifact", "last exit's top-1", "aimed loss, points", "loss on the test images"]
    return md([*columns, "times fewer MACs", "times less time"], rows)


def shares_of(result: dict[str, Any], answers: Answers, timed: dict[str, Any], loss: float) -> Sequence[float]:
    """Which shares of the test images leave at each exit in a timed run that may lose so much; empty where not kept."""
    if "shares" in timed:
        return timed["shares"]
    if (key := f"{timed['target']}/{timed['run']}") in answers:
        return (np.bincount(answers[key]) / len(answers[key])).tolist()
    rows = (r["own"]["shares"] for r in result["carry_over"] if (r["target"], r["loss"]) == (timed["target"], loss))
    return next(rows, ())


def times_table(result: dict[str, Any]) -> str:
    rows = []
    for t in result["times"]:
        figures = [f"{t[k]:.3f}" for k in ("mean_ms", "median_ms", "p95_ms")]
        rows.append([t["target"], t["run"], percent(t["top1"]), mega(t["macs"]), *figures])
    return md(["artifact", "run", "top-1", "mean MMACs", "mean ms", "median ms", "p95 ms"], rows)


def throughput_table(result: dict[str, Any]) -> str:
    return md(["run", "images a second"], [[row["run"], f"{row['images_per_s']:.0f}"] for row in result["throughput"]])


def carry_table(result: dict[str, Any]) -> str:
    rows = []
    for row in result["carry_over"]:
        cells = [f"{percent(row[k]['top1'])} at {mega(row[k]['cost'])}" for k in ("carried", "own", "reference")]
        rows.append([row["target"], percent(row["loss"]), *cells])
    return md(["artifact", "aimed loss", "float's thresholds", "its own thresholds", "float artifact"], rows)


def class_table(result: dict[str, Any]) -> str:
    classes = result["examples"]["classes"]
    return md(
        ["class", "leaves at exit 0", "exit 1", "needs the last"],
        [[name, *(f"{100 * s:.0f} %" for s in found["exit_shares"])] for name, found in classes.items()],
    )


def dominated_text(result: dict[str, Any]) -> str:
    """What rows of the table above say nothing about: early exit."""
    ours = result["evaluations"][0]
    statics = {s["static"]: s for s in result["statics"] if s["target"] == ours["target"]}
    said = [
        "Where all images leave at exit 0, no early exit is involved: the row holds one small model,",
        "trained with others behind it, against a static one.",
    ]
    if beaten := [name for name in statics if dominated(result, name, ours["target"])]:
        rows = [r for r in result["equal_accuracy"] if (r["static"], r["target"]) == (beaten[0], ours["target"])]
        best = dominated(result, beaten[0], ours["target"])
        poor = "are poor baselines" if len(beaten) > 1 else "is a poor baseline"
        without = rows[0]["static_macs"] / statics[best]["macs"][0]
        said += [
            f"And {' and '.join(beaten)} {poor}: {best} was no less accurate with fewer MACs. The",
            f"{rows[0]['fewer_macs']:.2f} times fewer MACs than {beaten[0]} are had without a cascade:",
            f"{best} alone has {without:.2f}. Over {best} the cascade has accuracy to offer, at its later exits,",
            "and no fewer MACs; what early exit itself gains is in the next table.",
        ]
    return paragraph(*said)


def read_answers(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
