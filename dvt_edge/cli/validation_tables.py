"""What `dvt-edge validate --device-log` prints: verdicts, findings, errors of each exit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dvt_edge.cli.tables import decibel, percent, table
from dvt_edge.validation.bounds import SIDES

if TYPE_CHECKING:
    from dvt_edge.validation.device_validation import LogReport
    from dvt_edge.validation.verdicts import Check


def print_log_report(console: Console, report: LogReport) -> None:
    figures = report.figures
    header = figures["header"]
    what = f"{figures['log']}: {figures['images']} images on {header['device']}, {header['os']}, {header['engine']}"
    print_checks(console, what, report.checks)
    for name, words in SIDES:
        if any(row["images"] for row in figures["exits"][name]):
            console.print(errors(words, figures["exits"][name]))
    if other := figures.get("against"):
        console.print(errors(f"against {other['log']}: {other['pictures']} pictures of both", other["exits"]))
        ratio = other["total_ms"]["ratio_of_medians"]
        if ratio is not None:
            console.print(f"median time: {ratio:.2f} times that of {other['log']}", highlight=False, soft_wrap=True)
        if not other["same_artifacts"]:
            console.print("note: the other log is of other artifacts", highlight=False)
        for note in other["notes"]:
            console.print(f"note: {other['log']}: {note}", highlight=False, soft_wrap=True)
    for note in figures["notes"]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    for finding in report.findings:
        console.print(f"{finding.fault}: {finding.words}", highlight=False, soft_wrap=True)
    failed = [check.name for check in report.checks if check.verdict == "fail"]
    if report.passed:
        end = "passed"
    elif failed:
        end = f"failed: {', '.join(failed)}"
    else:
        end = "failed"
    console.print(end + ("" if report.findings or report.passed else "; no hypothesis explains it"), highlight=False)


def print_checks(console: Console, what: str, checks: Sequence[Check]) -> None:
    console.print(what, highlight=False, soft_wrap=True)
    for check in checks:
        asked = f" (asked: {check.asked})" if check.asked and check.verdict != "pass" else ""
        console.print(f"  {check.verdict:<11}  {check.name}: {check.found}{asked}", highlight=False, soft_wrap=True)


def errors(words: str, rows: list[dict[str, Any]]) -> Any:
    made = table(words, "exit", "images", "max abs error", "max relative", "SQNR dB", "cosine", "top-1", "top-5")
    for k, row in enumerate(rows):
        if row["images"]:
            cosine = row["cosine"]
            made.add_row(
                str(k),
                str(row["images"]),
                number(row["max_abs_error"]),
                number(row["max_relative_error"]),
                decibel(row["sqnr_db"]) if cosine is not None else "-",
                "-" if cosine is None else f"{cosine:.6f}",
                percent(row["top1_agreement"]),
                percent(row["top5_agreement"]),
            )
    return made


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
