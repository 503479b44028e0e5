"""The commands `dvt-edge targets`, `export`, `inspect` and `upgrade`: a bundle is made, looked at, and rewritten."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dvt_edge.cli.options import (
    MOST,
    BundlePath,
    Checkpoint,
    Limit,
    Model,
    Smooth,
    console,
    load,
    no_loss,
    one_of,
    progress,
)
from dvt_edge.errors import packages
from dvt_edge.exporting.recipes import DRAWN_IMAGES, recipe_for


def targets(
    install: Annotated[
        str | None,
        typer.Option(
            help="qnn: make the environment of Qualcomm's simulator, once, and list nothing; ethos-u: that of Arm's "
            "compiler Vela; litert: that of Google's converter."
        ),
    ] = None,
) -> None:
    """List the targets, and what this machine can do about each."""
    if install is not None:
        from dvt_edge.exporting.own_environment import ENVIRONMENTS

        one_of(install, Literal["qnn", "ethos-u", "litert"], "--install")
        wanted = ENVIRONMENTS[install]
        with console.status(f"installing {wanted.what} ({wanted.size})"):
            place = wanted.install()
        console.print(f"{place}: {wanted.what}", highlight=False, soft_wrap=True)
        return
    from dvt_edge.cli.tables import table
    from dvt_edge.exporting.recipes import RECIPES
    from dvt_edge.exporting.targets import on_this_machine
    from dvt_edge.exporting.targets import targets as described

    made = table("targets", "target", "weights", "activations", "status", "on this machine")
    for recipe, row in zip(RECIPES, described(), strict=True):
        made.add_row(row.name, row.weights, row.activations, row.status, on_this_machine(recipe))
    console.print(made)
    for row in described():
        line = f"{row.name} on {row.backend}: {row.about}. Keeps {row.keeps}"
        console.print(line, highlight=False, soft_wrap=True)


def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(file_okay=False, help="Folder of the bundles; each goes into <out>/<target>.")],
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="A recipe; may be repeated.")] = None,
    calibration: Annotated[str | None, typer.Option(help="Real images: a folder, an .npz, CIFAR.")] = None,
    limit: Limit = DRAWN_IMAGES,
    name: Annotated[str | None, typer.Option(help="Name of the bundles; default: the model's.")] = None,
    model: Model = None,
    keep_float: Annotated[
        list[str] | None, typer.Option(help="A layer that is not quantized: `dvt-edge sensitivity`; may be repeated.")
    ] = None,
    smooth: Smooth = None,
    soc: Annotated[
        list[str] | None, typer.Option(help="A Snapdragon that an onnx-qnn target is compiled for; may be repeated.")
    ] = None,
    accept_degraded: Annotated[
        bool, typer.Option("--accept-degraded", help="Write a bundle that breaks its recipe's bounds, marked so.")
    ] = False,
    cached: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Copy an earlier export of the same, from the user's cache.")
    ] = True,
    workers: Annotated[
        int, typer.Option(min=0, max=MOST, help="Processes that convert stages; 0: as many as pay and memory allows.")
    ] = 0,
    zip_: Annotated[bool, typer.Option("--zip", help="Also write <out>/<target>.zip.")] = False,
) -> None:
    """Export a cascade into verified bundles, one a target (default: onnx-int8)."""
    recipes = [recipe_for(name) for name in target or ["onnx-int8"]]
    with packages(f"target {recipes[0].name}", recipes[0].extra):
        from dvt_edge.exporting.pipeline import calibration_images, check_replaceable
        from dvt_edge.exporting.pipeline import export as run_export
        from dvt_edge.network.checkpoint import checkpoint_sha256

    targets = [recipe.name for recipe in recipes]
    for path in [out / f"{recipe}{end}" for recipe in targets for end in (("", ".zip") if zip_ else ("",))]:
        no_loss({"OUT": path}, checkpoint, images=calibration)
        check_replaceable(path)
    cascade = load(checkpoint, model)
    images = calibration_images(cascade, calibration)
    for recipe in targets:
        with progress() as report:
            bundle = run_export(
                cascade,
                recipe,
                out / recipe,
                calibration=images,
                limit=limit,
                name=name,
                checkpoint_sha256=checkpoint_sha256(checkpoint),
                socs=soc or (),
                keep_float=keep_float or (),
                smooth=smooth,
                accept_degraded=accept_degraded,
                cached=cached,
                workers=workers,
                report=report,
            )
        if zip_:
            bundle.save_zip(out / f"{recipe}.zip")
        checked = "verified" if bundle.manifest.verification.verified else "NOT verified here"
        console.print(f"{out / recipe}: {bundle.size / 1e6:.2f} MB, {checked}: {bundle.manifest.verification.reason}")


def inspect(bundle: BundlePath) -> None:
    """Open a bundle, verify every file, and show what is in it."""
    from dvt_edge.cli.tables import print_manifest
    from dvt_edge.device.bundle import CascadeBundle

    opened = CascadeBundle.open(bundle)
    print_manifest(console, opened)


def upgrade(bundle: BundlePath) -> None:
    """Rewrite a bundle of an older format, a folder or a .zip, in this release's."""
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.bundle import upgrade as rewrite

    before = CascadeBundle.open(bundle).manifest.format
    after = rewrite(bundle).manifest.format
    said = f"format {before}, rewritten as format {after}" if before < after else f"already format {after}"
    console.print(f"{bundle}: {said}", highlight=False, soft_wrap=True)
    if before == 1:
        why = "format 1 does not bind a certificate to its thresholds; `dvt-edge calibrate` grants new ones"
        console.print(f"no point is certified now: {why}", highlight=False, soft_wrap=True)
