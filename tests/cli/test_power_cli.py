"""The commands about power: what users see, JSON for machines, errors in one line, nothing half written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.commands import ok, refusal
from support.device_logs import log_lines, write_log
from support.made_up_phone import Phone

from dvt_edge import CascadeBundle
from dvt_edge.cli.app import main
from dvt_edge.simulation.device_profile import open_profile

SIX = ("always-last", "fixed", "rules", "battery-only", "energy-queue", "clairvoyant")


@pytest.fixture(scope="module")
def bundle(zoo_bundle: CascadeBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that may be written to, so that its cached logits stay for all tests here."""
    folder = tmp_path_factory.mktemp("power") / "bundle"
    shutil.copytree(zoo_bundle.folder, folder)
    return folder


def test_simulate_compares_six_policies_and_says_what_is_estimated(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    args = ("simulate", bundle, "--profile", "camera-a53", "--rate", 10, "--target", 22, "--json", out)
    text = ok(capsys, *args)
    for words in (*SIX, "ESTIMATED: battery, base power, thermal model, stage costs", "UNCERTIFIED", "22 h"):
        assert words in text
    found = json.loads(out.read_text())
    assert tuple(found["outcomes"]) == SIX and found["device"] == "camera-a53"
    for outcome in found["outcomes"].values():
        assert outcome["basis"]["stage costs"] == "estimated"
        energy = outcome["energy"]
        spent = energy["base_j"] + sum(energy["stage_j"]) + energy["image_j"] + energy["lost_j"]
        assert energy["start_j"] + energy["charged_j"] - energy["end_j"] == pytest.approx(spent)
    before = out.read_bytes()
    assert ok(capsys, *args) == text and out.read_bytes() == before


def test_a_trace_a_shift_and_a_policy_of_ones_own(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s,charging_w\n" + "".join(f"{k / 2}\n" for k in range(2000)) + "1000,5\n1200,\n")
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"otherwise": "full", "rules": [{"point": "fast", "battery_below": 0.5}]}))
    text = ok(capsys, "simulate", bundle, "--workload", trace, "--policy", mine, "--shift", 0.1, "--level", 0.4)
    assert "mine" in text and "2,001 images" in text and "clairvoyant" not in text


def test_policy_shows_sets_and_clears(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no policy: always the point" in ok(capsys, "policy", bundle)
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"otherwise": "full", "queue": {"window_s": 900}, "allow_uncertified": True}))
    assert '"window_s": 900' in ok(capsys, "policy", bundle, "--set", mine)
    assert CascadeBundle.open(bundle).manifest.policy is not None
    assert "bundle" in ok(capsys, "simulate", bundle, "--hours", 1, "--rate", 1)
    assert "no policy" in ok(capsys, "policy", bundle, "--clear")


def test_run_follows_the_policy_and_says_what_is_uncertified(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.json"
    rules = [{"point": "fast", "battery_below": 0.3}, {"point": "balanced", "thermal_at_least": "serious"}]
    mine.write_text(json.dumps({"otherwise": "full", "rules": rules, "allow_uncertified": True}))
    ok(capsys, "policy", bundle, "--set", mine)
    assert "power policy: 2 rules, otherwise full, uncertified points allowed" in ok(capsys, "inspect", bundle)
    run = ("run", bundle, "sample:cifar10-test", "--limit", 3)
    assert "operating point full" in ok(capsys, *run)
    text = ok(capsys, *run, "--battery", 0.2)
    assert "operating point fast" in text and "3 without a certificate" in text
    assert "operating point balanced" in ok(capsys, *run, "--thermal", "critical")
    assert main([str(a) for a in (*run, "--thermal", "hot")]) == 2
    assert "--thermal 'hot': expected nominal, fair, serious or critical" in capsys.readouterr().err
    ok(capsys, "policy", bundle, "--clear")


def test_profile_is_made_of_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "log.jsonl", log_lines())
    text = ok(capsys, "profile", log, tmp_path / "made.json", "--base", "phone-cpu")
    assert "measured: stages 2.00 / 3.00 / 5.00 ms" in text
    assert "base power 0.400 W, measured; battery estimated, thermal model estimated" in " ".join(text.split())
    assert open_profile(tmp_path / "made.json").measured[0].artifact_sha256 == "c" * 64
    assert "note: " not in text


def test_profile_prints_the_log_of_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the base was measured too, of other artifacts."""
    first, second = log_lines(), log_lines()
    first[0]["artifact_sha256"] = "a" * 64
    ok(capsys, "profile", write_log(tmp_path / "1.jsonl", first), tmp_path / "1.json", "--base", "phone-cpu")
    log, base = write_log(tmp_path / "2.jsonl", second), tmp_path / "1.json"
    text = ok(capsys, "profile", log, tmp_path / "2.json", "--base", base)
    assert "artifacts cccccccccccc..., measured" in text and "2.jsonl: 60 images" in text


def test_profile_says_what_a_log_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In lines of their own, and in the profile: who reads its figures knows what they are of."""
    log = Phone().log(tmp_path / "log.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:150], *lines[370:], lines[-1][:20]]))
    said = ok(capsys, "profile", log, tmp_path / "made.json", "--base", "phone-cpu")
    source = open_profile(tmp_path / "made.json").measured[0].source
    notes = ("the last line is torn and left out", "220 records are missing: between seq 148 and 369")
    for note in notes:
        assert f"\nnote: {note}\n" in said and note in source


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["simulate", "BUNDLE", "--profile", "pixel"], "shipped are camera-a53, phone-cpu"),
        (["simulate", "BUNDLE", "--profile", "bad.json"], "capacity_mah -1; expected above 0"),
        (["simulate", "BUNDLE", "--rate", "-1"], "Invalid value for '--rate'"),
        (["simulate", "BUNDLE", "--rate", "nan"], "--rate"),
        (["simulate", "BUNDLE", "--workload", "back.csv"], "back.csv:3: time_s 1 is before 2"),
        (["simulate", "BUNDLE", "--workload", "hourly"], "expected fixed, poisson, diurnal"),
        (["simulate", "BUNDLE", "--charge", "20@5"], "expected FROM-TO@WATTS"),
        (["simulate", "BUNDLE", "--charge", "3-2@5"], "charging until 7200 s; expected after"),
        (["simulate", "BUNDLE", "--workload", "back.csv", "--charge", "1-2@5"], "does not go with a trace"),
        (["simulate", "BUNDLE", "--policy", "mine.json"], "names the operating point 'best'"),
        (["simulate", "BUNDLE", "--target", "-3"], "Invalid value for '--target'"),
        (["simulate", "BUNDLE", "--target", "24", "--hours", "17"], "ends before the --target"),
        (["simulate", "BUNDLE", "--workload", "short.csv", "--target", "2"], "ends after 1 h, the target is 2 h"),
        (["simulate", "BUNDLE", "--policy", "ok.json", "--policy", "more/ok.json"], "two policies of the name 'ok'"),
        (["simulate", "BUNDLE", "--policy", "rules.json"], "'rules': the name of a standard policy"),
        (["simulate", "BUNDLE", "--level", "2"], "Invalid value for '--level'"),
        (["simulate", "BUNDLE", "--logits", "."], "no about.json"),
        (["policy", "BUNDLE", "--set", "mine.json"], "no operating point 'best'"),
        (["policy", "BUNDLE", "--set", "mine.json", "--clear"], "not both"),
        (["profile", "mine.json", "out.json", "--base", "phone-cpu"], "mine.json:1"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    profile = json.loads((Path(open_profile.__code__.co_filename).parent / "profiles/camera-a53.json").read_text())
    profile["battery"]["capacity_mah"] = -1
    Path("bad.json").write_text(json.dumps(profile))
    Path("back.csv").write_text("time_s\n2\n1\n")
    Path("short.csv").write_text("time_s\n0.5\n3599\n")
    Path("mine.json").write_text(json.dumps({"otherwise": "best"}))
    Path("more").mkdir()
    for name in ("ok.json", "more/ok.json", "rules.json"):
        Path(name).write_text(json.dumps({"otherwise": "fast"}))
    manifest = (bundle / "manifest.json").read_bytes()
    written = ["--json", "out.json"] if args[0] == "simulate" else []
    assert words in refusal(capsys, *(bundle if a == "BUNDLE" else a for a in args), *written)
    assert not Path("out.json").exists() and (bundle / "manifest.json").read_bytes() == manifest


def test_the_commands_have_help_and_stand_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for command in ("simulate", "policy", "profile"):
        assert "Usage: dvt-edge " + command in ok(capsys, command, "--help")
        assert f"dvt-edge {command}" in readme
