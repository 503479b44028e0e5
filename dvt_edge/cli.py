"""The command line: a thin skin on the library. Errors of the user are one line on stderr and exit code 2."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dvt_edge import cli_calibrate, cli_fleet, cli_power
from dvt_edge.errors import DvtEdgeError
from dvt_edge.recipes import DRAWN_IMAGES

if TYPE_CHECKING:
    from dvt_edge.cascade import Cascade

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Early-exit vision transformers for phones: a trained cascade in, a verified bundle out.",
)
# Of click, or of the copy that newer typers carry; its subclasses are public, it is not.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]
console, notes = Console(markup=False), Console(stderr=True, markup=False)  # names may hold brackets

Checkpoint = Annotated[str, typer.Argument(help="A .safetensors or .pth.tar file, or zoo:<name>.")]
BundlePath = Annotated[Path, typer.Argument(help="A bundle's folder or .zip.")]
Model = Annotated[str | None, typer.Option(help="Configuration, where the file has none: a preset or timm:<name>.")]
Point = Annotated[str | None, typer.Option("--point", help="Operating point; default: the bundle's own.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads a stage may use.")]
Limit = Annotated[int, typer.Option(min=1, help="At most this many images.")]


@contextmanager
def progress() -> Iterator[Any]:
    """A `report(what, done, total)` that draws a bar on stderr, one line a step where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=notes, disable=not notes.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        said = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal said
            if what != said and not notes.is_terminal:
                notes.print(what, highlight=False)
            said = what
            bar.update(task, description=what, completed=done, total=total)

        yield report


def load(checkpoint: str, model: str | None) -> Cascade:
    from dvt_edge.checkpoint import load_cascade

    return load_cascade(checkpoint, model)


@app.command()
def train(
    data: Annotated[
        Path, typer.Argument(help="CIFAR in torchvision's layout, or an ImageFolder with train/ and val/.")
    ],
    out: Annotated[Path, typer.Argument(help="Run folder; a killed run goes on from there.")],
    model: Annotated[str, typer.Option(help="A preset, or timm:<name>.")] = "dvt_cifar10",
    name: Annotated[str, typer.Option(help="What to call the cascade; default: as the model.")] = "",
    epochs: Annotated[int, typer.Option(min=1)] = 100,
    batch_size: Annotated[int, typer.Option(min=2, help="Over all processes.")] = 128,
    optimizer: Annotated[str, typer.Option(help="timm's name, such as adamw or muon.")] = "adamw",
    lr: float = 1e-3,
    min_lr: float = 1e-5,
    weight_decay: float = 0.05,
    warmup_epochs: float = 5,
    mixup: float = 0.8,
    cutmix: float = 1.0,
    mix_probability: float = 1.0,
    smoothing: float = 0.1,
    auto_augment: Annotated[str, typer.Option(help="timm's RandAugment string; '' for none.")] = "rand-m9-mstd0.5-inc1",
    erasing: float = 0.25,
    ema_decay: float = 0.999,
    feature_reuse: bool = True,
    relation_reuse: bool = True,
    grids: Annotated[str, typer.Option(help="Token grids, such as 4,6,8; default: the model's.")] = "",
    exit_weights: Annotated[str, typer.Option(help="Weights of the exits' losses, such as 1,1,1.")] = "",
    distill: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the last exit's answer in the targets of earlier exits.")
    ] = 0.0,
    init: Annotated[str, typer.Option(help="Checkpoint to start from: a file or zoo:<name>.")] = "",
    holdout: Annotated[int, typer.Option(help="Training images kept out for epoch figures and calibration.")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: int = 1,
    amp: Annotated[str, typer.Option(help="auto, bf16 or off.")] = "auto",
) -> None:
    """Train a cascade; under torchrun, on several processes."""
    from dvt_edge.config import config_for
    from dvt_edge.data import no_labels, open_images
    from dvt_edge.training import TrainingOptions
    from dvt_edge.training import train as run_training

    preset, images = config_for(model), open_images(data, "train")
    if images.labels is None:
        raise no_labels(data)
    config = preset.replace(
        name=name or preset.name,
        feature_reuse=feature_reuse,
        relation_reuse=relation_reuse,
        num_classes=len(images.classes),
    )
    if grids:
        config = config.replace(grids=numbers(grids, int, "--grids"))
    options = TrainingOptions(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        min_lr=min_lr,
        weight_decay=weight_decay,
        warmup_epochs=warmup_epochs,
        mixup=mixup,
        cutmix=cutmix,
        mix_probability=mix_probability,
        smoothing=smoothing,
        auto_augment=auto_augment,
        erasing=erasing,
        ema_decay=ema_decay,
        exit_weights=numbers(exit_weights, float, "--exit-weights"),
        distill=distill,
        init=init,
        holdout=holdout,
        seed=seed,
        workers=workers,
        amp=amp,
    )
    if result := run_training(config, data, out, options):
        console.print_json(data=result)


@app.command()
def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="Folder of the bundles; each goes into <out>/<target>.")],
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="A recipe; may be repeated.")] = None,
    calibration: Annotated[str | None, typer.Option(help="Real images: a folder, an .npz, CIFAR.")] = None,
    limit: Limit = DRAWN_IMAGES,
    name: Annotated[str | None, typer.Option(help="Name of the bundles; default: the model's.")] = None,
    model: Model = None,
    zip_: Annotated[bool, typer.Option("--zip", help="Also write <out>/<target>.zip.")] = False,
) -> None:
    """Export a cascade into verified bundles, one a target (default: onnx-int8)."""
    from dvt_edge.checkpoint import checkpoint_sha256
    from dvt_edge.exporting import calibration_images
    from dvt_edge.exporting import export as run_export
    from dvt_edge.recipes import recipe_for

    targets = [recipe_for(name).name for name in target or ["onnx-int8"]]
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
                report=report,
            )
        if zip_:
            bundle.save_zip(out / f"{recipe}.zip")
        checked = "verified" if bundle.manifest.verification.verified else "NOT verified here"
        console.print(f"{out / recipe}: {bundle.size / 1e6:.2f} MB, {checked}: {bundle.manifest.verification.reason}")


@app.command()
def inspect(bundle: BundlePath) -> None:
    """Open a bundle, verify every file, and show what is in it."""
    from dvt_edge.bundle import CascadeBundle
    from dvt_edge.tables import print_manifest

    opened = CascadeBundle.open(bundle)
    print_manifest(console, opened)


@app.command()
def run(
    bundle: BundlePath,
    images: Annotated[list[str], typer.Argument(help="Images, folders, an .npz or sample:cifar10-test.")],
    point: Point = None,
    threshold: Annotated[str, typer.Option(help="Thresholds per exit instead, such as 0.8,0.9,0.")] = "",
    max_stage: Annotated[int | None, typer.Option(min=0, help="Cap: no stage after this one runs.")] = None,
    battery: Annotated[
        float | None, typer.Option(min=0, max=1, help="Battery level, 0 to 1, for the bundle's power policy.")
    ] = None,
    charging: Annotated[bool, typer.Option("--charging", help="For the power policy.")] = False,
    low_power: Annotated[bool, typer.Option("--low-power", help="For the power policy.")] = False,
    thermal: Annotated[str, typer.Option(help="nominal, fair, serious or critical, for the power policy.")] = "nominal",
    threads: Threads = 1,
    limit: Limit = 1_000_000,
) -> None:
    """Classify images with early exit: exit, label, confidence and time of each."""
    from dvt_edge.bundle import CascadeBundle
    from dvt_edge.data import in_classes, open_images
    from dvt_edge.decision import DeviceState
    from dvt_edge.policy import Thermal
    from dvt_edge.runtime import Runtime
    from dvt_edge.tables import print_results

    if point and threshold:
        raise DvtEdgeError("--point and --threshold: give one of them")
    given, opened = [open_images(path) for path in images], CascadeBundle.open(bundle)
    sources = [in_classes(found, opened.labels, opened.manifest.name) for found in given]
    runtime = Runtime(opened, point, numbers(threshold, float, "--threshold") or None, threads)
    runtime.prewarm()
    state = DeviceState(max_stage, battery, charging, low_power, one_of(thermal, Thermal, "--thermal"))
    items = ((s.name(i), s[i], s.labels[i] if s.labels else None) for s in sources for i in range(len(s)))
    rows = [
        (name, label, runtime.run(image, state)) for (name, image, label), _ in zip(items, range(limit), strict=False)
    ]
    print_results(console, runtime.manifest, rows)


@app.command()
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
    from dvt_edge.bundle import CascadeBundle
    from dvt_edge.data import task_images
    from dvt_edge.exporting import record_verification
    from dvt_edge.recipes import recipe_for
    from dvt_edge.runtime import Runtime
    from dvt_edge.tables import print_comparison
    from dvt_edge.validation import compare

    opened, cascade = CascadeBundle.open(bundle), load(checkpoint, model)
    if record and not bundle.is_dir():
        raise DvtEdgeError(f"{bundle}: --record writes into a bundle's folder, not into a .zip")
    if opened.manifest.model.config != cascade.config.to_dict():
        raise DvtEdgeError(
            f"{bundle} was made from {opened.manifest.model.name}, whose configuration is not this cascade's"
        )
    images = task_images(data, opened.labels, opened.manifest.name).shuffled().first(limit)
    with progress() as report:
        steps = iter(range(1, len(images) + 1))
        comparison = compare(
            cascade, Runtime(opened, threads=threads), images, lambda: report("comparing", next(steps), len(images))
        )
    print_comparison(console, comparison, opened.manifest)
    if broken := comparison.broken_bounds(recipe_for(opened.manifest.target).bounds, opened.manifest):
        notes.print(f"bounds of {opened.manifest.target} broken: {'; '.join(broken)}", highlight=False, soft_wrap=True)
        raise typer.Exit(1)
    if record:
        record_verification(opened, comparison)


@app.command("eval")
def evaluate(
    checkpoint: Checkpoint,
    data: Annotated[str, typer.Option(help="CIFAR, or an ImageFolder; with labels.")],
    out: Annotated[Path, typer.Option(help="Folder of the kept logits and eval.json.")] = Path("build/eval"),
    bundle: Annotated[list[Path] | None, typer.Option("--bundle", "-b", help="A bundle of the checkpoint.")] = None,
    static: Annotated[
        list[Path] | None, typer.Option("--static", "-s", help="A one-exit baseline: a checkpoint or a bundle.")
    ] = None,
    model: Model = None,
    holdout: Annotated[
        int | None, typer.Option(min=1, help="Training images held out, where the checkpoint does not say.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of that hold-out.")] = None,
    timed: Annotated[int, typer.Option(min=1, help="Test images that are timed.")] = 500,
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=1, help="How far below a static model counts as its equal; 0.003 is 0.3 points."),
    ] = 0.0,
) -> None:
    """Top-1 per exit, accuracy against compute and time, beside static models; under torchrun, in parallel."""
    from dvt_edge.study import Study, run_study
    from dvt_edge.tables import print_study

    bundles, statics = tuple(bundle or ()), tuple(static or ())
    study = Study(checkpoint, data, out, model, bundles, statics, holdout, seed, timed, tolerance)
    with progress() as report:
        result = run_study(study, report)
    if result:
        print_study(console, result)
        console.print(f"all figures: {out / 'eval.json'}", soft_wrap=True)


@app.command()
def bench(
    checkpoint: Annotated[
        str, typer.Argument(help="A checkpoint, zoo:<name>, or random:<model> for seeded random weights.")
    ],
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="A recipe; may be repeated.")] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Real images for int8; random ones for random weights.")
    ] = None,
    model: Model = None,
    threads: Threads = 1,
    rounds: Annotated[int, typer.Option(min=3, help="Timed rounds; PyTorch and the targets take turns.")] = 15,
    stage: Annotated[list[int] | None, typer.Option(help="Only these stages.")] = None,
) -> None:
    """Time each stage against PyTorch in eager mode, in one process and one run."""
    from dvt_edge.benchmark import benchmark, cascade_to_time
    from dvt_edge.recipes import recipe_for
    from dvt_edge.tables import print_benchmark

    recipes = [recipe_for(name) for name in target or ["onnx-fp32", "onnx-int8"]]
    cascade = cascade_to_time(checkpoint, model)
    with progress() as report:
        timings = benchmark(cascade, recipes, calibration, threads, rounds, stage, report)
    print_benchmark(console, cascade.config.name, timings, threads, rounds)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where bundles, report.html and summary.json go.")] = Path("build/demo"),
    checkpoint: Annotated[str, typer.Option(help="The cascade to show.")] = "zoo:dvt_cifar10",
) -> None:
    """Export the shipped cascade for every target, check it, run real images, and write a report."""
    from dvt_edge.demo import run_demo

    with progress() as report:
        summary = run_demo(checkpoint, out, report)
    from dvt_edge.tables import print_summary

    print_summary(console, summary)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)


for command in (cli_calibrate.calibrate, cli_power.simulate, cli_power.policy, cli_power.profile, cli_fleet.fleet):
    app.command()(command)


def numbers(text: str, kind: Any, option: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise DvtEdgeError(f"{option} {text!r}: expected numbers with commas between them") from error


def one_of(text: str, kind: Any, option: str) -> Any:
    """`text`, where it is one of a Literal's values."""
    known = get_args(kind)
    if text not in known:
        raise DvtEdgeError(f"{option} {text!r}: expected {', '.join(known[:-1])} or {known[-1]}")
    return text


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        said = shlex.join(("dvt-edge", *(sys.argv[1:] if args is None else args)))
        code = app(args=args, prog_name="dvt-edge", standalone_mode=False, obj=said)
        return code if isinstance(code, int) else 0
    except ClickException as error:
        message = error.format_message()  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return 130
    except (DvtEdgeError, OSError) as error:
        message = " ".join(str(error).split())
    helped = message.startswith("Usage")  # the bare command prints its help
    print(message if helped else f"error: {message}", file=sys.stderr)
    return 2


def entry() -> None:
    """The `dvt-edge` console script."""
    sys.exit(main())
