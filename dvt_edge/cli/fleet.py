"""The command `dvt-edge fleet`: many devices that differ, under every power policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

if TYPE_CHECKING:
    from dvt_edge.simulation.fleet_run import Summary


def fleet(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder or .zip.")],
    description: Annotated[str, typer.Argument(help="A shipped fleet, or a JSON file: docs/fleet.md.")],
    out: Annotated[
        Path, typer.Argument(file_okay=False, help="Folder of the results; a killed run goes on from there.")
    ],
    data: Annotated[str | None, typer.Option(help="Images to replay; default: the package's test sample.")] = None,
    logits: Annotated[Path | None, typer.Option(help="A folder of logits of this bundle, instead of --data.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached logits; default: BUNDLE.logits.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="So many devices instead of the description's.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3_660, help="So many days instead of the description's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Instead of the description's.")] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="ray needs the extra of that name.")] = "local",
    workers: Annotated[int, typer.Option(min=1, max=1_024, help="Processes.")] = 1,
) -> None:
    """Simulate many devices that differ, for days, under every power policy: Parquet out, and a summary."""
    from dvt_edge.calibration import recalibrate
    from dvt_edge.cli.options import console, logits_alone, no_loss, progress
    from dvt_edge.data.reading import task_images
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.simulation.fleet_run import parts_of, run_fleet

    logits_alone(context)
    no_loss({"OUT": out / "summary.json", "--cache": cache}, bundle, description, images=data)
    opened = CascadeBundle.open(bundle)
    parts = parts_of(description, opened, devices=devices, days=days, seed=seed)
    with progress() as report:
        if logits:
            recalibrate.cached_logits(opened, logits)
        else:
            images = task_images(data, opened.labels, opened.manifest.name)
            cache = cache or recalibrate.cache_of(bundle)
            logits = recalibrate.logits_folder(opened, images, cache)
            recalibrate.bundle_logits(opened, images, cache, report)
        summary = run_fleet(parts, logits, out, engine, workers, report)
    print_fleet(console, summary)
    written = f"all figures: {out / 'summary.json'}; every device and day: {out / 'devices.parquet'}"
    console.print(written, highlight=False, soft_wrap=True)


def print_fleet(console: Console, summary: Summary) -> None:
    """What is estimated first, then a row a policy."""
    from dvt_edge.cli.tables import percent, shares, table

    for profile, parts in summary.estimated.items():
        if parts:
            console.print(f"{profile}: ESTIMATED: {', '.join(parts)}", highlight=False, soft_wrap=True)
    if summary.allow_uncertified:
        console.print("operating points without a certificate are allowed: UNCERTIFIED", highlight=False)
    console.print(
        f"{summary.name}: {summary.devices} devices, {summary.days} days, seed {summary.seed}; {summary.target} "
        f"artifacts {summary.artifact_sha256[:12]}..., replayed from {summary.images} images of {summary.data}",
        highlight=False,
        soft_wrap=True,
    )
    lives = table("lifetime", "policy", "never empty", "days", "empty h, p5 / p50", "answered", "J a day")
    quality = table("right answers", "policy", "of answered", "of all", "worst 5 %", "to bound", "exits")
    for p in summary.policies:
        lives.add_row(
            p.policy,
            percent(p.met_share),
            percent(p.met_days_share),
            " / ".join(hours(p.lifetime_h[q], summary.days * 24.0) for q in ("p5", "p50")),
            percent(p.answered / p.arrived if p.arrived else None),
            f"{p.inference_j_a_day:,.0f}",
        )
        quality.add_row(
            p.policy,
            *(percent(value) for value in (p.accuracy, p.right_share, p.right_share_p5, p.below_bound)),
            shares(p.exit_shares or ()),
        )
    console.print(lives)
    console.print(quality)


def hours(value: float, whole: float) -> str:
    """A device that never ran empty counts as the whole time."""
    return f"> {whole:g}" if value >= whole else f"{value:.1f}"
