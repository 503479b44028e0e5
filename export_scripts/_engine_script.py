"""What the export scripts share: `dvt-edge export` with targets filled in where none are given."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from dvt_edge.cli import entry
from dvt_edge.cli.exit_codes import USER_ERROR
from dvt_edge.cli.saying import say
from dvt_edge.exporting.recipes import RECIPES

ENGINES = {recipe.name: recipe.engine for recipe in RECIPES}


def script_for(engine: str | None) -> None:
    """Run `dvt-edge export` on the command line's arguments: its targets, or every ready one of `engine`, or of all."""
    given, others = split_targets(sys.argv[1:])
    for target in given:
        if engine and ENGINES.get(target, engine) != engine:
            refuse(f"target {target}: of {ENGINES[target]}, not of {engine}")
    ready = [recipe.name for recipe in RECIPES if recipe.status == "ready" and engine in (None, recipe.engine)]
    entry(["export", *others, *options_of(given or ready)])


def split_targets(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The targets that a command line gives, in any form that `dvt-edge export` takes, and its other words."""
    targets, others, rest = [], [], iter(words)
    for word in rest:
        if word in ("-t", "--target"):
            targets.append(next(rest, ""))
        elif word.startswith("--target="):
            targets.append(word.removeprefix("--target="))
        elif word.startswith("-t"):
            targets.append(word.removeprefix("-t"))
        else:
            others.append(word)
    return targets, others


def options_of(targets: Iterable[str]) -> list[str]:
    return [word for target in targets for word in ("--target", target)]


def refuse(why: str) -> NoReturn:
    say(f"error: {why}")
    sys.exit(USER_ERROR)
