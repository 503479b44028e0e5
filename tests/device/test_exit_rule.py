"""The exit rule of docs/exit-rule.md, case by case; tests/golden/exit_rule.json holds it for the other languages."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvt_edge.device.exit_rule import Decision, confidence, confidences, decide, last_stage, leaves, simulate_exits
from dvt_edge.errors import NotFiniteError

MEASURES = ("max_softmax", "margin", "entropy")
GOLDEN = json.loads((Path(__file__).parents[1] / "golden/exit_rule.json").read_text())


def parse(value: float | str) -> float:
    return float(value)  # JSON has no NaN or infinity: they stand as strings


def follow(
    logits: list[list[float]], temperature: list[float], thresholds: list[float], cap: int | None, measure: str
) -> Decision:
    last = last_stage(cap, len(logits))
    values, labels = [], []
    for stage, row in enumerate(logits):
        row32 = np.array(row, dtype=np.float32)
        values.append(confidence(row32, temperature[stage], measure))
        labels.append(int(row32.argmax()))
        if leaves(values[-1], stage, thresholds, last):
            break
    return decide(values, labels)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: c["name"])
def test_golden_cases_hold(case: dict) -> None:
    logits = [[parse(v) for v in row] for row in case["logits"]]
    arguments = logits, case["temperature"], case["thresholds"], case["max_stage"], case["measure"]
    if case["expected"] == "error":
        with pytest.raises(NotFiniteError):
            follow(*arguments)
        return
    found = follow(*arguments)
    expected = case["expected"]
    assert (found.exit, found.label, found.degraded) == (expected["exit"], expected["label"], expected["degraded"])
    assert found.confidence == pytest.approx(expected["confidence"], abs=GOLDEN["tolerance"])


rows = st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=12)


@given(rows, st.floats(0.1, 10))
def test_confidence_is_the_largest_softmax_probability(row: list[float], temperature: float) -> None:
    z = np.array(row, dtype=np.float64) / np.float32(temperature)
    expected = np.exp(z - z.max()).max() / np.exp(z - z.max()).sum()
    assert confidence(np.array(row, dtype=np.float32), temperature) == pytest.approx(expected, rel=1e-4)


@given(rows, st.floats(0.1, 10))
def test_margin_and_entropy_by_their_definitions(row: list[float], temperature: float) -> None:
    z = np.array(row, dtype=np.float64) / np.float32(temperature)
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    low, high = sorted(p)[-2:]
    row32 = np.array(row, dtype=np.float32)
    assert confidence(row32, temperature, "margin") == pytest.approx(high - low, abs=1e-5)
    entropy = -sum(q * math.log(q) for q in p if q > 0)
    assert confidence(row32, temperature, "entropy") == pytest.approx(1 - entropy / math.log(len(p)), abs=1e-5)


def test_one_class_is_certain_by_every_measure() -> None:
    assert [confidence(np.ones(1, np.float32), 1.0, m) for m in MEASURES] == [1, 1, 1]


@given(
    st.lists(st.floats(width=32, allow_nan=True), min_size=2, max_size=6), st.floats(0.1, 10), st.sampled_from(MEASURES)
)
def test_any_non_finite_logit_gives_nan_and_never_exits(row: list[float], temperature: float, measure: str) -> None:
    with np.errstate(over="ignore"):
        value = confidence(np.array(row, dtype=np.float32), temperature, measure)
        assert math.isnan(value) or 0 <= value <= 1
        finite = bool(np.isfinite(np.array(row, dtype=np.float32) / np.float32(temperature)).all())
    assert math.isfinite(value) == finite
    if not finite:
        assert not leaves(value, 0, (0.0, 0.0), last=1)


def test_threshold_is_reached_by_equality_in_float32() -> None:
    assert leaves(float(np.float32(0.7)), 0, (0.7, 0.0), last=1)
    assert not leaves(float(np.nextafter(np.float32(0.7), np.float32(0))), 0, (0.7, 0.0), last=1)


@given(st.integers(-3, 9), st.integers(1, 5))
def test_the_cap_is_kept_within_the_cascade(cap: int, stages: int) -> None:
    assert 0 <= last_stage(cap, stages) <= stages - 1
    assert last_stage(None, stages) == stages - 1


values = st.one_of(st.floats(0, 1, width=32), st.just(math.nan))


@given(st.lists(st.tuples(values, values, values), min_size=1, max_size=20), st.tuples(*[st.floats(0, 1.1)] * 3))
def test_vectorised_rule_equals_the_rule_image_by_image(images: list[tuple[float, ...]], thresholds: tuple) -> None:
    expected = []
    for image in images:
        ran = []
        for stage, value in enumerate(image):
            ran.append(value)
            if leaves(value, stage, thresholds, last=2):
                break
        try:
            expected.append(decide(ran, [0] * len(ran)).exit)
        except NotFiniteError:
            expected = None
            break
    table = np.array(images, dtype=np.float32)
    if expected is None:
        with pytest.raises(NotFiniteError):
            simulate_exits(table, thresholds)
    else:
        assert simulate_exits(table, thresholds).tolist() == expected


@given(st.lists(rows.filter(lambda r: len(r) == 4), min_size=1, max_size=5), st.sampled_from(MEASURES))
def test_vectorised_confidence_equals_one_by_one(table: list[list[float]], measure: str) -> None:
    array = np.array(table, dtype=np.float32)
    expected = [confidence(r, 1.5, measure) for r in array]
    assert confidences(array, 1.5, measure).tolist() == pytest.approx(expected, rel=1e-6)
