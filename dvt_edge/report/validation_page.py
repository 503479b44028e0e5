"""The report of `dvt-edge validate --device-log`: one self-contained HTML file of its summary and its worst images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dvt_edge.report.html import COLORS, data_uri, figure_svg, new_figure, styled, write_page
from dvt_edge.validation.bounds import SIDES

WIDTH = 5.0
Pixels = NDArray[np.uint8]


def write_validation_report(
    path: Path, summary: dict[str, Any], pictures: Sequence[tuple[Pixels | None, Pixels | None]] = ()
) -> None:
    """Write the HTML of a summary; `pictures` has, of each of its worst images, what went in and what should have."""
    with styled():
        plots = [(title, figure_svg(figure, name, title), note) for name, title, figure, note in figures(summary)]
    shown = [
        row | {"sources": [(words, data_uri(enlarged(pixels))) for words, pixels in sources(pair)]}
        for row, pair in zip(summary["worst"], pictures, strict=False)
    ]
    write_page(path, "validation_page.html", s=summary, sides=SIDES, plots=plots, pictures=shown)


def sources(pair: tuple[Pixels | None, Pixels | None]) -> list[tuple[str, Pixels]]:
    """What went in, and the host's pixels where they are others."""
    went_in, host = pair
    found = [] if went_in is None else [("what went in", went_in)]
    if host is not None and (went_in is None or not np.array_equal(went_in, host)):
        found.append(("the host's pixels", host))
    return found


def enlarged(pixels: Pixels, size: int = 96) -> Image.Image:
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST)


def figures(summary: dict[str, Any]) -> Iterable[tuple[str, str, Figure, str]]:
    """Name, title, figure, and what to know when reading it."""
    if (drawn := errors(summary)) is not None:
        note = (
            "The largest error of a logit on 99 % of the images. Kernels: how processors differ. Quantization: what "
            "int8 costs. An error of the device that neither explains comes from the pixels."
        )
        yield "errors", "Error by exit", drawn, note
    if np.sum(summary["confusion"]):
        note = "Images, by the exit that the host takes at the same operating point. Off the diagonal they differ."
        yield "confusion", "Exits, device against host", confusion(summary), note
    if summary["scatter"]:
        note = f"Of the answer's exit, {len(summary['scatter'])} images."
        yield "confidence", "Confidence, device against host", scatter(summary), note
    if len(summary["latency"]["over_time"]) > 1:
        note = "Medians of an image's whole time, and the battery's temperature where the log has it."
        yield "latency", "Latency and temperature over time", latency(summary), note


def errors(summary: dict[str, Any]) -> Figure | None:
    rows = [(words, [row["p99_abs_error"] for row in summary["exits"][name]]) for name, words in SIDES]
    rows = [(words, values) for words, values in rows if any(v is not None for v in values)]
    if not rows:
        return None
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    width = 0.8 / len(rows)
    for k, (words, values) in enumerate(rows):
        places = np.arange(len(values)) + (k - (len(rows) - 1) / 2) * width
        bars = axes.bar(places, [v or 0 for v in values], width, label=words, color=COLORS[k])
        axes.bar_label(bars, ["" if v is None else f"{v:.2g}" for v in values], fontsize=8)
    axes.set_xticks(range(len(rows[0][1])), [f"exit {k}" for k in range(len(rows[0][1]))])
    axes.set_ylabel("error of a logit")
    axes.margins(y=0.15)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=1)
    return figure


def confusion(summary: dict[str, Any]) -> Figure:
    counts = np.array(summary["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    for (host, device), count in np.ndenumerate(counts):
        color = COLORS[0] if host == device else COLORS[2]
        axes.fill_between(
            [device - 0.5, device + 0.5], host - 0.5, host + 0.5, color=color, alpha=0.8 * shares[host, device]
        )
        axes.text(device, host, f"{count:,}", ha="center", va="center")
    names = [f"exit {k}" for k in range(len(counts))]
    axes.set_xticks(range(len(counts)), names)
    axes.set_yticks(range(len(counts)), names)
    axes.set_xlim(-0.5, len(counts) - 0.5)
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xlabel("device")
    axes.set_ylabel("host")
    return figure


def scatter(summary: dict[str, Any]) -> Figure:
    host, device = np.array(summary["scatter"], float).T
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="#7d8896", linewidth=1)
    axes.plot(host, device, "o", color=COLORS[3], markersize=3, alpha=0.5)
    axes.set_xlabel("host")
    axes.set_ylabel("device")
    axes.grid()
    return figure


def latency(summary: dict[str, Any]) -> Figure:
    rows = summary["latency"]["over_time"]
    minutes = np.array([row["time_s"] for row in rows]) / 60
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    axes.plot(minutes, [row["p50_ms"] for row in rows], color=COLORS[0], label="median, ms")
    axes.set_xlabel("minutes")
    axes.set_ylabel("ms an image")
    axes.set_ylim(bottom=0)
    axes.grid()
    warm = [(m, row["temperature_c"]) for m, row in zip(minutes, rows, strict=True) if row["temperature_c"] is not None]
    if warm:
        right = axes.twinx()
        right.spines["right"].set_visible(True)
        right.plot(*np.array(warm).T, "--", color=COLORS[2], label="°C")
        right.set_ylabel("°C")
        low, high = right.get_ylim()
        right.set_ylim(min(low, high - 2), max(high, low + 2))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
