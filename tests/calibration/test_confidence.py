"""AUROC, AURC, temperatures and intervals against other people's code and the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.needs import needs

from dvt_edge.calibration.confidence import (
    aurc,
    auroc,
    check_finite,
    exit_confidences,
    fit_temperature,
    fit_temperatures,
    measure_qualities,
    wilson,
)
from dvt_edge.calibration.exit_logits import ExitLogits, in_memory
from dvt_edge.device.exit_rule import confidence
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.errors import DataError


def some(images: int = 60, labelled: bool = True) -> ExitLogits:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, images)
    logits = rng.normal(0, 1, (images, 3, 4)).astype(np.float32)
    logits[np.arange(images), :, labels] += np.array([0.5, 1.0, 2.0], np.float32)
    return in_memory(logits, labels if labelled else None, (1, 2, 3))


scored = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=40)


@given(scored)
def test_auroc_is_scikit_learns_ties_included(rows: list[tuple[float, bool]]) -> None:
    needs("sklearn")
    from sklearn.metrics import roc_auc_score

    values, right = np.array([v for v, _ in rows], np.float32), np.array([r for _, r in rows])
    if right.all() or not right.any():
        assert auroc(values, right) is None
    else:
        assert auroc(values, right) == pytest.approx(roc_auc_score(right, values))


@given(scored)
def test_aurc_is_the_mean_selective_risk_over_random_orders_of_ties(rows: list[tuple[float, bool]]) -> None:
    values, right = np.array([v for v, _ in rows], np.float32), np.array([r for _, r in rows])
    expected, errors, seen = 0.0, 0.0, 0
    for level in sorted(set(values.tolist()), reverse=True):
        group = ~right[values == np.float32(level)]
        for _ in group:
            errors, seen = errors + group.mean(), seen + 1
            expected += errors / seen
    assert aurc(values, right) == pytest.approx(expected / len(rows))


def test_a_better_order_has_the_better_figures() -> None:
    right = np.array([True] * 8 + [False] * 2)
    good, bad = np.linspace(1, 0, 10, dtype=np.float32), np.linspace(0, 1, 10, dtype=np.float32)
    assert auroc(good, right) == 1 and auroc(bad, right) == 0
    assert aurc(np.full(10, 0.5, np.float32), right) == pytest.approx(0.2)
    assert aurc(good, right) < 0.2 < aurc(bad, right)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_of_logits_that_were_scaled_is_found(true: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (8000, 5))
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((8000, 1)) > np.cumsum(odds, axis=1)).sum(axis=1)
    assert fit_temperature((logits * true).astype(np.float32), labels) == pytest.approx(true, rel=0.06)


def test_temperatures_need_labels() -> None:
    assert len(fit_temperatures(some())) == 3
    with pytest.raises(DataError, match="without labels"):
        fit_temperatures(some(labelled=False))


def test_confidences_of_all_exits_are_the_rules() -> None:
    data, spec = some(), ConfidenceSpec("margin", (0.5, 1.0, 2.0))
    table = exit_confidences(data, spec)
    for k, t in enumerate(spec.temperature):
        assert table[7, k] == pytest.approx(confidence(data.logits[7, k], t, "margin"), rel=1e-6)


def test_every_measure_has_a_row_for_every_exit() -> None:
    rows = measure_qualities(some(), (1.0, 1.0, 1.0))
    assert [(r.exit, r.measure) for r in rows[:4]] == [
        (0, "max_softmax"),
        (0, "margin"),
        (0, "entropy"),
        (1, "max_softmax"),
    ]
    assert all(r.auroc is None or 0 <= r.auroc <= 1 for r in rows) and len(rows) == 9


def test_a_logit_that_is_not_finite_is_named_by_image_and_exit() -> None:
    data = some()
    check_finite(data)
    data.logits[41, 1, 2] = np.nan
    with pytest.raises(DataError, match=r"given arrays\[41\]: the logits of exit 1 are not finite") as caught:
        check_finite(data)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"photo41\.png: the logits of exit 1"):
        check_finite(data, lambda index: f"photo{index}.png")


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts: tuple[int, int]) -> None:
    hits, images = counts
    expected = stats.binomtest(hits, images).proportion_ci(method="wilson")
    assert wilson(hits, images) == pytest.approx((expected.low, expected.high), abs=1e-9)
