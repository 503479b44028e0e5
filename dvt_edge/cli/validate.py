"""The command `dvt-edge validate`: a bundle against PyTorch, and a device's log against both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dvt_edge.cli.exit_codes import FAILED
from dvt_edge.cli.options import BundlePath, Limit, Model, Threads, console, load, no_loss, notes, progress, unread
from dvt_edge.errors import DvtEdgeError, packages

if TYPE_CHECKING:
    from dvt_edge.data.images import LabelledImages
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.runtime import Runtime
    from dvt_edge.network.cascade import Cascade
    from dvt_edge.validation.bounds import Bounds
    from dvt_edge.validation.compare import Comparison


@dataclass(frozen=True)
class LogOptions:
    """What goes with --device-log alone."""

    against: Path | None
    bounds: Path | None
    other: list[Path] | None
    json: Path | None
    report: Path | None
    cache: Path | None


def validate(
    context: typer.Context,
    bundle: BundlePath,
    checkpoint: Annotated[
        str | None, typer.Argument(help="A .safetensors or .pth.tar file, or zoo:<name>; a log can do without.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Images; default: the package's test sample, or the log's.")] = None,
    model: Model = None,
    limit: Limit = 64,
    threads: Threads = 1,
    record: Annotated[bool, typer.Option(help="Write the result into the bundle (a folder), if it holds.")] = False,
    device_log: Annotated[
        Path | None, typer.Option(help="What a device wrote while it ran the bundle: docs/device-log.md.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another log, of another phone or app: what differs between the two.")
    ] = None,
    bounds: Annotated[
        Path | None, typer.Option(help="A JSON file of tolerances in place of the recipe's: docs/validation.md.")
    ] = None,
    outputs: Annotated[
        Path | None, typer.Option(help="Raw tensors that a device made of the bundle's golden images: a folder.")
    ] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Find the first stage, and the first tensor in it, out of its band.")
    ] = False,
    other: Annotated[
        list[Path] | None, typer.Option(help="A bundle that the device may have run by mistake; repeatable.")
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write all figures here.")] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write a page to look at here.")] = None,
    cache: Annotated[Path | None, typer.Option(file_okay=False, help="Folder that keeps the host's runs.")] = None,
) -> None:
    """Compare a bundle with PyTorch, or a device's log with both; exit code 1 where a bound is broken."""
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.engines import EXTRAS

    asked = LogOptions(against, bounds, other, json_, report, cache)
    if device_log is None and (alone := [f"--{name}" for name, value in vars(asked).items() if value]):
        raise DvtEdgeError(f"{', '.join(alone)} go with --device-log")
    if device_log is not None and record:
        raise DvtEdgeError("--record says that a bundle was held against PyTorch here; a log says what a device did")
    if outputs is not None:
        if checkpoint or device_log or record or bisect:
            raise DvtEdgeError("--outputs stands alone: it is held against the host's run of the bundle")
        unread(context, "with --outputs, which are of the bundle's golden images", "--data", "--limit")
    if device_log is not None and not bisect:
        unread(context, "with --device-log, which is taken whole", "--limit")
    if bisect and checkpoint is None:
        raise DvtEdgeError("--bisect looks for what differs from PyTorch: it takes a checkpoint")
    if device_log is None and checkpoint is None and outputs is None:
        raise DvtEdgeError("validate takes a checkpoint to compare with, --device-log or --outputs")
    if checkpoint is None:
        unread(context, "without a checkpoint", "--model")
    opened = CascadeBundle.open(bundle)
    with packages("dvt-edge validate", EXTRAS[opened.manifest.engine]):
        cascade = load(checkpoint, model) if checkpoint is not None else None
        if cascade is not None and opened.manifest.model.config != cascade.config.to_dict():
            raise DvtEdgeError(
                f"{bundle} was made from {opened.manifest.model.name}, whose configuration is not this cascade's"
            )
        if outputs is not None:
            against_outputs(opened, outputs, threads)
        passed = device_log is None or against_log(opened, cascade, device_log, data, threads, asked)
        if cascade is not None and (device_log is None or bisect):
            against_pytorch(bundle, opened, cascade, data, limit, threads, record, bisect)
    if not passed:
        raise typer.Exit(FAILED)


def against_pytorch(
    path: Path,
    opened: CascadeBundle,
    cascade: Cascade,
    data: str | None,
    limit: int,
    threads: int,
    record: bool,
    bisect: bool,
) -> None:
    from dvt_edge.cli.tables import print_comparison
    from dvt_edge.data.reading import task_images
    from dvt_edge.device.runtime import Runtime
    from dvt_edge.exporting.gate import record_verification
    from dvt_edge.exporting.recipes import recipe_for
    from dvt_edge.validation.compare import compare

    if record and not path.is_dir():
        raise DvtEdgeError(f"{path}: --record writes into a bundle's folder, not into a .zip")
    images = task_images(data, opened.labels, opened.manifest.name).shuffled().first(limit)
    runtime, bounds = Runtime(opened, threads=threads), recipe_for(opened.manifest.target).bounds
    with progress() as report:
        comparison = compare(cascade, runtime, images, report)
    print_comparison(console, comparison, opened.manifest)
    if bisect:
        console.print(where_it_begins(comparison, cascade, runtime, images, bounds), highlight=False, soft_wrap=True)
    if broken := comparison.broken_bounds(bounds, opened.manifest):
        notes.print(f"bounds of {opened.manifest.target} broken: {'; '.join(broken)}", highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED)
    if record:
        record_verification(opened, comparison)


def where_it_begins(
    comparison: Comparison, cascade: Cascade, runtime: Runtime, images: LabelledImages, bounds: Bounds
) -> str:
    from dvt_edge.exporting.exporters import in_float32
    from dvt_edge.validation.bisect import INSIDE, first_inside, first_stage

    culprit = first_stage(comparison, runtime.manifest, bounds)
    if culprit is None:
        return "every output of every stage is within its band"
    if runtime.manifest.backend not in INSIDE:
        return culprit.words() + f"; what is inside a stage cannot be seen on {runtime.manifest.backend}"
    reference = partial(in_float32, engine=runtime.manifest.engine)
    return first_inside(culprit, cascade, runtime, images, bounds, reference).words()


def against_outputs(opened: CascadeBundle, folder: Path, threads: int) -> None:
    from dvt_edge.cli.validation_tables import print_checks
    from dvt_edge.device.runtime import Runtime
    from dvt_edge.exporting.recipes import recipe_for
    from dvt_edge.validation.raw_outputs import compare_outputs

    recipe = recipe_for(opened.manifest.target)
    found, _ = compare_outputs(Runtime(opened, threads=threads), folder, recipe.device, recipe.bounds)
    print_checks(console, f"{folder}: against the host's run of {opened.manifest.name} {opened.manifest.target}", found)
    if failed := [check.name for check in found if check.verdict == "fail"]:
        console.print(f"failed: {len(failed)} of {len(found)}, the first is {failed[0]}", highlight=False)
        raise typer.Exit(FAILED)


def against_log(
    opened: CascadeBundle,
    cascade: Cascade | None,
    log: Path,
    data: str | None,
    threads: int,
    asked: LogOptions,
) -> bool:
    """Whether the log passed."""
    from dvt_edge.atomic import write_text
    from dvt_edge.cli.validation_tables import print_log_report
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.log_reader import LogReader
    from dvt_edge.exporting.recipes import recipe_for
    from dvt_edge.validation.device_validation import HostSide, bounds_of, validate_log

    reads = (opened.path, log, asked.against, asked.bounds, *(asked.other or ()))
    no_loss({"--json": asked.json, "--report": asked.report, "--cache": asked.cache}, *reads, images=data)
    recipe = recipe_for(opened.manifest.target)
    side = HostSide(
        opened,
        bounds_of(recipe.device, asked.bounds),
        recipe.bounds,
        cascade,
        log_images(data, LogReader(log).header.data, opened),
        [CascadeBundle.open(path) for path in asked.other or ()],
        asked.cache,
        asked.against,
        threads=threads,
    )
    with progress() as report:
        found = validate_log(log, side, report)
    summary = found.summary()
    print_log_report(console, found)
    if asked.json:
        write_text(asked.json, json.dumps(summary, allow_nan=False) + "\n")
        console.print(f"all figures: {asked.json}", highlight=False, soft_wrap=True)
    if asked.report:
        with packages("dvt-edge validate --report", "report"):
            from dvt_edge.report.validation_page import write_validation_report
        write_validation_report(asked.report, summary, found.pictures)
        console.print(f"a page to look at: {asked.report}", highlight=False, soft_wrap=True)
    return found.passed


def log_images(data: str | None, named: str | None, opened: CascadeBundle) -> LabelledImages | None:
    """The images at `data`, or the package's own that a log names; None where neither is given."""
    from dvt_edge.data.reading import open_images, task_images

    if data is None and not (named or "").startswith("sample:"):
        return None
    images = open_images(str(data or named))
    return task_images(data or named, opened.labels, opened.manifest.name) if images.labels is not None else images
