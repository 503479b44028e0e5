"""What the commands print: rich tables of manifests, results, comparisons, timings."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from dvt_edge import machine
from dvt_edge.data.folders import common_folder
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.manifest import CalibrationRecord, Manifest
from dvt_edge.device.operating_point import Certificate, OperatingPoint
from dvt_edge.device.runtime import Result

if TYPE_CHECKING:
    from dvt_edge.calibration.confidence import MeasureQuality
    from dvt_edge.calibration.thresholds import Calibration
    from dvt_edge.evaluation.benchmark import Timing
    from dvt_edge.evaluation.footprint import Footprint
    from dvt_edge.validation.compare import Comparison

SHOWN_ROWS = 40


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", overflow="fold")  # a cut name tells nothing
    return made


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def decibel(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f}"


def shares(values: Sequence[float]) -> str:
    return " / ".join(f"{v:.0%}" for v in values)


def print_manifest(console: Console, bundle: CascadeBundle) -> None:
    m = bundle.manifest
    state = "verified" if m.verification.verified else "NOT verified"
    console.print(f"{m.name} for {m.target}: {m.engine} on {m.backend}, {bundle.size / 1e6:.2f} MB, {state}")
    console.print(f"  {m.verification.reason} ({m.verification.machine})", highlight=False, soft_wrap=True)
    console.print(f"  made with {', '.join(f'{k} {v}' for k, v in m.tools.items())}", highlight=False, soft_wrap=True)
    stages = table("stages", "stage", "tokens", "MMACs", "parameters", "MB", "operators taken / left")
    tensors = table("tensors", "stage", "", "name", "dtype", "shape", "role")
    for k, s in enumerate(m.stages):
        stages.add_row(
            s.name,
            f"{s.grid}x{s.grid}",
            f"{s.macs / 1e6:.2f}",
            f"{s.parameters:,}",
            f"{bundle.artifact_size(k) / 1e6:.2f}",
            f"{s.operators.delegated} / {s.operators.undelegated}",
        )
        for way, specs in (("in", s.inputs), ("out", s.outputs)):
            for t in specs:
                tensors.add_row(s.name, way, t.name, t.dtype, "x".join(map(str, t.shape)), t.role)
    console.print(stages)
    console.print(tensors)
    print_points(console, m.proved_points, m.default_operating_point, m.calibration)
    for p in m.operating_points:
        if (why := m.uncertified(p.name)) and p.certificate:
            console.print(f"  {p.name}: uncertified, its certificate is of {why}", highlight=False, soft_wrap=True)
    if m.policy:
        parts = [f"{len(m.policy.rules)} rules", *(["an energy queue"] if m.policy.queue else [])]
        line = f"power policy: {', '.join(parts)}, otherwise {m.policy.otherwise}"
        console.print(line + (", uncertified points allowed" if m.policy.allow_uncertified else ""), highlight=False)
    if m.verification.exits:
        quality = table("against PyTorch", "exit", "max abs error", "SQNR dB", "cosine", "top-1 agreement")
        for k, q in enumerate(m.verification.exits):
            row = (f"{q.max_abs_error:.2g}", decibel(q.sqnr_db), f"{q.cosine:.6f}", percent(q.top1_agreement))
            quality.add_row(str(k), *row)
        console.print(quality)


def points_table(points: Sequence[OperatingPoint], default: str, record: CalibrationRecord | None) -> Table:
    unit = record.cost_unit if record and record.cost_unit != "macs" else None
    sources = {f"{p.images} images of {p.data}" for p in points}
    cost = [f"mean {unit}"] if unit else []
    made = table("operating points", "point", "thresholds", "exit shares", "MMACs", *cost, "top-1", "95 %", "agreement")
    made.caption, made.caption_justify = f"measured on {', '.join(sorted(sources))}", "left"
    for p in points:
        made.add_row(
            p.name + (" *" if p.name == default else "") + (" c" if p.certificate else ""),
            " / ".join(f"{t:.4g}" if t <= 1 else "never" for t in p.thresholds[:-1]),
            shares(p.exit_shares),
            f"{p.mean_macs / 1e6:.2f}",
            *([f"{p.mean_cost:.4g}" if p.mean_cost is not None else "-"] if unit else []),
            percent(p.top1),
            f"{100 * p.top1_interval[0]:.1f}-{100 * p.top1_interval[1]:.1f}" if p.top1_interval else "-",
            percent(p.agreement),
        )
    return made


def print_points(
    console: Console, points: Sequence[OperatingPoint], default: str, record: CalibrationRecord | None
) -> None:
    console.print(points_table(points, default, record))
    console.print("* the default; c certified:", highlight=False)
    for p in points:
        if p.certificate:
            console.print(f"  {p.name}: {certificate(p.certificate)}", highlight=False, soft_wrap=True)


def certificate(held: Certificate) -> str:
    if held.method == "always-last":
        return "always the last exit"
    times = "first calibration" if held.attempts == 1 else f"calibration {held.attempts}"
    surely = "in expectation" if held.delta is None else f"with probability {1 - held.delta:.4g}"
    against = "accuracy lost against" if held.risk == "accuracy_loss" else "disagreement with"
    how = f"{held.method}, {held.n} images; {times} on this data"
    return f"{against} the last exit at most {held.epsilon:g} {surely} ({how})"


def print_calibration(
    console: Console, found: Calibration, qualities: Sequence[MeasureQuality], default: str, name: str
) -> None:
    record = found.record
    line = f"{name} on {record.data}: {record.searched} images searched, {record.certified} certified on, "
    console.print(f"{line}{record.measured} measured (seed {record.seed})", highlight=False, soft_wrap=True)
    if found.repeated:
        words = f"{found.repeated} images give the same logits as another one: each is counted once"
        console.print(words, highlight=False, soft_wrap=True)
    if record.cost_unit != "macs":
        console.print(f"cost in {record.cost_unit}: {record.cost_source}", highlight=False, soft_wrap=True)
    if qualities:
        title = "confidence: AUROC high, AURC low is good"
        measures = table(title, "exit", "measure", "temperature", "AUROC", "AURC")
        for q in qualities:
            used = " (used)" if q.measure == found.confidence.measure else ""
            auroc = "-" if q.auroc is None else f"{q.auroc:.4f}"
            measures.add_row(str(q.exit), q.measure + used, f"{q.temperature:.4g}", auroc, f"{q.aurc:.4f}")
        console.print(measures)
    print_points(console, found.points, default, record)
    for p in found.points:
        if p.certificate and p.certificate.method == "always-last" and p.name != "full":
            console.print(
                f"{p.name}: nothing cheaper than always the last exit could be certified on {record.certified} images; "
                "give more images or a larger risk",
                highlight=False,
                soft_wrap=True,
            )


def print_results(console: Console, manifest: Manifest, rows: Sequence[tuple[str, int | None, Result]]) -> None:
    """Each image, and a summary; past SHOWN_ROWS images the rest is in the summary only."""
    names = short_names([name for name, _, _ in rows[:SHOWN_ROWS]])
    shown = table(f"operating point {rows[0][2].operating_point}", "image", "exit", "label", "confidence", "ms", "")
    for name, (_, label, r) in zip(names, rows, strict=False):
        mark = "degraded" if r.degraded else "" if label is None else "right" if label == r.label else "wrong"
        shown.add_row(name, str(r.exit), r.label_name, f"{r.confidence:.3f}", f"{r.total_ms:.2f}", mark)
    console.print(shown)
    if len(rows) > SHOWN_ROWS:
        console.print(f"... and {len(rows) - SHOWN_ROWS} more")
    results = [r for _, _, r in rows]
    counts = [sum(r.exit == k for r in results) for k in range(len(manifest.stages))]
    cost = statistics.mean(manifest.macs[len(r.stage_ms) - 1] for r in results)
    line = (
        f"{len(rows)} images: exits {' / '.join(map(str, counts))}, mean {cost / 1e6:.2f} MMACs "
        f"({manifest.macs[-1] / cost:.2f}x less than always the last exit), "
        f"median {statistics.median(r.total_ms for r in results):.2f} ms"
    )
    if uncertified := sum(r.uncertified for r in results):
        line += f", {uncertified} without a certificate"
    known = [(label, r.label) for _, label, r in rows if label is not None]
    if known:
        line += f", top-1 {percent(statistics.mean(a == b for a, b in known))}"
    console.print(line, soft_wrap=True)


def short_names(names: Sequence[str]) -> list[str]:
    """Paths without the folders that they all are in, if any; others, such as sample:cifar10-test[3], as they are."""
    paths = [Path(name) for name in names if not name.endswith("]")]
    common = common_folder([os.path.normpath(path.parent.absolute()) for path in paths])
    return [name if common is None or name.endswith("]") else os.path.relpath(name, common) for name in names]


def print_comparison(console: Console, comparison: Comparison, manifest: Manifest) -> None:
    title = f"{manifest.name} {manifest.target} against PyTorch, {comparison.images} images of {comparison.data}"
    stages = table(title + ": each stage on PyTorch's state", "output", "max abs error", "SQNR dB", "cosine")
    for (stage, name), meter in comparison.tensors.items():
        stages.add_row(f"{stage}.{name}", f"{meter.max_abs_error:.2g}", decibel(meter.sqnr_db), f"{meter.cosine:.6f}")
    console.print(stages)
    exits = table(
        "each exit of the chained stages",
        "exit",
        "max abs error",
        "SQNR dB",
        "cosine",
        "top-1 agreement",
        "top-1",
        "PyTorch",
    )
    for k, q in enumerate(comparison.qualities()):
        exits.add_row(
            str(k),
            f"{q.max_abs_error:.2g}",
            decibel(q.sqnr_db),
            f"{q.cosine:.6f}",
            percent(q.top1_agreement),
            percent(q.top1),
            percent(q.reference_top1),
        )
    console.print(exits)
    agreement = table("same exit as PyTorch", "operating point", "agreement")
    for p in manifest.operating_points:
        agreement.add_row(p.name, percent(comparison.exit_agreement(p.thresholds, manifest.confidence)))
    console.print(agreement)


def print_benchmark(console: Console, name: str, timings: Sequence[Timing], threads: int, rounds: int) -> None:
    how = f"median of {rounds} interleaved rounds, {threads} thread(s), {machine.describe()}"
    made = table(
        f"{name}: milliseconds a stage, {how}",
        "stage",
        "engine",
        "ms",
        "ratio to PyTorch as published",
        "ratio to PyTorch, constant maps",
    )
    for t in timings:
        made.add_row(t.stage, t.engine, f"{t.ms:.2f}", f"{t.ratio_published:.3f}", f"{t.ratio_eager:.3f}")
    console.print(made)


def print_footprints(console: Console, target: str, found: Sequence[Footprint], threads: int, loads: int) -> None:
    how = f"each stage in processes of its own, median of {loads}, {threads} thread(s), {machine.describe()}"
    made = table(f"{target}: {how}", "stage", "MB", "load ms", "first run ms", "peak memory MB")
    for f in found:
        size, peak = f.artifact_bytes / 1e6, f.peak_bytes / 1e6
        made.add_row(f.stage, f"{size:.2f}", f"{f.load_ms:.1f}", f"{f.first_run_ms:.1f}", f"{peak:.1f}")
    console.print(made)


def print_summary(console: Console, summary: dict[str, Any]) -> None:
    """The demo's figures, one row a target."""
    head = f"{summary['images']} images of {summary['data']} on {summary['machine']}"
    console.print(head, highlight=False, soft_wrap=True)
    title = f"{summary['model']} at operating point {summary['point']}; saved: against always the last exit"
    cost = table(title, "target", "stage ms (median)", "mean MMACs", "MACs saved", "mean ms", "time saved", "glue ms")
    quality = table(
        "quality", "target", "MB", "SQNR dB", "top-1", "top-1 by exit", "exit shares", "same exit as PyTorch"
    )
    for t in summary["targets"]:
        if not t["ran"]:
            continue
        cost.add_row(
            t["target"],
            " / ".join(f"{v:.2f}" for v in t["stage_ms"]),
            f"{t['mean_macs'] / 1e6:.2f}",
            f"{t['macs_saved']:.2f}x",
            f"{t['mean_ms']:.2f}",
            f"{t['time_saved']:.2f}x",
            f"{t['glue_ms']:.3f}",
        )
        quality.add_row(
            t["target"],
            f"{t['megabytes']:.2f}",
            " / ".join(decibel(v) for v in t["sqnr_db"]),
            percent(t["top1"]),
            " / ".join(percent(v) for v in t["top1_per_exit"]),
            shares(t["exit_shares"]),
            percent(t["exit_agreement"]),
        )
    console.print(cost)
    console.print(quality)
    for t in summary["targets"]:
        if not t["ran"]:
            console.print(f"{t['target']} did not run here: {t['reason']}", highlight=False, soft_wrap=True)
        elif t["broken_bounds"]:
            console.print(f"{t['target']}: {'; '.join(t['broken_bounds'])}", highlight=False, soft_wrap=True)


def print_study(console: Console, result: dict[str, Any]) -> None:
    """The tables of `dvt-edge eval`."""
    console.print(result["data"], highlight=False, soft_wrap=True)
    exits = table("anytime: every image leaves at the exit", "artifact", "exit", "MMACs", "top-1", "95 % interval")
    budget = table("budgeted: joint thresholds, found on the search images", "artifact", "MMACs", "top-1", "exits")
    for found in (*result["evaluations"], *result["statics"]):
        name = ", ".join(filter(None, (found.get("static"), found["target"])))
        for k, top1 in enumerate(found["top1"]):
            low, high = found["interval"][k]
            exits.add_row(name, str(k), f"{found['macs'][k] / 1e6:.2f}", f"{top1:.2%}", f"{low:.2%} .. {high:.2%}")
        curve = found["curves"]["joint"]
        if len(curve) > 1:
            for point in curve[:: max(1, len(curve) // 8)]:
                budget.add_row(name, f"{point['cost'] / 1e6:.2f}", f"{point['top1']:.2%}", shares(point["shares"]))
    equal = table("at a static model's accuracy", "static", "top-1", "MMACs", "cascade", "MMACs", "times fewer")
    for row in result["equal_accuracy"]:
        pairs = ((row["static_top1"], row["static_macs"]), (row["cascade"]["top1"], row["cascade"]["cost"]))
        both = [text for top1, macs in pairs for text in (f"{top1:.2%}", f"{macs / 1e6:.2f}")]
        note = f", less {100 * row['tolerance']:.2f} points" if row["tolerance"] else ""
        equal.add_row(f"{row['static']}, {row['target']}{note}", *both, f"{row['fewer_macs']:.2f}")
    timed = table("batch 1", "artifact", "run", "images", "mean ms", "median", "p95", "top-1")
    for t in result["times"]:
        figures = [f"{t[k]:.3f}" for k in ("mean_ms", "median_ms", "p95_ms")]
        timed.add_row(t["target"], t["run"], str(t["images"]), *figures, f"{t['top1']:.2%}")
    speed = table("batch 64 in PyTorch, answered images leave", "run", "images/s")
    for row in result["throughput"]:
        speed.add_row(row["run"], f"{row['images_per_s']:.0f}")
    carried = table(
        "float thresholds carried over", "artifact", "aimed loss", "carried", "own", "float", "MMACs carried/own"
    )
    for row in result["carry_over"]:
        tops = (f"{row[k]['top1']:.2%}" for k in ("carried", "own", "reference"))
        costs = f"{row['carried']['cost'] / 1e6:.2f} / {row['own']['cost'] / 1e6:.2f}"
        carried.add_row(row["target"], f"{row['loss']:.1%}", *tops, costs)
    for made in (exits, budget, equal, timed, speed, carried):
        if made.row_count:
            console.print(made)
    console.print(f"machine: {result['machine']}", highlight=False, soft_wrap=True)
