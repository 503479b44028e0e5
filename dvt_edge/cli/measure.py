"""The commands `dvt-edge eval`, `bench`, `footprint` and `demo`: what a cascade and its bundles are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dvt_edge.cli.exit_codes import FAILED
from dvt_edge.cli.options import MOST, BundlePath, Checkpoint, Model, Threads, console, no_loss, notes, progress, unread
from dvt_edge.errors import packages


def evaluate(
    context: typer.Context,
    checkpoint: Checkpoint,
    data: Annotated[str, typer.Option(help="CIFAR, or an ImageFolder; with labels.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the kept logits and eval.json.")] = Path(
        "build/eval"
    ),
    bundle: Annotated[list[Path] | None, typer.Option("--bundle", "-b", help="A bundle of the checkpoint.")] = None,
    static: Annotated[
        list[Path] | None, typer.Option("--static", "-s", help="A one-exit baseline: a checkpoint or a bundle.")
    ] = None,
    model: Model = None,
    holdout: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Training images held out, where the checkpoint does not say.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Of that hold-out.")] = None,
    timed: Annotated[int, typer.Option(min=1, max=MOST, help="Test images that are timed.")] = 500,
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=1, help="How far below a static model counts as its equal; 0.003 is 0.3 points."),
    ] = 0.0,
) -> None:
    """Top-1 per exit, accuracy against compute and time, beside static models; under torchrun, in parallel."""
    from dvt_edge.cli.tables import print_study
    from dvt_edge.data.reading import has_training_split
    from dvt_edge.evaluation.study import Study, run_study

    bundles, statics = tuple(bundle or ()), tuple(static or ())
    if not statics:
        unread(context, "without --static", "--tolerance")
    if not has_training_split(data):
        unread(context, f"without a training split, and {data} has none", "--holdout")
    no_loss({"--out": out / "eval.json"}, checkpoint, *bundles, *statics, images=data)
    study = Study(checkpoint, data, out, model, bundles, statics, holdout, seed, timed, tolerance)
    with progress() as report:
        result = run_study(study, report)
    if result:
        print_study(console, result)
        console.print(f"all figures: {out / 'eval.json'}", soft_wrap=True)


def bench(
    context: typer.Context,
    checkpoint: Annotated[
        str, typer.Argument(help="A checkpoint, zoo:<name>, or random:<model> for seeded random weights.")
    ],
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="A recipe; may be repeated.")] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Real images for int8; random ones for random weights.")
    ] = None,
    model: Model = None,
    threads: Threads = 1,
    rounds: Annotated[
        int, typer.Option(min=3, max=10_000, help="Timed rounds; PyTorch and the targets take turns.")
    ] = 15,
    stage: Annotated[list[int] | None, typer.Option(min=0, max=63, help="Only these stages.")] = None,
) -> None:
    """Time each stage against PyTorch in eager mode, in one process and one run."""
    from dvt_edge.cli.tables import print_benchmark
    from dvt_edge.exporting.recipes import recipe_for

    if checkpoint.startswith("random:"):
        unread(context, "with random weights, whose model is named after the colon", "--model")
    recipes = [recipe_for(name) for name in target or ["onnx-fp32", "onnx-int8"]]
    with packages(f"target {recipes[0].name}", recipes[0].extra):
        from dvt_edge.evaluation.benchmark import benchmark, cascade_to_time

    cascade = cascade_to_time(checkpoint, model)
    with progress() as report:
        timings = benchmark(cascade, recipes, calibration, threads, rounds, stage, report)
    print_benchmark(console, cascade.config.name, timings, threads, rounds)


def footprint(bundle: BundlePath, threads: Threads = 1) -> None:
    """Measure what each stage takes on this machine: size, first load, memory; kept beside the bundle."""
    import dataclasses
    import json

    from dvt_edge import machine
    from dvt_edge.atomic import write_text
    from dvt_edge.cli.tables import print_footprints
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.evaluation.footprint import LOADS, footprints

    opened = CascadeBundle.open(bundle)
    with progress() as report:
        found = footprints(opened, threads, report)
    print_footprints(console, opened.manifest.target, found, threads, LOADS)
    about = {"target": opened.manifest.target, "artifacts_sha256": opened.artifacts_sha256}
    how = {"machine": machine.describe(), "threads": threads, "loads": LOADS}
    beside = bundle.resolve().with_name(f"{bundle.resolve().name}.footprint.json")
    stages = [dataclasses.asdict(stage) for stage in found]
    try:
        write_text(beside, json.dumps(about | how | {"stages": stages}, indent=1) + "\n")
        console.print(f"kept: {beside}", highlight=False, soft_wrap=True)
    except OSError as error:  # the figures are printed
        notes.print(f"note: not kept: {beside}: {error.strerror}", highlight=False, soft_wrap=True)


def demo(
    out: Annotated[Path, typer.Option(file_okay=False, help="Where bundles, report.html and summary.json go.")] = Path(
        "build/demo"
    ),
    checkpoint: Annotated[str, typer.Option(help="The cascade to show.")] = "zoo:dvt_cifar10",
    data: Annotated[str | None, typer.Option(help="Its images, with labels; default: the package's CIFAR-10.")] = None,
) -> None:
    """Export a cascade for every target, check it, run real images, and write a report.

    Exit code 1 where a target's export was refused: the report has the others, and why.
    """
    from dvt_edge.cli.demo import run_demo

    no_loss({"--out": out / "report.html"}, checkpoint, images=data)
    with progress() as report:
        summary = run_demo(checkpoint, out, report, data)
    from dvt_edge.cli.tables import print_summary

    print_summary(console, summary)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)
    if any(target.get("refused") for target in summary["targets"]):
        raise typer.Exit(FAILED)
