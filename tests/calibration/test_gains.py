"""What running on gains: the prediction by its definition, and what it does for thresholds found on few images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from support.synthetic import MACS, cascade_logits

from dvt_edge.calibration import gains
from dvt_edge.calibration.confidence import exit_confidences
from dvt_edge.calibration.gains import calibrated_gains, predicted_gains, steadied
from dvt_edge.calibration.pareto import pareto_front
from dvt_edge.device.exit_rule import simulate_exits
from dvt_edge.device.manifest import ConfidenceSpec


def test_predicted_gains_are_differences_of_the_last_exits_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gains, "ROWS", 7)
    data = cascade_logits(30)
    found = predicted_gains(data, 1.7)
    assert found.shape == (30, 3) and not found[:, -1].any() and (found >= 0).all() and found.any()
    for image in range(30):
        scaled = data.logits[image, -1].astype(np.float64) / 1.7
        p = np.exp(scaled) / np.exp(scaled).sum()
        for k in range(3):
            expected = p.max() - p[data.logits[image, k].argmax()]
            assert found[image, k] == pytest.approx(expected, abs=1e-6)


def test_gains_do_not_depend_on_how_sure_the_last_exit_says_it_is() -> None:
    plain, unsure = cascade_logits(2000), cascade_logits(2000)
    unsure.logits[:, -1] *= 0.1
    expected = calibrated_gains(plain, plain)
    np.testing.assert_allclose(calibrated_gains(unsure, unsure), expected, atol=0.01)
    assert predicted_gains(unsure).mean() < 0.3 * predicted_gains(plain).mean()
    without = dataclasses.replace(unsure, labels=None)
    np.testing.assert_array_equal(calibrated_gains(unsure, without), predicted_gains(unsure))


def test_logits_that_overflow_exp_are_no_trouble() -> None:
    data = cascade_logits(50, sharpness=400.0)
    found = predicted_gains(data)
    assert np.isfinite(found).all() and found.max() == pytest.approx(1.0)


def test_labels_stand_where_exits_agree_and_for_the_last_exit() -> None:
    data = cascade_logits(500)
    expected = steadied(data.correct, predicted_gains(data))
    agree = data.guesses == data.guesses[:, -1:]
    assert np.array_equal(expected[agree], data.correct[agree]) and not agree.all()
    assert not np.array_equal(expected, data.correct)


def test_too_sure_a_network_is_scaled_to_its_labels() -> None:
    """Sharpened fivefold, the last exit expects to gain on almost every disagreement; the labels say how often."""
    data = cascade_logits(1000, sharpness=5.0)
    predicted, right = predicted_gains(data), data.correct
    gained = float(right[:, -1].mean() - right[:, 0].mean())
    expected = steadied(right, predicted)
    assert predicted[:, 0].mean() > 1.5 * gained
    assert (expected[:, -1] - expected[:, 0]).mean() == pytest.approx(gained, rel=0.2)


def test_on_many_images_the_labels_decide() -> None:
    right = np.tile([[False, True, True], [True, True, True], [True, True, False]], (20_000, 1))
    expected = steadied(right, np.tile([0.9, 0.0, 0.0], (60_000, 1)))  # a prediction that is wrong everywhere
    assert expected.mean(axis=0) == pytest.approx(right.mean(axis=0), abs=0.02)


def test_thresholds_from_few_images_keep_their_aim_more_often_than_by_labels_alone() -> None:
    new = cascade_logits(40_000, seed=1)
    spec = ConfidenceSpec("max_softmax", (1.0,) * 3)
    new_values, new_right = exit_confidences(new, spec), new.correct
    last = new_right[:, -1].mean()
    lost: dict[str, list[float]] = {"labels": [], "steadied": []}
    for seed in range(2, 32):
        few = cascade_logits(192, seed=seed)
        values = exit_confidences(few, spec)
        goods: dict[str, NDArray[np.float64] | NDArray[np.bool_]] = {
            "labels": few.correct,
            "steadied": steadied(few.correct, calibrated_gains(few, few)),
        }
        for name, good in goods.items():
            front = pareto_front(values, good, MACS)
            index = front.reaching(front.last - 0.01)
            thresholds = front.thresholds[-1 if index is None else index]
            left = simulate_exits(new_values, thresholds.tolist())
            lost[name].append(float(last - new_right[np.arange(len(new)), left].mean()))
    spread = {name: float(np.std(found)) for name, found in lost.items()}
    assert spread["steadied"] < 0.6 * spread["labels"]
    broken = {name: np.mean(np.array(found) > 0.015) for name, found in lost.items()}
    assert broken["steadied"] < 0.5 * broken["labels"]
    assert abs(np.mean(lost["steadied"]) - 0.01) < abs(np.mean(lost["labels"]) - 0.01) + 0.003
