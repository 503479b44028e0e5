"""What each layer costs in int8, drawn: one row a group, one mark an exit, the costliest at the top."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from dvt_edge.atomic import new_file
from dvt_edge.exporting.sensitivity import Sensitivity

SHOWN = 40
MARKS = "osD^v<>P"


def draw(found: Sensitivity, path: Path) -> None:
    """Write the picture, .png or .svg by the path's suffix."""
    groups = found.groups[:SHOWN]
    figure = Figure(figsize=(9, 1.4 + 0.22 * len(groups)), layout="constrained")
    axes = figure.subplots()
    for exit_ in range(len(found.everything)):
        color, mark = f"C{exit_}", MARKS[exit_ % len(MARKS)]
        rows = [(g.alone[exit_].sqnr_db, row) for row, g in enumerate(groups)]
        seen = [(db, row) for db, row in rows if db is not None]
        axes.plot([db for db, _ in seen], [row for _, row in seen], mark, color=color, label=f"exit {exit_}")
        if (every := found.everything[exit_].sqnr_db) is not None:
            axes.axvline(every, color=color, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(groups)), [g.name for g in groups], fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("SQNR in dB with only these layers in int8; dotted: all of them")
    axes.set_title(f"{found.model}, {found.target}: {found.images} images", fontsize=10)
    axes.legend(loc="lower right")
    with new_file(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower())
