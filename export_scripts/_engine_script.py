"""What the export scripts share: `dvt-edge export` with an engine's targets filled in."""

from __future__ import annotations

import sys

from dvt_edge.cli import entry
from dvt_edge.exporting.recipes import RECIPES


def script_for(engine: str | None) -> None:
    """Run `dvt-edge export` on the command line's arguments for every recipe of `engine`, or of all."""
    targets = [part for r in RECIPES if engine in (None, r.engine) for part in ("--target", r.name)]
    entry(["export", *sys.argv[1:], *targets])
