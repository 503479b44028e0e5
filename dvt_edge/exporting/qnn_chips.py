"""Snapdragon chips by the name that a phone gives (`Build.SOC_MODEL`, in lower case), oldest first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from dvt_edge.errors import ExportError
from dvt_edge.exporting.recipes import Recipe


@dataclass(frozen=True)
class Chip:
    soc: str
    name: str
    model: int  # QNN's own number, `soc_model`


CHIPS = (
    Chip("sm8350", "Snapdragon 888", 30),
    Chip("sm8450", "Snapdragon 8 Gen 1", 36),
    Chip("sm8550", "Snapdragon 8 Gen 2", 43),
    Chip("sm8650", "Snapdragon 8 Gen 3", 57),
    Chip("sm8750", "Snapdragon 8 Elite", 69),
)


def chip_of(soc: str) -> Chip:
    """Raises ExportError, which lists the known names."""
    for chip in CHIPS:
        if chip.soc == soc:
            return chip
    known = ", ".join(f"{c.soc} ({c.name})" for c in CHIPS)
    raise ExportError(f"unknown chip {soc!r}; known: {known}")


def for_chips(recipe: Recipe, socs: Sequence[str]) -> Recipe:
    """The recipe for these chips, or for its own where there are none.

    Raises ExportError for a chip that is not known or too old for it, and for a recipe that is compiled for none.
    """
    if not socs:
        return recipe
    if recipe.least_soc is None:
        raise ExportError(f"target {recipe.name} is compiled for no chip; leave {', '.join(socs)} out")
    least = chip_of(recipe.least_soc)
    for chip in map(chip_of, socs):
        if CHIPS.index(chip) < CHIPS.index(least):
            needs = f"target {recipe.name} needs {least.name} ({least.soc}) or later"
            raise ExportError(f"{needs}; {chip.soc} is {chip.name}")
    return dataclasses.replace(recipe, socs=tuple(dict.fromkeys(socs)))
