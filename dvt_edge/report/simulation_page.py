"""The report of `dvt-edge simulate`: one self-contained HTML file drawn from `summary.summarize` alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dvt_edge.report.html import COLORS, LINES, figure_svg, legend_below, new_figure, styled, write_page
from dvt_edge.simulation.summary import LEVEL_BINS, SHOWN_ROWS
from dvt_edge.simulation.workload import HOUR

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH = 5.0


def write_simulation_report(path: Path, summary: dict[str, Any]) -> None:
    """Write the HTML of a summary. Needs matplotlib and jinja2."""
    with styled():
        plots = [
            (title, figure_svg(figure, name, title), note)
            for name, title, figure, note in figures(summary)
            if figure is not None
        ]
    write_page(
        path,
        "simulation_page.html",
        s=summary,
        plots=plots,
        rows=[totals(outcome) for outcome in summary["outcomes"].values()],
        estimated={part: b["source"] for part, b in summary["basis"].items() if b["basis"] == "estimated"},
        measured={part: b["source"] for part, b in summary["basis"].items() if b["basis"] == "measured"},
    )


def figures(summary: dict[str, Any]) -> Iterable[tuple[str, str, Figure | None, str]]:
    """Name, title, figure, and what to know when reading it."""
    labelled = all(o["total"]["accuracy"] is not None for o in summary["outcomes"].values())
    yield "battery", "Battery over time", battery(summary), "Grey: on the charger. Dotted: the target."
    if labelled:
        note = (
            "Filled: right answers among all images that came, which a dead device cannot give; hollow: among those "
            "answered. A marker with an arrow was not empty when the simulation ended."
        )
        yield "accuracy", "Accuracy against lifetime", accuracy(summary), note
    yield (
        *("mix", "Exit mix against battery level", mix(summary)),
        "Share of the answered images, in percent, that left at each exit while the battery was at that level.",
    )
    yield (
        *("temperature", "Temperature over time", temperature(summary)),
        f"The device slows down above {summary['profile']['thermal']['limit_c']:g} °C, dotted where that is in view. "
        "The curves are what the thermal model says, not a thermometer.",
    )
    yield (
        *("capacity", "Sensitivity to the battery’s capacity", sweep(summary, "capacity", CAPACITY_PLOTS)),
        "The same run with a smaller or larger battery, whose capacity the policies know. Hours end with the run.",
    )
    yield (
        *("ambient", "Sensitivity to the ambient temperature", sweep(summary, "ambient_c", AMBIENT_PLOTS)),
        "The same run in another climate. The battery’s own dependence on temperature is not modelled.",
    )


def style(index: int) -> dict[str, Any]:
    return {"color": COLORS[index % len(COLORS)], "linestyle": LINES[index % len(LINES)], "linewidth": 1.5}


def shown(series: dict[str, list[float]], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hours and values, at most about SHOWN_ROWS of them, the last one among them."""
    total = len(series["time_s"])
    step = max(1, total // SHOWN_ROWS)
    rows = np.arange((total - 1) % step, total, step)
    return np.array(series["time_s"])[rows] / HOUR, np.array(series[name])[rows]


def over_time(summary: dict[str, Any], name: str, factor: float, label: str) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, 3.6)
    axes = figure.subplots()
    for k, (policy, outcome) in enumerate(summary["outcomes"].items()):
        hours, values = shown(outcome["series"], name)
        axes.plot(hours, factor * values, label=policy, **style(k))
    end_h = max(outcome["simulated_s"] for outcome in summary["outcomes"].values()) / HOUR
    for start_h, stop_h in summary["charging_h"]:
        if start_h < end_h:
            axes.axvspan(start_h, min(stop_h, end_h), color="#8d99ae", alpha=0.2, linewidth=0)
    axes.set_xlim(0, end_h)
    axes.set_xlabel("hours")
    axes.set_ylabel(label)
    axes.grid()
    legend_below(axes)
    return figure, axes


def battery(summary: dict[str, Any]) -> Figure:
    figure, axes = over_time(summary, "level", 100.0, "battery level, %")
    axes.set_ylim(0, 102)
    mark_target(axes, summary)
    return figure


def temperature(summary: dict[str, Any]) -> Figure:
    figure, axes = over_time(summary, "temperature_c", 1.0, "device temperature, °C")
    limit_c = summary["profile"]["thermal"]["limit_c"]
    low, high = axes.get_ylim()
    if limit_c <= high + 0.5 * (high - low) + 5:
        axes.axhline(limit_c, color="#7d8896", linestyle=":", linewidth=1.5)
    return figure


def mark_target(axes: Axes, summary: dict[str, Any]) -> None:
    if summary["target_s"] is not None:
        axes.axvline(summary["target_s"] / HOUR, color="#7d8896", linestyle=":", linewidth=1.5)


def accuracy(summary: dict[str, Any]) -> Figure:
    figure = new_figure(WIDTH, 3.8)
    axes = figure.subplots()
    for k, (policy, outcome) in enumerate(summary["outcomes"].items()):
        counts = outcome["until_target"] or outcome["total"]
        hours = (outcome["empty_s"] or outcome["simulated_s"]) / HOUR
        color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
        for share, fill in (("right_share", color), ("accuracy", "none")):
            if counts[share] is None:
                continue
            if outcome["empty_s"] is None:
                axes.annotate("→", (hours, 100 * counts[share]), (5, 0), "data", "offset points", va="center")
            label = policy if share == "right_share" else None
            size = 7 if label else 10
            axes.plot(
                hours, 100 * counts[share], marker, color=color, markerfacecolor=fill, markersize=size, label=label
            )
    if summary["bound"] is not None:
        axes.axhline(100 * summary["bound"], color="#7d8896", linestyle="--", linewidth=1, label="bound, of all")
    mark_target(axes, summary)
    axes.margins(0.12)
    axes.set_xlabel("hours until the battery is empty")
    axes.set_ylabel("right answers, %" + (" (until the target)" if summary["target_s"] is not None else ""))
    axes.grid()
    legend_below(axes)
    return figure


def mix(summary: dict[str, Any]) -> Figure | None:
    outcomes = {name: o for name, o in summary["outcomes"].items() if o["exit_mix"]}
    if not outcomes:
        return None
    rows = -(-len(outcomes) // 2)
    figure = new_figure(WIDTH, 0.6 + 1.45 * rows)
    grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
    for axes, (policy, outcome) in zip(grid.flat, outcomes.items(), strict=False):
        levels, width = [100 * row["level"] for row in outcome["exit_mix"]], 100 / LEVEL_BINS
        shares = 100 * np.array([row["shares"] for row in outcome["exit_mix"]]).T
        under = np.zeros(len(levels))
        for k, share in enumerate(shares):
            color = COLORS[k % len(COLORS)]
            axes.bar(levels, share, width, under, color=color, edgecolor=color, linewidth=0.5, label=f"exit {k}")
            under = under + share
        axes.set_title(policy)
        axes.set_xlim(100, 0)
        axes.set_ylim(0, 100)
    for axes in grid.flat[len(outcomes) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("battery level, %")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


# Of a sensitivity's row: label of the axis, and the value; None is not drawn.
CAPACITY_PLOTS = (
    ("hours until empty", lambda row: (row["empty_s"] or row["simulated_s"]) / HOUR),
    ("right of all, %", lambda row: None if row["right_share"] is None else 100 * row["right_share"]),
)
AMBIENT_PLOTS = (
    ("hottest, °C", lambda row: row["hottest_c"]),
    ("p99 latency, ms", lambda row: None if row["p99_s"] is None else 1e3 * row["p99_s"]),
)


def sweep(summary: dict[str, Any], name: str, plots: Iterable[tuple[str, Any]]) -> Figure:
    figure = new_figure(WIDTH, 2.9)
    rows = summary["sensitivity"][name]
    grid = figure.subplots(1, 2)
    for axes, (label, value) in zip(grid, plots, strict=True):
        for k, policy in enumerate(summary["outcomes"]):
            pairs = [(row[name], value(row)) for row in rows if row["policy"] == policy]
            known = [(x, y) for x, y in pairs if y is not None]
            if known:
                x, y = np.array(known).T
                axes.plot(100 * x if name == "capacity" else x, y, label=policy, marker=".", **style(k))
        if "latency" in label:
            axes.set_ylim(bottom=0)
        axes.set_title(label)
        axes.set_xlabel("capacity, % of the profile’s" if name == "capacity" else "ambient, °C")
        axes.grid()
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def totals(outcome: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of totals, in words."""
    judged, total, energy = outcome["until_target"] or outcome["total"], outcome["total"], outcome["energy"]
    empty_s, target_s = outcome["empty_s"], outcome["target_s"]
    answered = max(1, judged["answered"])
    latency = outcome["latency_s"].values()
    return {
        "policy": outcome["policy"],
        "hours": f"{empty_s / HOUR:.2f}" if empty_s is not None else f"> {outcome['simulated_s'] / HOUR:.2f}",
        "to_target": f"{empty_s / target_s - 1:+.2%}" if empty_s is not None and target_s is not None else "–",
        "answered": f"{judged['answered']:,}",
        "right_share": percent(judged["right_share"]),
        "accuracy": percent(judged["accuracy"]),
        "exits": " / ".join(f"{n / answered:.0%}" for n in judged["exits"]),
        "missed": f"{(total['dropped'] + total['late']) / max(1, total['arrived']):.2%}",
        "latency": " / ".join("–" if seconds is None else f"{1e3 * seconds:.1f}" for seconds in latency),
        "base_wh": f"{energy['base_j'] / HOUR:.2f}",
        "stages_wh": " / ".join(f"{j / HOUR:.2f}" for j in energy["stage_j"]),
        "hottest": f"{outcome['hottest_c']:.1f}",
        "throttled": f"{outcome['throttled_s'] / HOUR:.2f}",
        "uncertified": f"{total['uncertified'] / max(1, total['answered']):.0%}",
    }


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
