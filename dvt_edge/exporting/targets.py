"""What each target is, in words, and what this machine can do about it."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from typing import NamedTuple

from dvt_edge.errors import PACKAGES
from dvt_edge.exporting.own_environment import ENVIRONMENTS
from dvt_edge.exporting.qnn_chips import chip_of
from dvt_edge.exporting.recipes import RECIPES, Recipe
from dvt_edge.validation.bounds import Bounds


class Target(NamedTuple):
    """A recipe in words, one column each."""

    name: str
    backend: str
    weights: str
    activations: str
    keeps: str  # against PyTorch
    status: str
    about: str


def targets() -> list[Target]:
    return [
        Target(r.name, r.backend, weights(r), activations(r), bounds(r.bounds), r.status, about(r)) for r in RECIPES
    ]


def weights(recipe: Recipe) -> str:
    found = recipe.quantization
    if found is None:
        return recipe.precision
    if found.weights == "palette":
        return f"{found.weight_bits}-bit palette"
    return f"int{found.weight_bits} per {f'{found.block} inputs' if found.block else 'channel'}"


def activations(recipe: Recipe) -> str:
    found = recipe.quantization
    if found is None or found.activations == "float":
        return recipe.precision
    ranges = f"{found.calibration_images} images" if found.activations == "static" else "each image"
    return f"int{found.activation_bits}, ranges of {ranges}"


def bounds(kept: Bounds) -> str:
    words = [] if kept.max_abs_error is None else [f"error {kept.max_abs_error:g}"]
    words += [] if kept.min_sqnr_db is None else [f"{kept.min_sqnr_db:g} dB"]
    return ", ".join([*words, f"top-1 {kept.min_top1_agreement:.0%}", f"exits {kept.min_exit_agreement:.0%}"])


def about(recipe: Recipe) -> str:
    left = f"; in float: {', '.join(recipe.keep_float)}" if recipe.keep_float else ""
    least = f"; {chip_of(recipe.least_soc).name} ({recipe.least_soc}) or later" if recipe.least_soc else ""
    return recipe.about + left + least


def on_this_machine(recipe: Recipe) -> str:
    """In few words, with nothing imported: ready, or what it needs, or how far it goes."""
    for package in needed(recipe):
        if find_spec(package) is None:
            name, extra = PACKAGES[package]
            return f"needs {name}: pip install 'dvt-edge[{extra or recipe.extra}]'"
    if recipe.environment and (why := ENVIRONMENTS[recipe.environment].why_not()):
        return f"needs {why}"
    if recipe.proof == "simulated":
        return "ready, on the simulator"
    if recipe.proof == "lowered":
        return "lowers only"
    if recipe.proof == "interpreted":
        mac = platform.system() == "Darwin"
        return "interpreted; `dvt-edge validate --record` runs it" if mac else "interpreted; runs on macOS"
    return "ready"


def needed(recipe: Recipe) -> list[str]:
    """Import names: of its extra, of what every export takes, and its own."""
    shared = (recipe.extra, "torch", "calibrate")
    return [*(name for name, (_, extra) in PACKAGES.items() if extra in shared), *recipe.packages]


def markdown(*columns: str) -> str:
    """The table of these fields of `Target`, as README and docs/targets.md have it."""
    rows = [[f"`{t.name}`", *(getattr(t, column) for column in columns[1:])] for t in targets()]
    head = ["target" if column == "name" else column for column in columns]
    lines = [f"| {' | '.join(row)} |\n" for row in (head, *rows)]
    return "".join([lines[0], "|---" * len(columns) + "|\n", *lines[1:]])
