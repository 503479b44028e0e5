"""The commands `dvt-edge run` and `validate`: a bundle answers, and is held against PyTorch."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from dvt_edge.cli.exit_codes import FAILED, USER_ERROR
from dvt_edge.cli.options import (
    MOST,
    BundlePath,
    Checkpoint,
    Limit,
    Model,
    Point,
    Threads,
    console,
    load,
    notes,
    numbers,
    one_of,
    progress,
)
from dvt_edge.errors import DataError, DvtEdgeError, NotFiniteError, packages


def run(
    bundle: BundlePath,
    images: Annotated[list[str], typer.Argument(help="Images, folders, an .npz or sample:cifar10-test.")],
    point: Point = None,
    threshold: Annotated[str, typer.Option(help="Thresholds per exit instead, such as 0.8,0.9,0.")] = "",
    max_stage: Annotated[int | None, typer.Option(min=0, max=63, help="Cap: no stage after this one runs.")] = None,
    battery: Annotated[
        float | None, typer.Option(min=0, max=1, help="Battery level, 0 to 1, for the bundle's power policy.")
    ] = None,
    charging: Annotated[bool, typer.Option("--charging", help="For the power policy.")] = False,
    low_power: Annotated[bool, typer.Option("--low-power", help="For the power policy.")] = False,
    thermal: Annotated[str, typer.Option(help="nominal, fair, serious or critical, for the power policy.")] = "nominal",
    threads: Threads = 1,
    limit: Limit = MOST,
) -> None:
    """Classify images with early exit: exit, label, confidence and time of each; 1 where one could not be read."""
    from dvt_edge.cli.tables import print_results
    from dvt_edge.data.classes import in_classes
    from dvt_edge.data.reading import open_images
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.device_state import DeviceState, Thermal
    from dvt_edge.device.runtime import Runtime

    if point and threshold:
        raise DvtEdgeError("--point and --threshold: give one of them")
    given, opened = [open_images(path) for path in images], CascadeBundle.open(bundle)
    sources = [in_classes(found, opened.labels, opened.manifest.name) for found in given]
    runtime = Runtime(opened, point, numbers(threshold, float, "--threshold") or None, threads)
    runtime.prewarm()
    state = DeviceState(max_stage, battery, charging, low_power, one_of(thermal, Thermal, "--thermal"))
    items = ((s.name(i), s[i], s.labels[i] if s.labels else None) for s in sources for i in range(len(s)))
    rows, unanswered = [], 0
    for name, image, label in islice(items, limit):
        try:
            rows.append((name, label, runtime.run(image, state)))
        except (DataError, NotFiniteError) as error:  # of this image: the others have their answers
            unanswered += 1
            reason = str(error) if name in str(error) else f"{name}: {error}"
            notes.print(f"error: {reason}", highlight=False, soft_wrap=True)
    if rows:
        print_results(console, runtime.manifest, rows)
    if unanswered and unanswered + len(rows) > 1:
        notes.print(f"no answer for {unanswered} of {len(rows) + unanswered} images", highlight=False)
    if unanswered:
        raise typer.Exit(FAILED if rows else USER_ERROR)


def validate(
    bundle: BundlePath,
    checkpoint: Checkpoint,
    data: Annotated[str | None, typer.Option(help="Images; default: the package's test sample.")] = None,
    model: Model = None,
    limit: Limit = 64,
    threads: Threads = 1,
    record: Annotated[bool, typer.Option(help="Write the result into the bundle (a folder), if it holds.")] = False,
) -> None:
    """Compare every stage and exit of a bundle with PyTorch; exit code 1 where its bounds are broken."""
    from dvt_edge.cli.tables import print_comparison
    from dvt_edge.data.reading import task_images
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.engines import EXTRAS
    from dvt_edge.device.runtime import Runtime
    from dvt_edge.exporting.recipes import recipe_for

    opened = CascadeBundle.open(bundle)
    with packages("dvt-edge validate", EXTRAS[opened.manifest.engine]):
        from dvt_edge.exporting.pipeline import record_verification
        from dvt_edge.validation.compare import compare

    cascade = load(checkpoint, model)
    if record and not bundle.is_dir():
        raise DvtEdgeError(f"{bundle}: --record writes into a bundle's folder, not into a .zip")
    if opened.manifest.model.config != cascade.config.to_dict():
        raise DvtEdgeError(
            f"{bundle} was made from {opened.manifest.model.name}, whose configuration is not this cascade's"
        )
    images = task_images(data, opened.labels, opened.manifest.name).shuffled().first(limit)
    with progress() as report:
        comparison = compare(cascade, Runtime(opened, threads=threads), images, report)
    print_comparison(console, comparison, opened.manifest)
    if broken := comparison.broken_bounds(recipe_for(opened.manifest.target).bounds, opened.manifest):
        notes.print(f"bounds of {opened.manifest.target} broken: {'; '.join(broken)}", highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED)
    if record:
        record_verification(opened, comparison)
