"""The simulation's report: drawn from the summary alone, self-contained, and it renders in a browser."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import check_page, open_page
from support.needs import needs
from support.simulated import POINTS, made_up_logits, small_profile

from dvt_edge.cli.app import main
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.report.html import INK, figure_svg, new_figure, styled, write_page
from dvt_edge.report.simulation_page import write_simulation_report
from dvt_edge.simulation.baselines import Comparison, compare_policies
from dvt_edge.simulation.replay import Shift
from dvt_edge.simulation.simulator import Scenario
from dvt_edge.simulation.summary import AMBIENTS_K, CAPACITIES, exit_mix, summarize
from dvt_edge.simulation.workload import ChargeWindow, FixedRate

POLICIES = ("always-last", "fixed", "rules", "battery-only", "energy-queue", "clairvoyant")


def a_day(**parts: Any) -> Scenario:
    """Four minutes on a camera whose battery holds 75 joules, on a charger for one of them."""
    workload = FixedRate(25.0, 240.0, (ChargeWindow(150.0, 210.0, 1.0),))
    values: dict[str, Any] = {"target_s": 150.0, "control_s": 2.0, "seed": 5, **parts}
    confidence = ConfidenceSpec("max_softmax", (1.0, 1.0, 1.0))
    return Scenario(made_up_logits(), POINTS, confidence, small_profile(75.0), workload, **values)


def compared(scenario: Scenario) -> Comparison:
    return compare_policies(scenario, "balanced")


def summary_of(scenario: Scenario) -> dict[str, Any]:
    return summarize(scenario, compared(scenario), compared, "dvt-edge simulate a bundle & more")


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return summary_of(a_day())


@pytest.fixture(scope="module")
def page(summary: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("matplotlib")
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_simulation_report(path, summary)
    return path


def test_the_summary_is_json_and_has_the_comparison(summary: dict[str, Any]) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)).keys() == summary.keys()
    assert tuple(summary["outcomes"]) == POLICIES
    assert summary["basis"].keys() == {"battery", "base power", "thermal model", "stage costs"}
    assert all(b["basis"] == "estimated" and len(b["source"]) > 10 for b in summary["basis"].values())
    assert summary["charging_h"] == [[150 / 3600, 210 / 3600]] and summary["seed"] == 5


def test_the_exit_mix_counts_every_answered_image_once(summary: dict[str, Any]) -> None:
    outcomes = compared(a_day()).outcomes
    for name, outcome in outcomes.items():
        rows = exit_mix(outcome)
        assert rows == summary["outcomes"][name]["exit_mix"]
        assert sum(row["answered"] for row in rows) == outcome.total.answered
        counts = sum(row["answered"] * np.array(row["shares"]) for row in rows)
        assert counts == pytest.approx(outcome.total.exits)
        levels = [row["level"] for row in rows]
        assert levels == sorted(levels, reverse=True)
    assert {tuple(row["shares"]) for row in exit_mix(outcomes["always-last"])} == {(0.0, 0.0, 1.0)}


def test_sensitivity_is_the_same_run_on_another_device(summary: dict[str, Any]) -> None:
    scenario = a_day()
    rows = summary["sensitivity"]
    assert [row["capacity"] for row in rows["capacity"][:: len(POLICIES)]] == list(CAPACITIES)
    ambient_c = scenario.profile.thermal.ambient_c
    assert [row["ambient_c"] for row in rows["ambient_c"][:: len(POLICIES)]] == [ambient_c + k for k in AMBIENTS_K]
    for name, nominal in (("capacity", 1.0), ("ambient_c", ambient_c)):
        for row in rows[name]:
            if row[name] == nominal:
                outcome = summary["outcomes"][row["policy"]]
                assert (row["empty_s"], row["hottest_c"]) == (outcome["empty_s"], outcome["hottest_c"])
                assert row["right_share"] == outcome["until_target"]["right_share"]
    battery = dataclasses.replace(scenario.profile.battery, capacity_mah=scenario.profile.battery.capacity_mah * 0.7)
    smaller = compared(dataclasses.replace(scenario, profile=dataclasses.replace(scenario.profile, battery=battery)))
    first = rows["capacity"][0]
    assert first["empty_s"] == smaller.outcomes["always-last"].empty_s is not None
    assert first["hottest_c"] < rows["ambient_c"][-len(POLICIES)]["hottest_c"]


class Checker(HTMLParser):
    """Collects ids, what refers to something, and whether tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href") or "url(" in (value or ""):
                self.references.append(value or "")
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_self_contained_and_says_what_is_estimated_first(page: Path, summary: dict[str, Any]) -> None:
    html = page.read_text()
    assert "http:" not in html and "https:" not in html and "<script" not in html and INK not in html
    checker = Checker()
    checker.feed(html)
    assert checker.open == [] and len(checker.ids) == len(set(checker.ids))
    for reference in checker.references:
        target = re.sub(r"^url\(#?|\)$|^#", "", reference)
        assert reference == "data:," or target in checker.ids
    assert html.count('<svg class="plot"') == 6 and "currentColor" in html
    first = html.index("ESTIMATED, not measured: battery, base power, thermal model, stage costs")
    assert first < html.index("UNCERTIFIED") < html.index("<table>")
    for said in (
        *(summary["artifact_sha256"], summary["data_sha256"], summary["machine"], "<dt>seed</dt><dd>5</dd>"),
        "dvt-edge simulate a bundle &amp; more",
        f"{summary['outcomes']['energy-queue']['until_target']['right_share']:.2%}",
        f"{summary['outcomes']['always-last']['empty_s'] / 3600:.2f}",
    ):
        assert said in html


def test_what_was_measured_is_said_and_the_same_summary_gives_the_same_page(
    page: Path, summary: dict[str, Any], tmp_path: Path
) -> None:
    write_simulation_report(tmp_path / "again.html", json.loads(json.dumps(summary)))
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    basis = {part: {"basis": "measured", "source": "a device's log"} for part in summary["basis"]}
    write_simulation_report(tmp_path / "measured.html", {**summary, "basis": basis, "allow_uncertified": False})
    html = (tmp_path / "measured.html").read_text()
    assert "ESTIMATED" not in html and "UNCERTIFIED" not in html and html.count("measured: a device") == 4


def test_a_report_without_labels_target_or_charger() -> None:
    scenario = a_day(target_s=None, shift=Shift(60.0))
    logits = dataclasses.replace(scenario.logits, labels=None)
    scenario = dataclasses.replace(scenario, logits=logits, workload=FixedRate(0.0, 60.0))
    found = summary_of(scenario)
    assert found["bound"] is None and "clairvoyant" not in found["outcomes"]
    assert all(o["exit_mix"] == [] for o in found["outcomes"].values())


def test_a_report_of_no_images_is_written(tmp_path: Path) -> None:
    needs("matplotlib")
    scenario = a_day(target_s=None)
    logits = dataclasses.replace(scenario.logits, labels=None)
    for number, workload in enumerate((FixedRate(0.0, 60.0), FixedRate(25.0, 60.0))):
        found = summary_of(dataclasses.replace(scenario, logits=logits, workload=workload))
        write_simulation_report(tmp_path / f"{number}.html", found)
        html = (tmp_path / f"{number}.html").read_text()
        assert "Accuracy against lifetime" not in html
        assert ("Exit mix" in html) == (number == 1) and "the end; energy" in " ".join(html.split())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1100, 500], ids=["desktop", "narrow"])
def test_the_page_renders_in_a_browser(page: Path, tmp_path: Path, width: int, dark: bool) -> None:
    marks = ((0x1F, 0x9E, 0x89), (0xD6, 0x8A, 0x00), (0xE0, 0x53, 0x3D))  # exits 0 to 2 in the exit mix
    check_page(open_page(page, tmp_path, width, 3000, dark), dark, marks, least=1000)


def test_the_browser_test_notices_what_it_looks_for(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://example.invalid/x.png"><script>console.error("oh")</script>')
    opened = open_page(bad, tmp_path, 500, 300)
    assert opened.requests == ["http://example.invalid/x.png"] and '"oh"' in opened.console[0]


def test_text_of_users_is_escaped(tmp_path: Path) -> None:
    needs("matplotlib")
    with styled():
        figure = new_figure(5, 2)
        figure.subplots().set_title("<b>&")
        plot = figure_svg(figure, "one", 'says "so"')
    assert "<b>" not in plot and 'aria-label="says &#34;so&#34;"' in plot
    found = {"model": "<script>", "device": "d", "basis": {}, "outcomes": {}}
    write_page(tmp_path / "x.html", "page.html", s=found)
    assert "<script" not in (tmp_path / "x.html").read_text()


def test_simulate_writes_report_and_json_of_one_run(
    zoo_bundle: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("matplotlib")
    args = ["simulate", str(zoo_bundle.folder), "--target", "20", "--hours", "22", "--control", "600"]
    args += ["--report", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json"), "--cache", str(tmp_path / "c")]
    assert main(args) == 0
    summary = json.loads((tmp_path / "r.json").read_text())
    assert summary["command"].startswith("dvt-edge simulate ") and "--target 20" in summary["command"]
    assert summary["artifact_sha256"] == zoo_bundle.artifacts_sha256
    write_simulation_report(tmp_path / "again.html", summary)
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "r.html").read_bytes()
    capsys.readouterr()
