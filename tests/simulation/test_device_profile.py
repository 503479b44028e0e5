"""Device profiles: read strictly, honest about estimates, made of a device's log; the thermal model is exact."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.device_logs import log_lines, write_log

from dvt_edge.device.log_reader import LogReader
from dvt_edge.device.schema import dump_json, from_json, schema_of
from dvt_edge.errors import SchemaError
from dvt_edge.simulation.arm_instructions import Count, instruction_table
from dvt_edge.simulation.device_profile import (
    SHIPPED,
    ComputeEstimate,
    DeviceProfile,
    MeasuredStages,
    StageCosts,
    ThermalModel,
    open_profile,
    own_macs,
    shipped_profiles,
)
from dvt_edge.simulation.measured_profile import measured_profile

SCHEMA = json.loads((SHIPPED.parent / "device_profile.schema.json").read_text())
MACS = (5_000_000, 10_000_000, 20_000_000)


def test_the_schema_file_is_the_dataclasses() -> None:
    assert schema_of(DeviceProfile) == SCHEMA


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_are_estimates_with_their_sources(name: str) -> None:
    profile = open_profile(name)
    jsonschema.validate(json.loads((SHIPPED / f"{name}.json").read_text()), SCHEMA)
    assert profile.name == name and not profile.measured
    assert {profile.battery.basis, profile.power.basis, profile.thermal.basis} == {"estimated"}
    for part in (profile.battery, profile.power, profile.thermal, *profile.estimates):
        assert len(part.source) > 10
    for target in ("onnx-fp32", "onnx-int8", "executorch-xnnpack-fp32", "executorch-xnnpack-int8"):
        costs = profile.costs(MACS, "0" * 64, target)
        assert costs.basis == "estimated" and sorted(costs.exit_s) == list(costs.exit_s)
        assert set(profile.bases(costs).values()) == {"estimated"}


def test_an_estimate_is_instructions_by_cycles_over_the_clock_and_a_call() -> None:
    """Of the cascade that was counted, its counts; of another, its MACs at the same mean rate."""
    camera, table = open_profile("camera-a53"), instruction_table()
    (count,) = (c for c in table.counts if (c.target, c.processor) == ("onnx-int8", "cortex-a53"))
    costs = camera.costs(table.macs, "", "onnx-int8")
    assert costs.stage_s == pytest.approx([n * 1.93 / 1e9 + 0.2e-3 for n in count.stages])
    assert costs.stage_j == pytest.approx([0.5 * s for s in costs.stage_s])
    assert costs.exit_j[1] == pytest.approx(0.5 * (0.5e-3 + sum(costs.stage_s[:2])))
    other = camera.costs(MACS, "", "onnx-int8")
    rate = sum(count.stages) / sum(table.macs)
    assert other.stage_s == pytest.approx([m * rate * 1.93 / 1e9 + 0.2e-3 for m in MACS])
    assert own_macs((5, 15, 35)) == (5, 10, 20)


def test_an_estimate_may_be_macs_over_a_rate_where_nothing_was_counted() -> None:
    mine = ComputeEstimate("coreml-fp16", 10.0, busy_w=1.0, call_ms=0.1, image_ms=0.3, source="made up")
    costs = dataclasses.replace(open_profile("phone-cpu"), estimated=(mine,)).costs(MACS, "", "coreml-fp16")
    assert costs.stage_s == pytest.approx([m / 10e9 + 0.1e-3 for m in MACS]) and costs.basis == "estimated"


def test_a_target_that_was_not_counted_on_a_processor_says_what_was() -> None:
    stranger = dataclasses.replace(open_profile("phone-cpu").counted[0], processor="cortex-x4")
    profile = dataclasses.replace(open_profile("phone-cpu"), counted=(stranger,))
    with pytest.raises(SchemaError, match=r"onnx-fp32 on cortex-x4: no instructions were counted; counted are .*i8mm"):
        profile.costs(MACS, "", "onnx-fp32")


def test_each_target_of_the_table_was_counted_on_each_processor() -> None:
    table = instruction_table()
    counted = {(c.target, c.processor) for c in table.counts}
    targets, processors = ({pair[k] for pair in counted} for k in (0, 1))
    assert len(table.counts) == len(counted) == len(targets) * len(processors) == 12
    for c in table.counts:
        assert list(c.stages) == sorted(c.stages) and max(c.stages) < sum(table.macs)
    with pytest.raises(ValueError, match=r"onnx-int8 on cortex-a53: .*; expected a positive count of each stage"):
        dataclasses.replace(table, counts=(Count("onnx-int8", "cortex-a53", (1, 2)),))


def test_without_dot_products_int8_saves_little() -> None:
    """What the counts are for: by MACs int8 looked twice as fast as float32 on a Cortex-A53."""
    macs = instruction_table().macs
    for profile, least, most in (("camera-a53", 0.02, 0.3), ("phone-cpu", 0.3, 0.7)):
        times = [open_profile(profile).costs(macs, "", target).stage_s for target in ("onnx-fp32", "onnx-int8")]
        assert all(least < 1 - int8 / fp32 < most for fp32, int8 in zip(*times, strict=True))


def test_measured_costs_are_used_for_their_own_artifacts_only() -> None:
    mine = MeasuredStages("onnx-int8", "a" * 64, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 0.5, 0.25, 100, "a log")
    profile = dataclasses.replace(open_profile("camera-a53"), measured=(mine,))
    costs = profile.costs(MACS, "a" * 64, "onnx-int8")
    assert costs == StageCosts((1e-3, 2e-3, 3e-3), (4e-3, 5e-3, 6e-3), 0.5e-3, 0.25e-3, "measured", "a log")
    assert profile.bases(costs)["stage costs"] == "measured"
    assert profile.costs(MACS, "b" * 64, "onnx-int8").basis == "estimated"
    with pytest.raises(SchemaError, match="camera-a53 has no costs measured for the artifacts bbbbbbbbbbbb"):
        dataclasses.replace(profile, counted=()).costs(MACS, "b" * 64, "onnx-int8")


GOLDEN = json.loads((Path(__file__).parents[1] / "golden/device_profile.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['target']}-{case['artifact_sha256'][:1]}")
def test_costs_are_those_that_the_phones_must_find(case: dict[str, Any]) -> None:
    profile: DeviceProfile = from_json(DeviceProfile, GOLDEN["profile"], "profile")
    if "error" in case:
        with pytest.raises(SchemaError):
            profile.costs(case["stage_macs"], case["artifact_sha256"], case["target"])
        return
    costs = profile.costs(case["stage_macs"], case["artifact_sha256"], case["target"])
    assert costs.basis == case["basis"]
    assert costs.exit_s == pytest.approx(case["exit_s"], rel=1e-12)
    assert costs.exit_j == pytest.approx(case["exit_j"], rel=1e-12)
    assert profile.battery.joules == case["capacity_j"] and profile.base_w(case["screen"]) == case["base_w"]


@pytest.mark.parametrize("case", GOLDEN["bad"], ids=lambda case: case["name"])
def test_profiles_that_the_phones_must_refuse(case: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        from_json(DeviceProfile, case["profile"], "profile")


def edited(tmp_path: Path, *path: str | int, value: Any) -> Path:
    values = json.loads((SHIPPED / "camera-a53.json").read_text())
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    made = tmp_path / "profile.json"
    made.write_text(json.dumps(values))
    return made


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("battery", "capacity_mah"), -4000, r"\.battery: capacity_mah -4000; expected above 0"),
        (("battery", "capacity_mah"), "much", r"\.battery\.capacity_mah: found 'much'; expected float"),
        (("battery", "voltage_v"), 0, "voltage_v 0; expected above 0"),
        (("battery", "basis"), "guessed", "found 'guessed'; expected 'measured' or 'estimated'"),
        (("power", "idle_w"), -1, "idle_w -1; expected 0 or more"),
        (("thermal", "tau_s"), 0, "tau_s 0; expected above 0"),
        (("thermal", "max_slowdown"), 0.5, "max_slowdown 0.5; expected 1 or more"),
        (("thermal", "fair_c"), 99, "expected rising"),
        (("counted", 1, "clock_ghz"), 0, r"\.counted\[1\]: onnx-int8: clock_ghz 0; expected above 0"),
        (("counted", 0, "cycles_per_instruction"), -1, "onnx-fp32: cycles_per_instruction -1; expected above 0"),
        (
            ("estimated",),
            [{"target": "t", "gmacs_per_s": 0, "busy_w": 1, "call_ms": 0, "image_ms": 0, "source": ""}],
            r"\.estimated\[0\]: t: gmacs_per_s 0; expected above 0",
        ),
        (("counted",), [], "no stage costs"),
        (("format",), 2, "format 2; this reads 1"),
        (("low_power_below",), 2, "low_power_below 2"),
        (("colour",), "red", "unknown field 'colour'"),
    ],
)
def test_bad_profiles_are_one_line_with_the_place(
    tmp_path: Path, path: tuple[Any, ...], value: Any, words: str
) -> None:
    made = edited(tmp_path, *path, value=value)
    with pytest.raises(SchemaError, match=words) as error:
        open_profile(made)
    assert "\n" not in str(error.value) and str(made) in str(error.value)


def test_nan_is_not_json_and_a_missing_profile_names_the_shipped_ones(tmp_path: Path) -> None:
    made = edited(tmp_path, "battery", "voltage_v", value=math.nan)
    with pytest.raises(SchemaError, match="NaN is not a JSON number"):
        open_profile(made)
    with pytest.raises(SchemaError, match="shipped are camera-a53, phone-cpu"):
        open_profile("pixel")


@given(st.floats(-20, 80), st.floats(0, 10), st.floats(1, 1e4), st.floats(0.1, 1e4))
def test_two_half_steps_of_the_thermal_model_are_one(start: float, power: float, seconds: float, tau: float) -> None:
    model = ThermalModel(25.0, 12.0, tau, 42.0, 0.25, 2.0, 38.0, 42.0, 46.0, "estimated", "made up")
    half = model.after(model.after(start, power, seconds / 2), power, seconds / 2)
    assert half == pytest.approx(model.after(start, power, seconds), abs=1e-9)
    assert model.after(start, power, 1e9) == pytest.approx(25 + 12 * power)


def test_slowdown_and_states_by_temperature() -> None:
    model = ThermalModel(25.0, 12.0, 540.0, 42.0, 0.25, 2.0, 38.0, 42.0, 46.0, "estimated", "made up")
    assert [model.slowdown(t) for t in (20, 42, 44, 60)] == [1, 1, 1.5, 2]
    assert [model.state(t) for t in (37.9, 38, 42, 46)] == ["nominal", "fair", "serious", "critical"]


# -- a device's log --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("screen_on", [False, True])
def test_a_log_becomes_a_measured_profile(tmp_path: Path, screen_on: bool) -> None:
    log = LogReader(write_log(tmp_path / "log.jsonl", log_lines(screen_on)))
    made = measured_profile(open_profile("phone-cpu"), log)
    costs = made.costs(MACS, "c" * 64, "onnx-int8")
    assert costs.basis == "measured" and made.name == "lab phone"
    assert costs.stage_s == pytest.approx([2e-3, 3e-3, 5e-3])
    # The log's first image began less than 20 ms before it ended: the share of busy time is a little off.
    assert costs.stage_j == pytest.approx([4e-3, 6e-3, 10e-3], rel=0.02)
    assert (made.power.idle_w, made.power.screen_w) == pytest.approx((0.4, 1.0))
    assert made.power.basis == "measured" and made.battery.basis == "estimated"
    (tmp_path / "made.json").write_text(dump_json(made))
    assert open_profile(tmp_path / "made.json") == made


def test_a_screen_that_was_not_logged_stays_an_estimate(tmp_path: Path) -> None:
    lines = [line for line in log_lines() if not line.get("screen_on")]
    made = measured_profile(open_profile("phone-cpu"), LogReader(write_log(tmp_path / "log.jsonl", lines)))
    assert made.power.basis == "estimated" and made.power.idle_w == pytest.approx(0.4)
    camera = measured_profile(open_profile("camera-a53"), LogReader(tmp_path / "log.jsonl"))
    assert camera.power.basis == "measured" and camera.power.screen_w == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[50].update(charging=True), r"log.jsonl: record 51: logged while charging"),
        (lambda lines: lines[50].update(time_s=1.0), r"log.jsonl:51: time_s 1 is before"),
        (lambda lines: lines[50].update(stage_ms=[1.0] * 4), r"log.jsonl:51: 4 stage_ms; the header says 3"),
        (lambda lines: lines[50].update(stage_ms=[-1.0]), r"log.jsonl:51: time -1"),
        (lambda lines: [line.update(voltage_mv=None) for line in lines[41:]], "have no current or voltage"),
        (lambda lines: lines[0].update(log=3), "log.jsonl:1: log 3; this reads 1"),
        (lambda lines: lines[50].update(screen_on=True), "screen on and off"),
        (lambda lines: lines.__delitem__(slice(1, 30)), "no idle samples with the screen off"),
        (lambda lines: lines.__delitem__(slice(1, 15)), "6 idle samples with the screen off; expected at least 10"),
        (lambda lines: [line.update(stage_ms=[2.0]) for line in lines[41:]], "stage 1 ran 0 times"),
        (lambda lines: [line.update(current_ua=-1.0) for line in lines[41:]], "expected more"),
        (lambda lines: [line.update(stage_ms=[0.0] * 3, image_ms=0.0) for line in lines[41:]], "work takes 0% of"),
        (lambda lines: [line.update(stage_ms=[1e5] * 3) for line in lines[41:]], "are times in ms"),
    ],
)
def test_a_bad_log_is_one_line_with_the_place(tmp_path: Path, change: Any, words: str) -> None:
    lines = log_lines()
    change(lines)
    with pytest.raises(SchemaError, match=words) as error:
        measured_profile(open_profile("phone-cpu"), LogReader(write_log(tmp_path / "log.jsonl", lines)))
    assert "\n" not in str(error.value)


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(SchemaError, match="empty"):
        LogReader(tmp_path / "log.jsonl")


def test_a_phone_s_profile_has_counted_costs_by_the_mean_instructions_of_a_mac() -> None:
    """Where each stage was counted that is rougher; for another cascade it is the same."""
    profile = open_profile("phone-cpu")
    flat = profile.for_phone()
    assert profile.counted and not flat.counted and "counted" not in json.loads(flat.to_json())
    for target in (e.target for e in profile.counted):
        ours, theirs = (p.costs((5_000_000, 7_000_000), "", target) for p in (profile, flat))
        assert theirs.stage_s == pytest.approx(ours.stage_s) and theirs.stage_j == pytest.approx(ours.stage_j)
        assert theirs.basis == "estimated" and "mean instructions of a MAC" in theirs.source
