"""Workloads: the arrivals they promise, seeded, in ticks of any length; errors in traces name the line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvt_edge.errors import WorkloadError
from dvt_edge.simulation.workload import ChargeWindow, Diurnal, FixedRate, Poisson, Trace, Workload


def arrivals(workload: Workload, control_s: float) -> np.ndarray:
    found = []
    for tick in workload.ticks(control_s):
        times = tick.times
        assert len(times) == tick.count and (np.diff(times) >= 0).all()
        if tick.count:
            assert tick.start_s <= times[0] and times[-1] < tick.start_s + tick.seconds
            assert (tick.first_s, tick.last_s) == (times[0], times[-1])
        found.append(times)
    return np.concatenate(found)


@given(st.floats(0.01, 300), st.floats(0.5, 100), st.floats(0.05, 50))
def test_a_fixed_rate_has_every_arrival_once_whatever_the_ticks(rate: float, duration: float, control: float) -> None:
    found = arrivals(FixedRate(rate, duration), control)
    everything = np.arange(math.ceil(rate * duration) + 2) / rate
    assert found.tolist() == everything[everything < duration].tolist()


def test_poisson_and_diurnal_arrivals_follow_their_rate() -> None:
    hour = 3600.0
    plain = arrivals(Poisson(2.0, 50_000.0, seed=1), 60.0)
    assert len(plain) == pytest.approx(100_000, rel=0.02)
    gaps = np.diff(plain)
    assert gaps.mean() == pytest.approx(0.5, rel=0.02) and gaps.std() == pytest.approx(0.5, rel=0.02)
    day = arrivals(Diurnal(1.0, 24 * hour, depth=0.8, peak_hour=14.0, seed=1), 600.0)
    by_hour = np.histogram(day, bins=24, range=(0, 24 * hour))[0] / hour
    expected = [1 + 0.8 * math.cos(2 * math.pi * (k + 0.5 - 14) / 24) for k in range(24)]
    assert by_hour == pytest.approx(expected, abs=0.06)
    assert arrivals(Diurnal(1.0, 24 * hour, seed=1), 600.0).tolist() == day.tolist()
    assert arrivals(Diurnal(1.0, 24 * hour, seed=2), 600.0).tolist() != day.tolist()


def test_charging_windows_give_their_energy_whatever_the_ticks() -> None:
    load = FixedRate(1.0, 100.0, (ChargeWindow(10.0, 25.5, 2.0), ChargeWindow(20.0, 200.0, 1.0)))
    for control in (1.0, 7.0, 30.0, 1000.0):
        ticks = list(load.ticks(control))
        assert sum(t.charge_j for t in ticks) == pytest.approx(15.5 * 2 + 80 * 1)
        assert [t.charging for t in ticks] == [t.start_s >= 10 for t in ticks]
        assert sum(t.seconds for t in ticks) == pytest.approx(100.0)


CSV = "time_s,charging_w\n0.5\n1.25,\n2,5\n2.5,\n4,0\n9.75\n"


def test_a_trace_is_read_with_its_charger(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    events = [{"time_s": 0.5}, {"time_s": 1.25}, {"time_s": 2, "charging_w": 5}, {"time_s": 2.5}]
    events += [{"time_s": 4, "charging_w": 0}, {"time_s": 9.75}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    (tmp_path / "excel.CSV").write_text(CSV, encoding="utf-8-sig")
    for name in ("a.csv", "a.jsonl", "excel.CSV"):
        for control in (0.3, 1.0, 3.0, 20.0):
            trace = Trace(tmp_path / name)
            assert arrivals(trace, control).tolist() == [0.5, 1.25, 2.5, 9.75]
            assert sum(t.charge_j for t in trace.ticks(control)) == pytest.approx(10.0)
        ticks = list(Trace(tmp_path / name, 3.0).ticks(1.0))
        assert [(t.count, t.charging, t.charge_j) for t in ticks] == [(1, False, 0), (1, False, 0), (1, True, 5)]
        # a charger that goes off just as a tick begins is off in it
        assert [t.charging for t in Trace(tmp_path / name, 6.0).ticks(2.0)] == [False, True, False]
        assert list(Trace(tmp_path / name, 12.0).ticks(5.0))[-1].seconds == pytest.approx(2.0)


@pytest.mark.parametrize(("duration", "control", "ticks"), [(2.1, 0.7, 3), (0.3, 0.1, 3), (5.0, 2.0, 3), (0.5, 2.0, 1)])
def test_every_workload_has_the_same_ticks_and_none_of_a_rounding(
    duration: float, control: float, ticks: int, tmp_path: Path
) -> None:
    """3 x 0.7 is less than 2.1 by 4e-16: that is no fourth tick, and the last image before 2.1 is in the third."""
    latest = math.nextafter(duration, 0)
    (tmp_path / "a.csv").write_text(f"time_s\n0.25\n{latest!r}\n")
    trace = Trace(tmp_path / "a.csv", duration)
    for load in (FixedRate(9.0, duration), Poisson(9.0, duration), trace):
        found = [(tick.start_s, tick.seconds) for tick in load.ticks(control)]
        assert [start for start, _ in found] == [k * control for k in range(ticks)]
        assert sum(seconds for _, seconds in found) == pytest.approx(duration)
        assert min(seconds for _, seconds in found) > 0.01
    assert arrivals(trace, control).tolist() == [0.25, latest]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "time_s\n1\n3\n2\n", "a.csv:4: time_s 2 is before 3; expected rising times"),
        ("a.csv", "time_s\nnan\n", "a.csv:2: time_s nan; expected seconds"),
        ("a.csv", "time_s\n-1\n", "a.csv:2: time_s -1 is before 0"),
        ("a.csv", "time_s\nsoon\n", "a.csv: line 2: 'soon'; expected a number"),
        ("a.csv", "time_s\n1,2\n", "line 2: 2 fields; expected 1"),
        ("a.csv", "when\n1\n", "header"),
        ("a.csv", "", "header None"),
        ("a.csv", "time_s,charging_w\n1,-5\n", "a.csv:2: charging_w -5.0; expected 0 or more"),
        ("a.csv", "time_s\n1764000000000\n", "expected seconds from the trace's beginning"),
        ("a.jsonl", '{"time_s": 1}\nnot json\n', "line 2: not JSON"),
        ("a.jsonl", '{"t": 1}\n', "line 1: expected an object of time_s"),
        ("a.jsonl", '{"time_s": "5"}\n', "line 1: '5'; expected a number"),
        ("a.jsonl", '{"time_s": 5, "charging_w": true}\n', "line 1: True; expected a number"),
        ("a.jsonl", '{"time_s": null}\n', "line 1: None; expected a number"),
        ("a.jsonl", '{"time_s": 1}\n{"time_s": NaN}\n', "a.jsonl: line 2: not JSON (NaN is not a JSON number)"),
    ],
)
def test_a_bad_trace_is_one_line_that_says_where(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(WorkloadError) as error:
        list(Trace(tmp_path / name).ticks(1.0))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_missing_trace_and_bad_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="cannot be read"):
        list(Trace(tmp_path / "none.csv").ticks(1.0))
    for make, words in (
        (lambda: FixedRate(-1.0, 10.0), "-1 images a second"),
        (lambda: FixedRate(math.nan, 10.0), "nan images a second"),
        (lambda: Poisson(1.0, 0.0), "duration 0 s"),
        (lambda: Diurnal(1.0, 1.0, depth=2.0), "depth 2"),
        (lambda: ChargeWindow(5.0, 5.0, 1.0), "charging until 5 s"),
        (lambda: ChargeWindow(1.0, 5.0, -1.0), "charging at -1 W"),
    ):
        with pytest.raises(WorkloadError, match=words):
            make()


@pytest.mark.parametrize("name", ["excel.csv", "plain.csv", "trace.jsonl"])
def test_a_trace_is_utf_8_whatever_the_locale(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Excel's mark was three letters of the header where the locale's encoding was another."""
    lines = '{"time_s": 1}\n' if name.endswith("l") else "time_s\n1\n"
    (tmp_path / name).write_text(lines, encoding="utf-8-sig" if name == "excel.csv" else "utf-8")
    whole = Path.open

    def elsewhere(self: Path, mode: str = "r", *rest: object, encoding: str | None = None, **options: object) -> object:
        found = encoding or (None if "b" in mode else "cp1252")
        return whole(self, mode, *rest, encoding=found, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", elsewhere)
    assert list(Trace(tmp_path / name).events()) == [(1.0, None)]
    (tmp_path / name).write_bytes(b"time_s\n1\xff\n")
    with pytest.raises(WorkloadError, match="utf-8") as caught:
        list(Trace(tmp_path / name).events())
    assert "\n" not in str(caught.value)
