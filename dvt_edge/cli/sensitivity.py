"""The command `dvt-edge sensitivity`: which layers int8 hurts, and what to keep in float."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dvt_edge.cli.options import MOST, Checkpoint, Model, Smooth, console, load, no_loss, one_of, progress
from dvt_edge.errors import DvtEdgeError, packages
from dvt_edge.exporting.recipes import range_images, recipe_for, smoothing

if TYPE_CHECKING:
    from dvt_edge.exporting.sensitivity import ExitLoss, Sensitivity

SHOWN = 12


def sensitivity(
    checkpoint: Checkpoint,
    target: Annotated[str, typer.Argument(help="A recipe with layers in static int8.")] = "onnx-int8",
    data: Annotated[str | None, typer.Option(help="Real images, as `export --calibration` takes them.")] = None,
    by: Annotated[str, typer.Option(help="What is switched together: layer, block, or kind of layer.")] = "layer",
    images: Annotated[int, typer.Option(min=1, max=MOST, help="Images that losses are measured on.")] = 64,
    aim: Annotated[
        float | None, typer.Option(min=1, max=200, help="dB that every exit should have; default: the recipe's.")
    ] = None,
    smooth: Smooth = None,
    json_: Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write all figures here.")] = None,
    plot: Annotated[Path | None, typer.Option(dir_okay=False, help="Draw the layers here, .png or .svg.")] = None,
    model: Model = None,
) -> None:
    """Round one layer at a time, and all but one, in PyTorch: what each costs, and what to keep in float."""
    from dvt_edge.atomic import write_text
    from dvt_edge.exporting import sensitivity as steps
    from dvt_edge.exporting.pipeline import calibration_images

    no_loss({"--json": json_, "--plot": plot}, checkpoint, images=data)
    if plot and plot.suffix.lower() not in (".png", ".svg"):
        raise DvtEdgeError(f"--plot {plot}: expected .png or .svg")
    recipe, group = smoothing(recipe_for(target), smooth), one_of(by, steps.By, "--by")
    cascade = load(checkpoint, model)
    given = calibration_images(cascade, data).shuffled()
    used = range_images(recipe, len(given))
    measured = given.take(range(used, min(len(given), used + images)))
    with progress() as report:
        found = steps.sensitivity(cascade, recipe, given.first(used), measured, group, aim, report)
    if json_:
        write_text(json_, json.dumps(found.to_json(), indent=2) + "\n")
    if plot:
        with packages("--plot", "report"):
            from dvt_edge.report.sensitivity_plot import draw
        draw(found, plot)
    show(found)


def show(found: Sensitivity) -> None:
    from dvt_edge.cli.tables import table

    made = table(f"{found.model}, {found.target}: {found.images} images of {found.data}", "layers", "alone", "all but")
    made.add_row("(everything)", words(found.everything), "")
    for group in found.groups[:SHOWN]:
        made.add_row(group.name, words(group.alone), words(group.without))
    console.print(made)
    if not found.keep_float:
        console.print(f"every exit has {found.aim_db:g} dB with all layers in int8: nothing to keep in float")
        return
    options = " ".join(f"--keep-float '{name}'" for name in found.keep_float)
    reached = "reaches" if found.reached else "does not reach"
    console.print(f"{options}\n{reached} {found.aim_db:g} dB: {words(found.kept)}", highlight=False, soft_wrap=True)


def words(exits: tuple[ExitLoss, ...]) -> str:
    return " / ".join("equal" if one.sqnr_db is None else f"{one.sqnr_db:.1f}" for one in exits) + " dB"
