"""The command `dvt-edge calibrate`: a bundle's operating points, found anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvt_edge.cli.options import MOST, Limit, Seed, no_loss
from dvt_edge.errors import DvtEdgeError


def calibrate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder; its manifest gets the points.")],
    data: Annotated[str, typer.Option(help="Images it was not trained on: a folder, an .npz, CIFAR, a sample.")] = "",
    logits: Annotated[Path | None, typer.Option(help="A folder of logits of this bundle, instead of --data.")] = None,
    device_log: Annotated[
        Path | None, typer.Option(help="A device's own logits: its log of every stage; --data has the labels.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="budget:COST, accuracy:TOP1, loss:QUALITY, risk:EPSILON, paper:P; NAME= before; repeatable."),
    ] = None,
    risk: Annotated[str, typer.Option(help="accuracy_loss, or disagreement, which needs no labels.")] = "accuracy_loss",
    bound: Annotated[str, typer.Option(help="wsr, binomial, hoeffding-bentkus, or crc (in expectation).")] = "",
    delta: Annotated[float, typer.Option(min=0, max=1, help="Probability that a certificate may fail.")] = 0.1,
    measure: Annotated[str, typer.Option(help="Confidence: max_softmax, margin or entropy.")] = "max_softmax",
    temperature: Annotated[str, typer.Option(help="fit, keep, or one an exit, such as 1,1,1.")] = "",
    cost: Annotated[str, typer.Option(help="Unit of budgets: macs, ms or mJ.")] = "macs",
    stage_cost: Annotated[str, typer.Option(help="What each stage costs on the device, such as 2.1,4.0,7.5.")] = "",
    default: Annotated[str | None, typer.Option(help="Name of the default point.")] = None,
    split: Annotated[str, typer.Option(help="test, train, or held-out: what training kept out of train.")] = "test",
    skip: Annotated[int, typer.Option(min=0, max=MOST, help="Leave out this many first images.")] = 0,
    limit: Limit = MOST,
    seed: Seed = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached logits; default: BUNDLE.logits.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print, and leave the bundle as it is.")] = False,
) -> None:
    """Find a bundle's operating points on the outputs of its own artifacts, and write them into it."""
    from dvt_edge.calibration import recalibrate as steps
    from dvt_edge.calibration.confidence import measure_qualities
    from dvt_edge.calibration.risk import Method, Risk
    from dvt_edge.calibration.thresholds import SHARPEST, RiskRule, Unit, parse_objective
    from dvt_edge.calibration.thresholds import calibrate as find_points
    from dvt_edge.cli.options import console, logits_alone, notes, numbers, one_of, progress, unread
    from dvt_edge.cli.tables import print_calibration
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.operating_point import Measure

    kind = one_of(risk, Risk, "--risk")
    rule = RiskRule(kind, one_of(bound or SHARPEST[kind], Method, "--bound"), delta)
    asked = [parse_objective(text) for text in objective or []]
    chosen, unit = one_of(measure, Measure, "--measure"), one_of(cost, Unit, "--cost")
    given = () if temperature in ("", "fit", "keep") else numbers(temperature, float, "--temperature")
    per_stage = numbers(stage_cost, float, "--stage-cost")
    if dry_run and any(objective.kind == "risk" for objective in asked):
        raise DvtEdgeError("--dry-run: to see a certificate is an attempt, and the bundle counts those; leave it out")
    no_loss({"--cache": cache}, bundle, images=data or None)
    steps.writable(bundle)
    opened, names = CascadeBundle.open(bundle), None
    if logits and device_log:
        raise DvtEdgeError("--logits and --device-log: give one of them")
    logits_alone(context, "--split", "--skip", "--limit")
    if not device_log and not data and not logits:
        raise DvtEdgeError("calibrate takes images (--data) or logits computed before (--logits): give one of them")
    if device_log:
        from dvt_edge.data.classes import in_classes
        from dvt_edge.validation.device_logits import device_logits

        unread(context, "with --device-log, which is taken whole and never run", "--skip", "--limit", "--cache")
        if not data:
            unread(context, "without --data", "--split")
        given_images = steps.images_of(opened, data, one_of(split, steps.Part, "--split")) if data else None
        labelled = in_classes(given_images, opened.labels, opened.manifest.name) if given_images else None
        of_device = device_logits(device_log, opened, labelled)
        found, names = of_device.found, of_device.name
        for note in of_device.notes:
            notes.print(f"note: {note}", highlight=False, soft_wrap=True)
    elif logits:
        found = steps.cached_logits(opened, logits)
    else:
        images = steps.some_of(steps.images_of(opened, data, one_of(split, steps.Part, "--split")), skip, limit)
        with progress() as report:
            found = steps.bundle_logits(opened, images, cache or steps.cache_of(bundle), report)
        names = images.name
    if temperature == "keep" or (not temperature and found.labels is None):
        given = opened.manifest.confidence.temperature
    result = find_points(
        found,
        objectives=asked,
        measure=chosen,
        temperature=given or None,
        cost=steps.cost_of(found.about, unit, per_stage),
        rule=rule,
        seed=seed,
        attempts=opened.manifest.attempts.get(found.about.data_sha256, 0) + 1,
        name_of=names,
    )
    if not result.record.searched:
        raise DvtEdgeError(f"{found.about.data}: {found.about.images} images, none left to search on; give more")
    after = result.apply_to(opened.manifest, default)
    held_out = found.take(result.parts.measure)
    qualities = measure_qualities(held_out, result.confidence.temperature) if found.labels is not None else ()
    print_calibration(console, result, qualities, after.default_operating_point, after.name)
    if not dry_run:
        steps.write_points(opened, result, default)
        console.print(f"written into {bundle / 'manifest.json'}", highlight=False, soft_wrap=True)
