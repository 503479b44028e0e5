"""The page of `validate --device-log`: of a summary alone, self-contained, and it renders in a browser."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import check_page, open_page
from support.made_up_phone import HEADER
from support.needs import needs

from dvt_edge.cli.options import PlainConsole
from dvt_edge.cli.validation_tables import print_log_report
from dvt_edge.report.html import INK
from dvt_edge.report.validation_page import errors, sources, write_validation_report
from dvt_edge.validation.bounds import SIDES
from dvt_edge.validation.device_validation import LogReport


def side(error: float | None) -> list[dict[str, Any]]:
    names = ("max_abs_error", "p99_abs_error", "max_relative_error", "sqnr_db", "cosine")
    shares = {"top1_agreement": 0.9, "top5_agreement": None}
    return [{"images": 0 if error is None else 90, "not_finite": 0, **dict.fromkeys(names, error), **shares}] * 3


def summary_of(passed: bool) -> dict[str, Any]:
    answer = {"exit": 1, "label": 3, "name": "cat <b>", "confidence": 0.91}
    times = [{"time_s": 10.0 * k, "p50_ms": 2 + k / 10, "images": 9, "temperature_c": 30.0 + k} for k in range(20)]
    check = {"name": "kernels", "verdict": "pass" if passed else "fail", "found": "0.3", "asked": "at most 0.25"}
    return {
        "passed": passed,
        "checks": [check, {"name": "latency", "verdict": "not checked", "found": "p50 2", "asked": ""}],
        "findings": [] if passed else [{"fault": "state mix-up", "words": "stage 1 got <another> state"}],
        "log": "log.jsonl",
        "header": dataclasses.asdict(HEADER),
        "bundle": {"name": "a cascade", "artifact_sha256": "c" * 64},
        "host": "a host",
        "notes": ["the last line is torn and left out"],
        "images": 90,
        "errors": {"NotFiniteError": 2},
        "exits": {"kernels": side(0.1), "quantization": side(0.4), "total": side(None)},
        "confusion": [[50, 2, 0], [1, 30, 0], [0, 0, 7]],
        "scatter": [[k / 90, k / 91] for k in range(90)],
        "accuracy": {"images": 90, "device": 0.8, "host": 0.81, "difference": -0.01, "interval": [-0.03, 0.01]},
        "latency": {"total_ms": {"p50": 2.0}, "stage_ms": [], "over_time": times, "sustained": 1.9},
        "worst": [{"id": f"image <{k}>", "device": answer, "host": answer | {"label": k}} for k in range(4)],
    }


def pictures() -> list[Any]:
    dice = np.random.default_rng(0)
    one, two = dice.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    return [(one, two), (one, one), (None, two), (None, None)]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    needs("matplotlib")
    write_validation_report(tmp_path / "page.html", summary_of(False), pictures())
    return tmp_path / "page.html"


def test_the_page_says_the_verdict_first_and_escapes_what_others_wrote(page: Path) -> None:
    html = page.read_text()
    assert "http:" not in html and "https:" not in html and "<script" not in html and INK not in html
    assert html.index("a made-up phone: failed") < html.index("state mix-up") < html.index("<table>")
    assert "stage 1 got &lt;another&gt; state" in html and "image &lt;3&gt;" in html and "cat &lt;b&gt;" in html
    assert html.count('<svg class="plot"') == 4
    assert "2 NotFiniteError" in html and "the last line is torn" in html
    assert "80.0 % on the device" in re.sub(r"\s+", " ", html)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_the_page_and_the_terminal_say_the_same(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of which sides are held against each other: in the plot's legend, and in both tables."""
    figures = {k: v for k, v in summary_of(False).items() if k not in ("passed", "checks", "findings")}
    print_log_report(PlainConsole(width=200), LogReport([], [], figures, []))
    said, html = capsys.readouterr().out, page.read_text()
    shown = {words for name, words in SIDES if name != "total"}  # of which the log has nothing
    assert shown and all(words in said and f'<td class="words">{words}</td>' in html for words in shown)
    drawn = errors(summary_of(False))
    assert drawn is not None and {text.get_text() for text in drawn.axes[0].get_legend().get_texts()} == shown


def test_what_another_log_lacks_is_said_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of --against: in the terminal and on the page."""
    needs("matplotlib")
    other = {"log": "before.jsonl", "device": "another phone", "pictures": 9, "same_artifacts": False, "exits": []}
    other |= {"notes": ["7 records are missing"], "total_ms": {"ratio_of_medians": None}}
    summary = summary_of(True) | {"against": other | {"exit_agreement": 1.0, "answer_agreement": 1.0}}
    figures = {k: v for k, v in summary.items() if k not in ("passed", "checks", "findings")}
    print_log_report(PlainConsole(width=200), LogReport([], [], figures, []))
    write_validation_report(tmp_path / "page.html", summary)
    for said in (capsys.readouterr().out, (tmp_path / "page.html").read_text()):
        assert "the other log is of other artifacts" in said and "before.jsonl: 7 records are missing" in said


def test_pixels_that_are_the_hosts_are_shown_once(page: Path) -> None:
    assert [len(sources(pair)) for pair in pictures()] == [2, 1, 1, 0]
    assert page.read_text().count("<img src=") == 4


def test_a_log_of_little_gives_a_page_too(tmp_path: Path) -> None:
    needs("matplotlib")
    bare = summary_of(True)
    bare |= {"exits": dict.fromkeys(bare["exits"], side(None)), "confusion": [[0] * 3] * 3, "scatter": []}
    bare |= {"accuracy": None, "worst": [], "notes": [], "latency": bare["latency"] | {"over_time": []}}
    write_validation_report(tmp_path / "bare.html", json.loads(json.dumps(bare)))
    html = (tmp_path / "bare.html").read_text()
    assert "passed" in html and '<svg class="plot"' not in html and 'class="warning"' not in html


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1100, 500], ids=["desktop", "narrow"])
def test_the_page_renders_in_a_browser(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    bars = ((0x1F, 0x9E, 0x89), (0xD6, 0x8A, 0x00))  # of both sides
    check_page(open_page(page, tmp_path, width, 3000, dark), dark, bars, least=500)
