"""The commands `dvt-edge simulate`, `policy` and `profile`: how long a battery lasts under which power policy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dvt_edge.cli.options import Seed, logits_alone, no_loss, unread
from dvt_edge.errors import DvtEdgeError, packages

if TYPE_CHECKING:
    from dvt_edge.simulation.baselines import Comparison
    from dvt_edge.simulation.simulator import Scenario
    from dvt_edge.simulation.workload import ChargeWindow, Workload

HOURS = 8_784  # a year


def simulate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder or .zip.")],
    profile: Annotated[str, typer.Option(help="A shipped device profile, or a JSON file.")] = "camera-a53",
    data: Annotated[str | None, typer.Option(help="Images to replay; default: the package's test sample.")] = None,
    logits: Annotated[Path | None, typer.Option(help="A folder of logits of this bundle, instead of --data.")] = None,
    workload: Annotated[str, typer.Option(help="fixed, poisson, diurnal, or a trace: .csv or .jsonl.")] = "fixed",
    rate: Annotated[
        float, typer.Option(min=1e-6, max=1e4, help="Images a second, on average; a trace has its own times.")
    ] = 20.0,
    hours: Annotated[
        float | None, typer.Option(min=1e-3, max=HOURS, help="Simulated time; default: the target and a tenth, or 24.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(min=1e-3, max=HOURS, help="Hours that the battery shall last.")
    ] = None,
    policy: Annotated[list[Path] | None, typer.Option(help="A power policy, JSON, to compare too; repeatable.")] = None,
    charge: Annotated[list[str] | None, typer.Option(help="Charging, FROM-TO@WATTS in hours; repeatable.")] = None,
    control: Annotated[
        float, typer.Option(min=1e-3, max=86_400, help="Seconds between two choices of the policy.")
    ] = 60.0,
    deadline: Annotated[
        float, typer.Option(min=1e-3, max=3.6e6, help="Milliseconds in which an image wants its answer.")
    ] = 100.0,
    screen: Annotated[float, typer.Option(min=0, max=1, help="Share of the time that the screen is on.")] = 0.0,
    level: Annotated[float, typer.Option(min=0, max=1, help="Battery level at the beginning, 0 to 1.")] = 1.0,
    shift: Annotated[float | None, typer.Option(min=0, max=HOURS, help="From this hour on, harder images.")] = None,
    shift_strength: Annotated[
        float, typer.Option(min=-100, max=100, help="How much harder, with --shift: weights exp(strength x rank).")
    ] = 3.0,
    believes: Annotated[
        list[str] | None,
        typer.Option(help="What policies believe, times the truth: base=0.8, capacity=1.2 or energy=1.1; repeatable."),
    ] = None,
    counter: Annotated[bool, typer.Option("--counter", help="Policies see the battery's own counter too.")] = False,
    allow_uncertified: Annotated[
        bool | None, typer.Option(help="Points without a certificate; default: only where nothing else is there.")
    ] = None,
    seed: Seed = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached logits; default: BUNDLE.logits.")] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Write everything here, for machines.")
    ] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write a report to look at here, .html.")] = None,
) -> None:
    """Replay real images on a device profile: how long the battery lasts with each power policy, and what it costs."""
    from dvt_edge.atomic import write_text
    from dvt_edge.calibration import recalibrate
    from dvt_edge.cli.options import console, progress
    from dvt_edge.cli.simulation_tables import print_comparison
    from dvt_edge.data.reading import task_images
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.device.power_policy import PowerPolicy
    from dvt_edge.device.schema import read_json
    from dvt_edge.simulation.baselines import compare_policies
    from dvt_edge.simulation.device_profile import open_profile
    from dvt_edge.simulation.replay import Shift
    from dvt_edge.simulation.simulator import scenario_of
    from dvt_edge.simulation.summary import summarize
    from dvt_edge.simulation.workload import HOUR

    logits_alone(context)
    if shift is None:
        unread(context, "without --shift", "--shift-strength")
    no_loss(
        {"--json": json_, "--report": report, "--cache": cache},
        bundle,
        profile,
        logits,
        workload,
        *(policy or ()),
        images=data,
    )
    write_report = report_writer() if report else None
    opened, device = CascadeBundle.open(bundle), open_profile(profile)
    names = [path.stem for path in policy or []] + ["bundle"] * (opened.manifest.policy is not None)
    if twice := [name for name in names if names.count(name) > 1]:
        raise DvtEdgeError(f"--policy: two policies of the name {twice[0]!r}; name files apart")
    more: dict[str, PowerPolicy] = {path.stem: read_json(PowerPolicy, path) for path in policy or []}
    if opened.manifest.policy:
        more["bundle"] = opened.manifest.policy
    if target is not None and hours is not None and hours < target:
        raise DvtEdgeError(
            f"--hours {hours:g} ends before the --target of {target:g} hours; simulate at least that long"
        )
    seconds = HOUR * (hours if hours is not None else 1.1 * target if target is not None else 24.0)
    if is_trace(workload):
        unread(context, "with a trace, which has its own times", "--rate")
    load = workload_of(workload, rate, seconds, hours is not None, seed, tuple(map(charge_window, charge or [])))
    if logits:
        found = recalibrate.cached_logits(opened, logits)
    else:
        with progress() as show:
            images = task_images(data, opened.labels, opened.manifest.name)
            found = recalibrate.bundle_logits(opened, images, cache or recalibrate.cache_of(bundle), show)
    scenario = scenario_of(
        opened,
        found,
        profile=device,
        workload=load,
        target_s=None if target is None else target * HOUR,
        control_s=control,
        deadline_s=deadline / 1e3,
        screen=screen,
        start_level=level,
        seed=seed,
        believed=device.believed(**beliefs(believes)) if believes else None,
        counter=counter,
        shift=None if shift is None else Shift(shift * HOUR, shift_strength),
    )

    def compared(scenario: Scenario) -> Comparison:
        return compare_policies(scenario, opened.manifest.default_operating_point, more, allow_uncertified)

    comparison = compared(scenario)
    print_comparison(console, scenario, comparison)
    if json_ or report:
        with progress() as show:
            summary = summarize(scenario, comparison, compared, str(context.obj), show)
        if json_:
            write_text(json_, json.dumps(summary, allow_nan=False) + "\n")
        if report and write_report:
            write_report(report, summary)
        written = " and ".join(str(path) for path in (json_, report) if path)
        console.print(f"written to {written}", highlight=False, soft_wrap=True)


def report_writer() -> Callable[[Path, dict[str, Any]], None]:
    """Raises MissingPackageError without the packages that draw."""
    with packages("--report", "report"):
        from dvt_edge.report.simulation_page import write_simulation_report
    return write_simulation_report


def policy(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    file: Annotated[
        Path | None, typer.Option("--set", help="A power policy, JSON, to write into the manifest.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the policy out of the manifest.")] = False,
) -> None:
    """Show a bundle's power policy, or write one into it."""
    from dvt_edge.cli.options import console
    from dvt_edge.device.bundle import CascadeBundle, set_policy
    from dvt_edge.device.power_policy import PowerPolicy
    from dvt_edge.device.schema import dump_json, read_json

    opened = CascadeBundle.open(bundle)
    if file and clear:
        raise DvtEdgeError("policy takes --set or --clear, not both")
    if file or clear:
        if not bundle.is_dir():
            raise DvtEdgeError(f"{bundle}: the policy is written into a bundle's folder, not into a .zip")
        opened = set_policy(opened, read_json(PowerPolicy, file) if file else None)
    found = opened.manifest.policy
    if found is None:
        console.print(f"no policy: always the point {opened.manifest.default_operating_point!r}", highlight=False)
    else:
        console.print_json(dump_json(found))


def profile(
    log: Annotated[Path, typer.Argument(help="A device's log, .jsonl: docs/device-log.md.")],
    base: Annotated[str, typer.Option(help="The profile whose other parts are kept: shipped, or a JSON file.")],
    out: Annotated[Path, typer.Argument(dir_okay=False, help="The new profile, JSON.")],
    spread: Annotated[float, typer.Option(min=1e-6, max=1, help="Of the energy, 95 %, at most this.")] = 0.02,
) -> None:
    """Make a measured device profile of a log that an app wrote."""
    from dvt_edge.atomic import write_text
    from dvt_edge.cli.options import console
    from dvt_edge.device.log_reader import LogReader
    from dvt_edge.simulation.device_profile import open_profile
    from dvt_edge.simulation.measured_profile import measured_profile

    no_loss({"OUT": out}, log, base)
    reader = LogReader(log)
    made = measured_profile(open_profile(base), reader, spread)
    write_text(out, made.to_json())
    stages = made.measured[-1]  # those of now: others stand before
    console.print(
        f"{out}: {stages.images} images of {stages.target} artifacts {stages.artifact_sha256[:12]}..., measured: "
        f"stages {' / '.join(f'{ms:.2f}' for ms in stages.stage_ms)} ms, "
        f"{' / '.join(f'{mj:.2f}' for mj in stages.stage_mj)} mJ; "
        f"{stages.source}; base power {made.power.idle_w:.3f} W, {made.power.basis}; "
        f"battery {made.battery.basis}, thermal model {made.thermal.basis}",
        highlight=False,
        soft_wrap=True,
    )
    for note in reader.notes.words():
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


def beliefs(texts: list[str]) -> dict[str, float]:
    """The factors of --believes, by what they are about. Raises DvtEdgeError."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in ("base", "capacity", "energy") or not 0 < value < math.inf or name in found:
            raise DvtEdgeError(f"--believes {text!r}: expected base=, capacity= or energy= once, and a factor above 0")
        found[name] = value
    return found


def workload_of(
    name: str, rate: float, seconds: float, bounded: bool, seed: int, charging: tuple[ChargeWindow, ...]
) -> Workload:
    """The workload of the command line's words."""
    from dvt_edge.simulation.workload import Diurnal, FixedRate, Poisson, Trace

    if name == "fixed":
        return FixedRate(rate, seconds, charging)
    if name == "poisson":
        return Poisson(rate, seconds, seed, charging)
    if name == "diurnal":
        return Diurnal(rate, seconds, seed=seed, charging=charging)
    if not is_trace(name):
        raise DvtEdgeError(f"--workload {name!r}: expected fixed, poisson, diurnal, or a .csv or .jsonl file")
    if charging:
        raise DvtEdgeError("--charge does not go with a trace: its charger events stand in the file")
    return Trace(Path(name), seconds if bounded else None)


def is_trace(workload: str) -> bool:
    return Path(workload).suffix.lower() in (".csv", ".jsonl")


def charge_window(text: str) -> ChargeWindow:
    from dvt_edge.simulation.workload import HOUR, ChargeWindow

    try:
        window, watts = text.split("@")
        start, end = window.split("-")
        values = float(start) * HOUR, float(end) * HOUR, float(watts)
    except ValueError as error:
        raise DvtEdgeError(f"--charge {text!r}: expected FROM-TO@WATTS in hours, such as 20-22@10") from error
    if not all(map(math.isfinite, values)):
        raise DvtEdgeError(f"--charge {text!r}: expected finite numbers")
    return ChargeWindow(*values)
