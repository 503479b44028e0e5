"""Energy of a device's log, against phones whose power is known: within 2 % of the truth, or refused with a reason."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made_up_phone import VOLTS, Change, Phone

from dvt_edge.device.device_log import ImageRecord, StateRecord
from dvt_edge.device.log_reader import LogReader
from dvt_edge.errors import SchemaError
from dvt_edge.simulation import measured_profile as measured_profile_module
from dvt_edge.simulation.device_profile import DeviceProfile, open_profile
from dvt_edge.simulation.measured_profile import measured_profile

CASES = Path(__file__).parent / "device_logs"


def measured(path: Path) -> DeviceProfile:
    return measured_profile(open_profile("phone-cpu"), LogReader(path))


# -- version 1, with their right answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["good", "positive-sign", "one-burst", "two-bursts", "one-unsupported"])
def test_logs_of_a_known_phone_are_within_2_percent(name: str) -> None:
    """One made-up phone, 31.2 / 46.8 / 62.4 mJ a stage, 15.6 beside, idling at 0.975 W, with and without a pause."""
    profile = measured(CASES / f"{name}.jsonl")
    (costs,) = profile.measured
    assert costs.stage_mj == pytest.approx((31.2, 46.8, 62.4), rel=0.02)
    assert costs.image_mj == pytest.approx(15.6, rel=0.02)
    assert (costs.stage_ms, costs.image_ms) == ((2, 3, 4), pytest.approx(1))
    assert profile.power.idle_w == pytest.approx(0.975, rel=0.02)
    assert ("1 left out as not supported" in costs.source) == (name == "one-unsupported")


def test_milliamperes_for_microamperes_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"milliamps\.jsonl: a phone that idles.* 0\.975 mW.* looks like milliamp"):
        measured(CASES / "milliamps.jsonl")


# -- version 2 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gauge_s", [0, 0.5, 1, 2, 4])
@pytest.mark.parametrize(
    "scene",
    [
        {},
        {"bursts": 4, "images": 150, "pause_s": 30.0},
        {"bursts": 8, "images": 150, "pause_s": 3.0, "quantum_uah": 1000},
        {"bursts": 4, "images": 150, "pause_s": 20.0, "suspend_s": 3600.0},
        {"screen": True, "sign": 1},
        {"bursts": 20, "images": 30, "pause_s": 12.0, "period_s": 0.03},
    ],
    ids=["burst", "pauses", "short pauses", "suspend", "screen on", "short bursts"],
)
def test_bursts_pauses_and_suspends_are_within_2_percent(tmp_path: Path, scene: Any, gauge_s: float) -> None:
    phone = Phone(gauge_s=gauge_s, seed=3, **scene)
    profile = measured(phone.log(tmp_path / "log.jsonl"))
    (costs,) = profile.measured
    assert costs.stage_mj == pytest.approx(phone.stage_mj, rel=0.02)
    assert costs.image_mj == pytest.approx(phone.busy_w, rel=0.02)  # a millisecond
    assert costs.stage_ms == (2, 3, 4)


def test_gauges_of_other_kinds_are_within_2_percent_or_refused(tmp_path: Path) -> None:
    """One that holds its last mean, and one that forgets slowly: long logs have an answer, short ones a refusal."""
    for kind, gauge_s in itertools.product(("held", "fading"), (1.0, 2.0, 4.0)):
        phone = Phone(images=6000, gauge=kind, gauge_s=gauge_s)  # type: ignore[arg-type]
        (costs,) = measured(phone.log(tmp_path / "log.jsonl")).measured
        assert costs.stage_mj == pytest.approx(phone.stage_mj, rel=0.02), (kind, gauge_s)
    with pytest.raises(SchemaError, match=r"W of busy time within .*%; at most 2\.0% is asked: log about \d+ times"):
        measured(Phone(images=100, gauge="held", gauge_s=4.0).log(tmp_path / "short.jsonl"))


def test_any_phone_is_within_2_percent_or_refused(tmp_path: Path) -> None:
    """Seeded phones of all kinds. `spread` is a 95 % interval, and 2 % its limit: a few in a hundred may lie beyond."""
    dice, beyond, answered = np.random.default_rng(0), 0, 0
    for seed in range(60):
        phone = Phone(
            idle_w=float(dice.uniform(0.3, 3)),
            busy_w=float(dice.uniform(1, 16)),
            gauge_s=float(dice.choice([0, 1, 2, 3])),
            gauge=str(dice.choice(["mean", "mean", "held", "fading"])),  # type: ignore[arg-type]
            bursts=int(dice.integers(1, 6)),
            images=int(dice.integers(50, 600)),
            period_s=float(dice.uniform(0.02, 0.3)),
            pause_s=float(dice.uniform(0, 40)),
            suspend_s=float(dice.choice([0, 0, 900])),
            quantum_uah=int(dice.choice([0, 10, 1000])),
            seed=seed,
        )
        try:
            (costs,) = measured(phone.log(tmp_path / "log.jsonl")).measured
        except SchemaError as error:
            assert "of busy time" in str(error) or "samples alike" in str(error) or "fewer than" in str(error), phone
            continue
        answered += 1
        off = abs(costs.stage_mj[0] / phone.stage_mj[0] - 1)
        beyond += off > 0.02
        assert off < 0.03, phone
    assert answered >= 25 and beyond <= 2


def test_the_charge_counter_answers_where_the_gauge_is_too_rough(tmp_path: Path) -> None:
    rough = Phone(noise=0.2, gauge="held", gauge_s=4.0, images=3000, minute_s=600.0)
    with pytest.raises(SchemaError, match="of busy time within"):
        measured(rough.log(tmp_path / "gauge.jsonl"))
    counted = dataclasses.replace(rough, quantum_uah=10)
    (costs,) = measured(counted.log(tmp_path / "counter.jsonl")).measured
    assert "the charge counter over" in costs.source
    assert costs.stage_mj == pytest.approx(counted.stage_mj, rel=0.02)


# -- units -------------------------------------------------------------------------------------------------------------


def states(**change: Any) -> Change:
    """Every sample's fields, times a factor or by a function."""

    def changed(record: ImageRecord | StateRecord) -> ImageRecord | StateRecord:
        if not isinstance(record, StateRecord):
            return record
        fields = {name: how(getattr(record, name)) for name, how in change.items()}
        return dataclasses.replace(record, **fields)

    return changed


def images(factor: float) -> Change:
    def changed(record: ImageRecord | StateRecord) -> ImageRecord | StateRecord:
        if not isinstance(record, ImageRecord):
            return record
        stages = tuple(ms * factor for ms in record.stage_ms)
        total, before = record.total_ms * factor, record.preprocess_ms * factor
        return dataclasses.replace(record, stage_ms=stages, total_ms=total, preprocess_ms=before)

    return changed


def at(seq: int, **fields: Any) -> Change:
    """Fields of the first sample from `seq` on."""
    waiting = [seq]

    def changed(record: ImageRecord | StateRecord) -> ImageRecord | StateRecord:
        if waiting and record.seq >= seq and isinstance(record, StateRecord):
            waiting.clear()
            return dataclasses.replace(record, **fields)
        return record

    return changed


def scaled(factor: float) -> Any:
    return lambda value: round(value * factor)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (states(current_ua=scaled(1e-3)), "current_ua looks like milliamperes"),
        (states(current_ua=scaled(1e3)), "current_ua looks like nanoamperes"),
        (states(current_ua=lambda _: 0), r"idles.* at 0 mW: current_ua cannot be in microamperes"),
        (states(voltage_mv=lambda _: round(VOLTS)), "voltage_mv is 4, which looks like volts; millivolts are expected"),
        (states(voltage_mv=scaled(1e3)), "voltage_mv is 3.9e\\+06, which looks like microvolts"),
        (states(voltage_mv=scaled(10)), "voltage_mv is 39000, which is no battery's"),
        (at(70, voltage_mv=390), r"record \d+: voltage_mv 390 among 3900"),
        (states(charge_uah=scaled(1e-3)), "charge_uah looks like milliampere hours"),
        (states(charge_uah=scaled(1e3)), "charge_uah looks like nanoampere hours"),
        (states(current_ua=lambda _: -(2**31)), "samples without current or voltage"),
        (at(70, current_ua=250_000), r"record \d+: current_ua changes its sign to 250000"),
        (images(1e-3), "the images' times look like seconds, where ms are expected"),
        (images(1e3), "work takes .*% of the time of the images; are times in ms"),
        (images(0), "work takes 0% of the time of the images"),
        (at(70, charging=True), r"record \d+: logged while charging"),
        (at(500, time_s=1000.5), r"record 510: the clock jumps from .* back to 1000.500 s"),
        (at(20, time_s=900.0), "record 20: the clock jumps"),
    ],
)
def test_units_that_cannot_be_are_refused_with_what_they_look_like(tmp_path: Path, change: Change, words: str) -> None:
    phone = Phone(quantum_uah=10, images=3000)
    with pytest.raises(SchemaError, match=words) as caught:
        measured(phone.log(tmp_path / "log.jsonl", change))
    assert str(caught.value).startswith("log.jsonl: ") and "\n" not in str(caught.value)


def test_a_clock_in_milliseconds_is_refused(tmp_path: Path) -> None:
    def change(record: ImageRecord | StateRecord) -> ImageRecord | StateRecord:
        return dataclasses.replace(record, time_s=record.time_s * 1e3)

    with pytest.raises(SchemaError, match="time_s looks like milliseconds"):
        measured(Phone().log(tmp_path / "log.jsonl", change))


def test_values_that_are_not_supported_are_left_out_and_counted(tmp_path: Path) -> None:
    phone = Phone(quantum_uah=1000)
    log = phone.log(tmp_path / "log.jsonl", at(70, current_ua=-(2**31), charge_uah=-(2**31)))
    (costs,) = measured(log).measured
    assert costs.stage_mj == pytest.approx(phone.stage_mj, rel=0.02)
    assert "1 left out as not supported" in costs.source


def test_a_clock_that_gains_on_the_other_with_the_screen_on_is_a_jump(tmp_path: Path) -> None:
    """With the screen off it is a suspend, above."""
    with pytest.raises(SchemaError, match=r"the clock jumps by \+10\.000 s against awake_s with the screen on"):
        measured(Phone(screen=True, bursts=2, images=150, suspend_s=10.0).log(tmp_path / "log.jsonl"))


@pytest.mark.parametrize(
    ("phone", "words"),
    [
        (Phone(busy_w=0.0), "busy time|images draw"),
        (Phone(images=5), "5 images; expected at least 10"),
        (Phone(minute_s=5.0), "idle samples with the screen off.*; expected at least 10"),
        (Phone(busy_w=300.0), "W while images are in work, more than a phone can draw"),
    ],
)
def test_logs_that_cannot_say_are_refused(tmp_path: Path, phone: Phone, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        measured(phone.log(tmp_path / "log.jsonl"))


def test_a_clock_of_whole_milliseconds_is_refused_by_name(tmp_path: Path) -> None:
    def rounded(record: ImageRecord | StateRecord) -> ImageRecord | StateRecord:
        if isinstance(record, StateRecord):
            return record
        return dataclasses.replace(record, stage_ms=(0.0, *record.stage_ms[1:]))

    with pytest.raises(SchemaError, match=r"^log\.jsonl: stage 0 took 0 ms, .*whole milliseconds"):
        measured(Phone(seed=3).log(tmp_path / "log.jsonl", rounded))


def test_a_profile_that_a_log_breaks_names_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rule of a profile it is: costs beyond any device, watts below none."""
    log = Phone(seed=3).log(tmp_path / "log.jsonl")
    energy = measured_profile_module.measure_energy
    for change, found in ({"busy_w": 1e12}, r"stage_mj\[0\]"), ({"idle_w": {False: -1.0}}, "idle_w -1"):
        monkeypatch.setattr(
            measured_profile_module,
            "measure_energy",
            lambda *given, change=change: dataclasses.replace(energy(*given), **change),
        )
        with pytest.raises(SchemaError, match=rf"^log\.jsonl: {found}.*; expected"):
            measured(log)
