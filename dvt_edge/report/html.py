"""What the HTML reports share: one look, jinja2 templates, pictures and plots inside the file.

Plots are inline SVG whose ink is the page's text colour, so that they are read on light and on dark alike. Needs
matplotlib and jinja2, the extra `demo`.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dvt_edge.atomic import write_text
from dvt_edge.version import __version__

matplotlib.use("Agg")
COLORS = ("#1f9e89", "#d68a00", "#e0533d", "#4f7fe0", "#a566d9", "#7d8896")  # seen on white and on near-black
LINES = ("-", "-", "--", "--", ":", "-.")
INK = "#010203"  # stands for the text colour until `figure_svg` puts that in
STYLE = {
    "font.size": 10,
    "svg.fonttype": "none",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **{"grid.color": INK, "grid.alpha": 0.15, "legend.frameon": False, "legend.fontsize": 9, "axes.titlesize": 10},
    **{"axes.spines.top": False, "axes.spines.right": False},
}


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of the package into one self-contained file, whole or not at all."""
    environment = Environment(loader=PackageLoader("dvt_edge.report"), autoescape=True, trim_blocks=True)
    write_text(path, environment.get_template(template).render(version=__version__, **values))


def new_figure(width: float, height: float) -> Figure:
    """In inches; 5 is the width at which the text can still be read on a phone."""
    return Figure(figsize=(width, height), layout="constrained")


def styled() -> Any:
    """A context in which plots are drawn in this look."""
    return matplotlib.rc_context(STYLE)


def figure_svg(figure: Figure, name: str, says: str) -> Markup:
    """The figure as <svg>, for a page; `name` keeps its ids from those of other figures, `says` is for screen readers.

    The same figure gives the same text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(xmlns(:xlink)?|width|height)="[^"]*"', "", svg[: svg.index(">")]) + svg[svg.index(">") :]
    svg = svg.replace(INK, "currentColor")
    svg = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    label = Markup.escape(says)
    return Markup(svg.replace("<svg", f'<svg class="plot" role="img" aria-label="{label}"', 1))


def legend_below(axes: Axes, columns: int = 3) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns)


def data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
