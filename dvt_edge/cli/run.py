"""The command `dvt-edge run`: a bundle answers."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from dvt_edge.cli.exit_codes import FAILED, USER_ERROR
from dvt_edge.cli.options import (
    MOST,
    BundlePath,
    Limit,
    Point,
    Threads,
    console,
    given,
    notes,
    numbers,
    one_of,
    unread,
)
from dvt_edge.errors import DataError, DvtEdgeError, NotFiniteError

STATE = ("--battery", "--charging", "--low-power", "--thermal")  # what a power policy sees


def run(
    context: typer.Context,
    bundle: BundlePath,
    images: Annotated[list[str], typer.Argument(help="Images, folders, an .npz or sample:cifar10-test.")],
    point: Point = None,
    threshold: Annotated[str, typer.Option(help="Thresholds per exit instead, such as 0.8,0.9,0.")] = "",
    max_stage: Annotated[int | None, typer.Option(min=0, max=63, help="Cap: no stage after this one runs.")] = None,
    battery: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Battery level, 0 to 1, for the power policy; nothing else reads it."),
    ] = None,
    charging: Annotated[bool, typer.Option("--charging", help="For the power policy.")] = False,
    low_power: Annotated[bool, typer.Option("--low-power", help="For the power policy.")] = False,
    thermal: Annotated[str, typer.Option(help="nominal, fair, serious or critical, for the power policy.")] = "nominal",
    threads: Threads = 1,
    limit: Limit = MOST,
) -> None:
    """Classify images with early exit: exit, label, confidence and time of each; 1 where some could not be read."""
    from dvt_edge.cli.tables import print_results
    from dvt_edge.data.classes import in_classes
    from dvt_edge.data.reading import open_images
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.device_state import DeviceState, Thermal
    from dvt_edge.device.runtime import Runtime

    if point and threshold:
        raise DvtEdgeError("--point and --threshold: give one of them")
    if point or threshold:
        unread(context, f"with {'--point' if point else '--threshold'}, which takes the power policy's place", *STATE)
    found, opened = [open_images(path) for path in images], CascadeBundle.open(bundle)
    sources = [in_classes(some, opened.labels, opened.manifest.name) for some in found]
    runtime = Runtime(opened, point, numbers(threshold, float, "--threshold") or None, threads)
    runtime.prewarm()
    state = DeviceState(max_stage, battery, charging, low_power, one_of(thermal, Thermal, "--thermal"))
    if opened.manifest.policy is None and (of_policy := given(context, *STATE)):
        words = f"note: {bundle} has no power policy: nothing reads {', '.join(of_policy)}"
        notes.print(words, highlight=False, soft_wrap=True)
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
