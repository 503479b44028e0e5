"""Fleets: the same rows whatever the engine, the workers and the order; resumable; nothing half written."""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.commands import ok, refusal
from support.fake_bundle import write_bundle
from support.needs import needs

from dvt_edge.calibration.exit_logits import About, open_logits, seal
from dvt_edge.cli.app import main
from dvt_edge.data.shipped import shipped
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.operating_point import OperatingPoint
from dvt_edge.device.power_policy import PowerPolicy
from dvt_edge.device.schema import from_json, parse_json, read_json, schema_of
from dvt_edge.errors import DataError, DvtEdgeError, EngineError, SchemaError, SimulationError
from dvt_edge.machine import spread
from dvt_edge.simulation import fleet_run
from dvt_edge.simulation.device_profile import open_profile
from dvt_edge.simulation.fleet import (
    SHIPPED,
    Arrivals,
    Charging,
    DeviceKind,
    Fleet,
    Spread,
    draw,
    open_fleet,
    workload_of,
)
from dvt_edge.simulation.fleet_device import Parts, UntilCharger, scenario_of_device, simulate_device
from dvt_edge.simulation.fleet_engines import on_ray
from dvt_edge.simulation.fleet_run import CHUNK, Summary, run_fleet
from dvt_edge.simulation.simulator import PolicyChooser, compare
from dvt_edge.simulation.workload import DAY

MACS = (5_000_000, 15_000_000, 32_000_000)
POINTS = tuple(
    OperatingPoint(name, thresholds, shares, 1e6, 1.0, top1, 60, "made up")
    for name, thresholds, shares, top1 in (
        ("fast", (0.3, 0.4, 0.0), (0.8, 0.15, 0.05), 0.6),
        ("balanced", (0.6, 0.8, 0.0), (0.4, 0.3, 0.3), 0.7),
        ("full", (2.0, 2.0, 0.0), (0.0, 0.0, 1.0), 0.75),
    )
)
CAMERA = DeviceKind(
    "camera",
    "camera-a53",
    Arrivals(Spread(5.0, 40.0, "log_uniform")),
    Charging(Spread(9.0, 12.0), Spread(3.0, 6.0), Spread(4.0, 8.0), 0.8),
    capacity=Spread(0.7, 1.0),
    ambient_c=Spread(0.0, 35.0, "triangular"),
    start_level=Spread(0.8, 1.0),
)
PHONE = DeviceKind("phone", "phone-cpu", Arrivals(Spread(0.1, 0.5), "diurnal"), weight=0.5, screen=Spread(0.1, 0.3))


def parts_of(devices: int = CHUNK + 2, **fields: object) -> Parts:
    fleet = Fleet(1, "small", devices, 2, (CAMERA, PHONE), control_s=1800.0, seed=3)
    profiles = {name: open_profile(name) for name in ("camera-a53", "phone-cpu")}
    confidence = ConfidenceSpec("max_softmax", (1.0, 1.0, 1.0))
    return Parts(dataclasses.replace(fleet, **fields), profiles, POINTS, confidence, "balanced")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def logits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of logits as `exit_logits.merge` leaves it: later exits are more often right, and more sure."""
    random, images = np.random.default_rng(0), 60
    labels = random.integers(0, 5, images)
    values = random.normal(size=(images, 3, 5))
    for k in range(3):
        values[np.arange(images), k, labels] += 1.0 + k
    folder = tmp_path_factory.mktemp("logits")
    np.save(folder / "logits.npy", values.astype(np.float32))
    np.save(folder / "labels.npy", labels.astype(np.int64))
    about = {
        "name": "made up",
        "target": "onnx-int8",
        "artifact_sha256": "ab" * 32,
        "data": "made up",
        "data_sha256": "cd" * 32,
        "images": images,
        "exits": 3,
        "classes": list("abcde"),
        "macs": list(MACS),
        "stage_ms": None,
        "machine": "none",
    }
    seal(folder, from_json(About, about, "about"))
    return folder


@pytest.fixture(scope="module")
def alone(logits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """The small fleet in one process."""
    needs("pyarrow")
    out = tmp_path_factory.mktemp("fleets") / "alone"
    return out, run_fleet(parts_of(), logits, out)


@pytest.fixture
def bundle_and_logits(logits: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle without an engine's files, and logits that belong to it."""
    bundle = write_bundle(tmp_path / "bundle")
    about = json.loads((logits / "about.json").read_text()) | {
        "artifact_sha256": bundle.artifacts_sha256,
        "classes": ["cat", "dog", "ship"],
    }
    folder = tmp_path / "logits"
    folder.mkdir()
    np.save(folder / "logits.npy", np.load(logits / "logits.npy")[:, :, :3])
    np.save(folder / "labels.npy", np.load(logits / "labels.npy") % 3)
    seal(folder, from_json(About, about, "about"))
    return tmp_path / "bundle", folder


def fleet_words(bundle: Path, folder: Path, *more: object) -> tuple[object, ...]:
    return ("fleet", bundle, "mixed", bundle.parent / "out", "--logits", folder, "--devices", 3, "--days", 1, *more)


def test_the_command_prints_what_the_summary_holds(
    bundle_and_logits: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("pyarrow")
    monkeypatch.setattr("dvt_edge.cli.options.console", Console(width=160))
    text = " ".join(ok(capsys, *fleet_words(*bundle_and_logits)).split())
    assert text.index("camera-a53: ESTIMATED: battery, base power") < text.index("UNCERTIFIED") < text.index("lifetime")
    assert "mixed: 3 devices, 1 days, seed 1" in text and "energy-queue" in text
    saved = json.loads((bundle_and_logits[0].parent / "out/summary.json").read_text())
    for policy in saved["policies"]:
        assert f"{policy['policy']} │ {policy['accuracy']:.1%} │ {policy['right_share']:.1%} │" in text
    again = ok(capsys, *fleet_words(*bundle_and_logits))  # read, not simulated again
    assert " ".join(again.split()) == text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seed", "-1"], "seed"),
        (["--engine", "spark"], "spark"),
        (["--workers", "0"], "workers"),
        (["--logits", "nowhere"], "nowhere: no about.json"),
    ],
)
def test_errors_of_the_command_are_one_line(
    bundle_and_logits: tuple[Path, Path], capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert words in refusal(capsys, *fleet_words(*bundle_and_logits, *more))
    assert not (bundle_and_logits[0].parent / "out").exists()


def test_the_command_has_help_and_stands_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "--help"]) == 0
    assert "Usage: dvt-edge fleet" in capsys.readouterr().out
    assert "dvt-edge fleet" in (Path(__file__).parents[2] / "README.md").read_text()


def rows(out: Path) -> list[dict[str, object]]:
    from pyarrow import parquet

    return parquet.read_table(out / "devices.parquet").to_pylist()


def test_local_processes_give_the_same_file(alone: tuple[Path, Summary], logits: Path, tmp_path: Path) -> None:
    summary = run_fleet(parts_of(), logits, tmp_path / "two", workers=2)
    assert (tmp_path / "two/devices.parquet").read_bytes() == (alone[0] / "devices.parquet").read_bytes()
    assert summary == alone[1]


def test_ray_gives_the_same_file(alone: tuple[Path, Summary], logits: Path, tmp_path: Path) -> None:
    needs("ray")
    summary = run_fleet(parts_of(), logits, tmp_path / "ray", "ray", workers=2)
    assert (tmp_path / "ray/devices.parquet").read_bytes() == (alone[0] / "devices.parquet").read_bytes()
    assert summary == alone[1]
    import ray

    assert not ray.is_initialized() and os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_ray_hands_on_an_error_of_ours_in_one_line() -> None:
    needs("ray")
    task = functools.partial(fleet_run.simulate_chunk, parts_of(), Path("nowhere"))
    with pytest.raises(DataError, match=r"^nowhere: no about\.json; not a finished folder of logits$"):
        list(on_ray(task, [0], 1))


def refuse(chunk: int) -> bytes:
    raise SimulationError(f"no such chunk: {chunk}")


def die(chunk: int) -> bytes:
    os._exit(9)


def refuse_the_second_sooner(chunk: int) -> bytes:
    time.sleep(1 - chunk)
    return refuse(chunk)


def test_of_several_errors_the_first_items_is_raised_whichever_was_sooner() -> None:
    with pytest.raises(SimulationError, match="chunk: 0"):
        list(spread(refuse_the_second_sooner, [0, 1], 2))


def test_a_dead_worker_is_an_error_that_says_so() -> None:
    with pytest.raises(EngineError, match="run again"):
        list(spread(die, [0, 1], 2))
    with pytest.raises(SimulationError, match="chunk: 0"):
        list(spread(refuse, [0], 2))


def test_a_killed_run_goes_on_with_what_is_missing(
    alone: tuple[Path, Summary], logits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def stop_after_one(parts: Parts, folder: Path, chunk: int) -> bytes:
        if computed:
            raise KeyboardInterrupt
        computed.append(chunk)
        return simulate_chunk(parts, folder, chunk)

    simulate_chunk = fleet_run.simulate_chunk
    monkeypatch.setattr(fleet_run, "simulate_chunk", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        run_fleet(parts_of(), logits, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out/parts").iterdir()] == ["000000.parquet"]
    assert not (tmp_path / "out/devices.parquet").exists() and not (tmp_path / "out/summary.json").exists()

    def others_only(parts: Parts, folder: Path, chunk: int) -> bytes:
        assert chunk not in computed
        return simulate_chunk(parts, folder, chunk)

    monkeypatch.setattr(fleet_run, "simulate_chunk", others_only)
    said: list[tuple[int, int]] = []
    run_fleet(parts_of(), logits, tmp_path / "out", report=lambda what, done, total: said.append((done, total)))
    assert (tmp_path / "out/devices.parquet").read_bytes() == (alone[0] / "devices.parquet").read_bytes()
    assert said == [(CHUNK + 2, CHUNK + 2)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["devices.parquet", "fleet.json", "summary.json"]


def test_parts_that_cannot_be_joined_leave_nothing_beside_them(
    alone: tuple[Path, Summary], logits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half a file, and an error that names the file: of a part that is damaged, of a disk that is full."""
    parts, columns = tmp_path / "parts", fleet_run.columns(parts_of())
    parts.mkdir()
    (parts / "000000.parquet").write_bytes(fleet_run.simulate_chunk(parts_of(), logits, 0))
    (parts / "000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(SimulationError, match=r"000001\.parquet: damaged"):
        fleet_run.merge(tmp_path, 2, columns)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*devices\.parquet"):
        fleet_run.merge(tmp_path, 1, columns)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"] and len(list(parts.iterdir())) == 2


def test_a_finished_run_is_only_read(
    alone: tuple[Path, Summary], logits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_run, "compute", None)
    assert run_fleet(parts_of(), logits, alone[0]) == alone[1]
    saved = json.loads((alone[0] / "summary.json").read_text())
    assert saved == json.loads(json.dumps(alone[1].to_dict()))


def test_another_fleet_in_the_same_folder_is_refused(alone: tuple[Path, Summary], logits: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in alone[0].iterdir()}
    for changed in (parts_of(seed=4), parts_of(days=3), dataclasses.replace(parts_of(), default="fast")):
        with pytest.raises(SimulationError, match=r"holds a fleet of digest .* give another folder"):
            run_fleet(changed, logits, alone[0])
    assert {p: p.stat().st_mtime_ns for p in alone[0].iterdir()} == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SimulationError, match="not empty"):
        run_fleet(parts_of(), logits, tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda p: dataclasses.replace(p, fleet=dataclasses.replace(p.fleet, policies=("rulez",))), "rulez"),
        (lambda p: with_own(p, "mine", PowerPolicy("fastest")), "fastest"),
        (lambda p: with_own(p, "rules", PowerPolicy("fast")), "standard policy"),
        (lambda p: dataclasses.replace(p, points=(dataclasses.replace(POINTS[0], thresholds=(0.5, 0.0)),)), "fast"),
    ],
)
def test_parts_that_do_not_fit_write_nothing(
    logits: Path, tmp_path: Path, changed: Callable[[Parts], Parts], words: str
) -> None:
    needs("pyarrow")
    with pytest.raises(DvtEdgeError, match=words):
        run_fleet(changed(parts_of()), logits, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def with_own(parts: Parts, name: str, policy: PowerPolicy) -> Parts:
    return dataclasses.replace(parts, fleet=dataclasses.replace(parts.fleet, own_policies={name: policy}))


def test_logits_that_are_not_finite_write_nothing(logits: Path, tmp_path: Path) -> None:
    needs("pyarrow")
    values = np.load(logits / "logits.npy")
    values[7, 1, 2] = np.nan
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in ("about.json", "labels.npy"):
        (bad / name).write_bytes((logits / name).read_bytes())
    np.save(bad / "logits.npy", values)
    seal(bad, read_json(About, bad / "about.json"))
    with pytest.raises(SimulationError, match="image 7, exit 1"):
        run_fleet(parts_of(), bad, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_days_are_one_simulation_counted_by_days(logits: Path) -> None:
    """What a day leaves in the battery is what the next begins with; sums over days are the simulator's own."""
    parts, data = parts_of(), open_logits(logits)
    images = parts.replay(data)
    for number in range(4):
        found = list(simulate_device(parts, images, number))
        names = list(dict.fromkeys(row["policy"] for row in found))
        assert names == ["always-last", "fixed", "rules", "battery-only", "energy-queue", "clairvoyant"]
        drawn = draw(parts.fleet, number, parts.profiles)
        scenario = scenario_of_device(parts, data, drawn)
        charge_s = drawn.charge_hour * 3600 % DAY if drawn.charge_w else None
        policies = parts.power_policies(scenario.power_table)
        choosers = {
            name: UntilCharger(PolicyChooser(policy, scenario.power_table), charge_s, 2 * DAY)
            for name, policy in policies.items()
        }
        for name, outcome in compare(scenario, choosers).items():
            first, second = (row for row in found if row["policy"] == name)
            assert (
                first["level_start"] == pytest.approx(drawn.start_level) and second["level_start"] == first["level_end"]
            )
            both = {key: first[key] + second[key] for key in ("arrived", "answered", "right", "off", "late")}
            assert both == {key: getattr(outcome.total, key) for key in both}
            exits = tuple(first[f"answered_exit{k}"] + second[f"answered_exit{k}"] for k in range(3))
            assert exits == outcome.total.exits
            energy = outcome.energy
            assert first["base_j"] + second["base_j"] == pytest.approx(energy.base_j)
            spent_j = first["inference_j"] + second["inference_j"]
            assert spent_j == pytest.approx(sum(energy.stage_j) + energy.image_j)
            assert second["first_empty_s"] == outcome.empty_s
            assert (first["went_empty"] or second["went_empty"]) == (outcome.empty_s is not None)
            assert second["hottest_c"] <= outcome.hottest_c


def test_the_clairvoyant_lasts_where_any_policy_does_and_then_has_the_most_right(
    alone: tuple[Path, Summary],
) -> None:
    assert all(p.below_bound is None or p.below_bound >= 0 for p in alone[1].policies)
    table, lasting = rows(alone[0]), 0
    for device in range(CHUNK + 2):
        empty: dict[object, bool] = {}
        right: dict[object, int] = {}
        for row in table:
            if row["device"] == device:
                empty[row["policy"]] = empty.get(row["policy"], False) or bool(row["went_empty"])
                right[row["policy"]] = right.get(row["policy"], 0) + int(str(row["right"]))
        if not all(empty.values()):
            assert not empty["clairvoyant"]
            assert right["clairvoyant"] >= 0.998 * max(right.values())
            lasting += 1
    assert lasting >= 4


def test_a_summary_is_the_rows(alone: tuple[Path, Summary]) -> None:
    out, summary = alone
    table = rows(out)
    assert len(table) == (CHUNK + 2) * 2 * len(summary.policies)
    order = [(row["device"], row["day"]) for row in table]
    assert order == sorted(order)
    for p in summary.policies:
        mine = [row for row in table if row["policy"] == p.policy]
        arrived, answered, right = (sum(int(str(row[key])) for row in mine) for key in ("arrived", "answered", "right"))
        assert (p.arrived, p.answered) == (arrived, answered)
        assert p.right_share == right / arrived and p.accuracy == right / answered
        dead = {row["device"] for row in mine if row["went_empty"]}
        assert p.met_share == pytest.approx(1 - len(dead) / (CHUNK + 2))
    assert {"camera-a53", "phone-cpu"} == summary.estimated.keys() and "stage costs" in summary.estimated["phone-cpu"]
    kinds = {row["device"]: row["kind"] for row in table}
    assert set(kinds.values()) == {"camera", "phone"}


@given(seed=st.integers(0, 2**63), device=st.integers(0, 10**9), devices=st.integers(1, 10**6))
def test_a_device_depends_on_seed_and_number_alone(seed: int, device: int, devices: int) -> None:
    fleet, profiles = parts_of().fleet, parts_of().profiles
    one = draw(dataclasses.replace(fleet, seed=seed), device, profiles)
    assert draw(dataclasses.replace(fleet, seed=seed, devices=devices, name="x"), device, profiles) == one
    kind = next(k for k in fleet.kinds if k.name == one.kind)
    for name in ("capacity", "start_level", "screen"):
        spread = getattr(kind, name)
        assert spread.low <= getattr(one, name) <= spread.high
    rate = kind.arrivals.images_per_s
    assert rate.low <= one.images_per_s <= rate.high
    assert workload_of(fleet, kind, one).duration_s == 2 * DAY


def test_spreads_have_their_shapes() -> None:
    random = np.random.default_rng(0)
    even, peaked, wide = (
        np.array([Spread(1.0, 100.0, shape).draw(random) for _ in range(20_000)])  # type: ignore[arg-type]
        for shape in ("uniform", "triangular", "log_uniform")
    )
    assert even.mean() == pytest.approx(50.5, abs=1) and even.std() == pytest.approx(99 / 12**0.5, rel=0.02)
    assert peaked.mean() == pytest.approx(50.5, abs=1) and peaked.std() == pytest.approx(99 / 24**0.5, rel=0.02)
    assert np.median(wide) == pytest.approx(10, rel=0.05)
    seeds = [draw(parts_of().fleet, k, parts_of().profiles).seeds for k in range(100)]
    assert len(set(seeds)) == 100


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("devices",), 0, "devices 0; expected 1 or more"),
        (("days",), 1.5, "days"),
        (("control_s",), 7000.0, "divisor"),
        (("kinds",), [], "empty"),
        (("kinds", 0, "capacity", "low"), -0.1, r"kinds\[0\]: capacity -0.1"),
        (("kinds", 0, "capacity", "low"), 3.0, "low 3, high 1; expected low <= high"),
        (("kinds", 1, "name"), "camera", "each name once"),
        (("kinds", 1, "arrivals", "process"), "trace", "process"),
        (("kinds", 1, "charging", "hours", "high"), 30, "hours"),
        (("kinds", 1, "weight"), 1e308, r"weight 1e\+308; expected above 0"),
        (("level_step",), 5e-324, "level_step 4.94066e-324; expected 0, or 1e-06 to 1"),
        (("kinds", 1, "colour"), 1, "unknown field 'colour'"),
        (("policies",), "all", "policies"),
    ],
)
def test_a_bad_description_is_one_line_with_its_place(place: tuple[str | int, ...], value: object, words: str) -> None:
    (name,) = shipped(SHIPPED)
    description = json.loads((fleet_run.fleet_path(name)).read_text())
    at = description
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    with pytest.raises(SchemaError, match=words) as caught:
        from_json(Fleet, description, "mine.json")
    assert str(caught.value).startswith("mine.json") and "\n" not in str(caught.value)


def test_shipped_fleets_open_and_the_schema_is_the_classes() -> None:
    for name in shipped(SHIPPED):
        assert open_fleet(name).name == name
    with pytest.raises(SchemaError, match="no such fleet; shipped are mixed"):
        open_fleet("other")
    with pytest.raises(SchemaError, match="NaN"):
        parse_json('{"format": NaN}', "x")
    path = Path(__file__).parents[2] / "dvt_edge/simulation/fleet.schema.json"
    assert json.loads(path.read_text()) == schema_of(Fleet)
