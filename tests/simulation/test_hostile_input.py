"""Whatever a file that the simulator reads holds: an error of ours in one line, or figures that are numbers."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import refusal
from support.fake_bundle import write_bundle
from support.needs import needs
from support.simulated import POINTS, made_up_logits, small_profile

from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.power_policy import EnergyQueue, PowerPolicy, Rule
from dvt_edge.device.schema import dump_json, read_json
from dvt_edge.errors import DvtEdgeError, SchemaError, SimulationError, WorkloadError
from dvt_edge.simulation.device_profile import DeviceProfile, open_profile
from dvt_edge.simulation.fleet import MOST_DEVICES, Fleet, draw, open_fleet, profile_of, workload_of
from dvt_edge.simulation.fleet_run import claim, columns, parts_of, read_rows
from dvt_edge.simulation.simulator import Scenario, simulate
from dvt_edge.simulation.workload import ChargeWindow, Diurnal, FixedRate, Poisson, Trace

ODD = (
    *(None, True, "", "nan", [], {}, [[]], {"a": 1}, "\ud800", "x" * 300),
    *(0, -1, 1, 3, 10**21, 10**400, -(10**400), 0.0, -0.0, 1e-320, 1e-300, 1e-9, 0.5, 1e9, 1e300, 1e308, -1e308),
)
POLICY = PowerPolicy(
    "balanced",
    (Rule("fast", 0, thermal_at_least="serious"), Rule("fast", battery_below=0.2), Rule("full", charging=True)),
    EnergyQueue(30.0, 20.0),
    allow_uncertified=True,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with each of its keys."""
    if isinstance(value, dict):
        return [(value, k) for k in value] + [p for v in value.values() for p in places(v)]
    if isinstance(value, list):
        return [(value, k) for k in range(len(value))] + [p for v in value for p in places(v)]
    return []


def damaged(value: Any, dice: random.Random) -> Any:
    """A copy with one to three fields replaced, scaled, removed or added."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2, 3))):
        found = places(value)
        if not found:
            return value
        holder, key = dice.choice(found)
        how, old = dice.randrange(5), holder[key]
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(old, (int, float)) and abs(old) < 1e18:
            holder[key] = old * dice.choice([1e-12, 1e-3, -1, 2, 1e3, 1e12, 1e250])
        elif how == 2 and isinstance(holder, dict):
            holder[dice.choice(["more", "", "format"])] = dice.choice(ODD)
        else:
            holder[key] = copy.deepcopy(dice.choice(ODD))
    return value


def scenario(profile: DeviceProfile, **parts: Any) -> Scenario:
    confidence = ConfidenceSpec("max_softmax", (1.0, 1.0, 1.0))
    load = Poisson(20.0, 40.0, 0, (ChargeWindow(20.0, 25.0, 3.0),))
    return Scenario(
        made_up_logits(), POINTS, confidence, profile, load, **({"target_s": 30.0, "control_s": 5.0} | parts)
    )


def check_numbers(case: Scenario, policy: PowerPolicy) -> None:
    """Everything that is said of a day is a number, and its energy balances."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = simulate(case, policy)
    json.dumps(outcome.to_dict(), allow_nan=False)
    energy = outcome.energy
    assert abs(energy.imbalance_j) <= 1e-9 * (energy.start_j + energy.charged_j)


def fuzz(kind: type, good: Any, path: Path, use: Callable[[Any], None], runs: int = 1500) -> tuple[int, int]:
    """How many damaged copies of `good` were refused and how many were used."""
    dice, refused, taken = random.Random(kind.__name__), 0, 0
    for _ in range(runs):
        path.write_text(json.dumps(damaged(good, dice)))
        try:
            value = read_json(kind, path)
            use(value)
            taken += 1
        except DvtEdgeError as error:
            assert str(error) and "\n" not in str(error) and len(str(error)) < 1000
            refused += 1
    return refused, taken


def test_a_damaged_policy_is_refused_or_runs(tmp_path: Path) -> None:
    case = scenario(small_profile(20.0))
    good = json.loads(dump_json(POLICY))
    assert min(fuzz(PowerPolicy, good, tmp_path / "policy.json", lambda p: check_numbers(case, p), 600)) > 50


def test_a_damaged_profile_is_refused_or_runs(tmp_path: Path) -> None:
    camera = json.loads(dump_json(dataclasses.replace(small_profile(20.0), measured=())))

    def use(profile: DeviceProfile) -> None:
        check_numbers(scenario(profile), POLICY)
        check_numbers(scenario(small_profile(20.0), believed=profile), POLICY)

    assert min(fuzz(DeviceProfile, camera, tmp_path / "profile.json", use, 600)) > 30


def test_a_damaged_fleet_is_refused_or_drawn(tmp_path: Path) -> None:
    mixed = json.loads(dump_json(open_fleet("mixed")))

    def use(fleet: Fleet) -> None:
        profiles = {kind.profile: open_profile("camera-a53") for kind in fleet.kinds}
        for number in (0, fleet.devices - 1):
            drawn = draw(dataclasses.replace(fleet, days=min(fleet.days, 9)), number, profiles)
            kind = next(k for k in fleet.kinds if k.name == drawn.kind)
            profile_of(profiles[kind.profile], drawn)
            tick = next(workload_of(fleet, kind, drawn).ticks(fleet.control_s))
            assert math.isfinite(tick.charge_j) and tick.count >= 0

    assert min(fuzz(Fleet, mixed, tmp_path / "fleet.json", use)) > 50


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("deep.jsonl", "[" * 100_000),
        ("deep-object.jsonl", '{"time_s": ' * 50_000),
        ("digits.jsonl", '{"time_s": ' + "9" * 400 + "}\n"),
        ("digits.jsonl", '{"time_s": 1, "charging_w": ' + "9" * 400 + "}\n"),
        ("digits.jsonl", '{"time_s": ' + "9" * 5000 + "}\n"),
        ("digits.csv", "time_s\n" + "9" * 400 + "\n"),
        ("watts.csv", "time_s,charging_w\n1,1e300\n"),
        ("list.jsonl", '{"time_s": ' + str([1] * 9999) + "}\n"),
        ("field.csv", "time_s\n" + "1" * 200_000 + "\n"),
        ("far.csv", "time_s\n30000000\n"),
    ],
)
def test_a_damaged_trace_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(WorkloadError) as error:
        list(Trace(tmp_path / name).ticks(1.0))
    assert name in str(error.value) or "ticks" in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_bytes_of_a_trace_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    dice = random.Random(5)
    good = b'{"time_s": 0.5}\n{"time_s": 2, "charging_w": 3}\n{"time_s": 4.25}\n'
    for number in range(500):
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path = tmp_path / f"{number % 2}.jsonl"
        path.write_bytes(data)
        try:
            assert all(math.isfinite(tick.charge_j) for tick in Trace(path).ticks(1.0))
        except WorkloadError as error:
            assert "\n" not in str(error)


def test_more_ticks_than_anyone_waits_for_are_refused_at_once() -> None:
    with pytest.raises(WorkloadError, match=r"3.6e\+12 ticks of 1 s; expected at most 10,000,000"):
        next(FixedRate(1.0, 3.6e12).ticks(1.0))


def test_more_random_images_in_a_tick_than_can_be_drawn_are_refused_at_once() -> None:
    with pytest.raises(WorkloadError, match=r"1e\+20 images on average in one tick of 1e\+14 s; .* smaller control_s"):
        next(Diurnal(1e6, 1e16).ticks(1e14))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"days": 4000}, "days 4000; expected 1 to 3660"),
        ({"devices": 10**21}, f"devices {10**21}; expected 1 or more, to {MOST_DEVICES:,}"),
        ({"devices": 0}, "devices 0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_a_number_that_replaces_the_descriptions_keeps_its_rules(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    with pytest.raises(SchemaError, match=words):
        parts_of("mixed", bundle, **change)


@pytest.mark.parametrize("options", [["--days", "4000"], ["--devices", str(10**21)]])
@pytest.mark.timeout(20)
def test_the_fleet_command_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    write_bundle(tmp_path / "bundle")
    refusal(capsys, "fleet", tmp_path / "bundle", "mixed", tmp_path / "out", *options)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'"\xff', b"[]", b"3", b'{"digest": []}', b""])
def test_a_damaged_fleet_json_is_another_fleet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fleet.json").write_bytes(content)
    with pytest.raises(SimulationError, match="holds a fleet of digest"):
        claim(tmp_path, {"digest": "0" * 64})


def test_a_folder_in_the_place_of_fleet_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").mkdir()
    with pytest.raises(SimulationError, match=r"fleet\.json: cannot be read"):
        claim(tmp_path, {"digest": "0" * 64})


def test_rows_of_another_kind_are_one_line(tmp_path: Path) -> None:
    needs("pyarrow")
    import pyarrow as pa
    from pyarrow import parquet

    schema = columns(parts_of("mixed", write_bundle(tmp_path / "bundle")))
    path = tmp_path / "devices.parquet"
    parquet.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(SimulationError, match=r"other columns than a fleet's \(.*\); delete it"):
        read_rows(path, schema, "delete it")
    good = pa.Table.from_pylist([dict.fromkeys(schema.names)], schema)
    parquet.write_table(good, path)
    assert read_rows(path, schema, "delete it").num_rows == 1
    whole, dice = path.read_bytes(), random.Random(1)
    for _ in range(300):
        data = bytearray(whole[: dice.randint(0, len(whole))] if dice.random() < 0.3 else whole)
        for _ in range(dice.randint(1, 8)):
            if data:
                data[dice.randrange(len(data))] = dice.randrange(256)
        path.write_bytes(data)
        try:
            read_rows(path, schema, "delete it")
        except SimulationError as error:
            assert "\n" not in str(error) and "delete it" in str(error)
