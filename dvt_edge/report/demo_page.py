"""The demo's report: one self-contained HTML file, pictures inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dvt_edge.report.html import COLORS, LINES, data_uri, figure_svg, new_figure, styled, write_page


def write_report(path: Path, summary: dict[str, Any], examples: list[list[dict[str, Any]]]) -> None:
    """Write the HTML of `summary` (as in summary.json) and of the example images of each exit."""
    ran = [t for t in summary["targets"] if t["ran"]]
    pictures = [
        [row | {"src": data_uri(shown(row["pixels"])), "right": row["label"] == row["truth"]} for row in rows]
        for rows in examples
    ]
    with styled():
        shares = figure_svg(plot_shares(ran), "shares", "Exit shares of each target") if ran else None
        curves = figure_svg(plot_curves(ran), "curves", "Top-1 against mean MACs of each target") if ran else None
    write_page(
        path,
        "demo_page.html",
        summary=summary,
        ran=ran,
        not_run=[t for t in summary["targets"] if not t["ran"]],
        shares=shares,
        curves=curves,
        pictures=pictures,
    )


def plot_shares(targets: list[dict[str, Any]]) -> Figure:
    figure = new_figure(6.4, 0.6 + 0.5 * len(targets))
    axes = figure.subplots()
    names = [t["target"] for t in targets]
    left = np.zeros(len(targets))
    for k in range(len(targets[0]["exit_shares"])):
        widths = np.array([100 * t["exit_shares"][k] for t in targets])
        bars = axes.barh(names, widths, left=left, color=COLORS[k % len(COLORS)], label=f"exit {k}")
        axes.bar_label(bars, labels=[f"{w:.0f}" if w >= 4 else "" for w in widths], label_type="center")
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel("images that leave at each exit, %")
    axes.set_xlim(0, 100)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def plot_curves(targets: list[dict[str, Any]]) -> Figure:
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    for k, t in enumerate(targets):
        _, macs, top1 = np.array(t["curve"]).T
        style = LINES[k % len(LINES)]  # targets often coincide: broken lines show those below
        axes.plot(macs / 1e6, 100 * top1, style, color=COLORS[k % len(COLORS)], label=t["target"], linewidth=1.5)
        axes.plot(t["mean_macs"] / 1e6, 100 * t["top1"], "o", color=COLORS[k % len(COLORS)], markersize=6)
        for exit_, cost in enumerate(t["macs"]):
            axes.plot(cost / 1e6, 100 * t["top1_per_exit"][exit_], "x", color=COLORS[k % len(COLORS)], markersize=6)
    axes.set_xlabel("mean MMACs an image")
    axes.set_ylabel("top-1, %")
    axes.set_title("line: one threshold swept; dot: the operating point; crosses: always that exit")
    axes.grid()
    axes.legend(loc="lower right")
    return figure


def shown(pixels: NDArray[np.uint8], size: int = 96) -> Image.Image:
    """Small images enlarged so that each pixel is seen, larger ones made a thumbnail."""
    how = Image.Resampling.NEAREST if len(pixels) <= size else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize((size, size), how)
