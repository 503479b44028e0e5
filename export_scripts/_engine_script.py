"""What the export scripts share: `dvt-edge export` with an engine's targets filled in."""

from __future__ import annotations

import sys

from dvt_edge.cli import entry
from dvt_edge.exporting.recipes import RECIPES


def script_for(engine: str | None) -> None:
    """Run `dvt-edge export` on the command line's arguments for every ready recipe of `engine`, or of all."""
    ready = [recipe for recipe in RECIPES if recipe.status == "ready" and engine in (None, recipe.engine)]
    targets = [part for recipe in ready for part in ("--target", recipe.name)]
    entry(["export", *sys.argv[1:], *targets])
