"""Certificates keep their promise: over many draws, the risk of the certified point is above epsilon as rarely as said.

Every draw comes from a distribution whose risks are known, with points just above epsilon on the path. The same check
fails for a bound that is made wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from dvt_edge.calibration import risk
from dvt_edge.calibration.risk import LOWEST, certify, images_needed, p_values, passes
from dvt_edge.errors import DataError

DRAWS = 2000
LEVELS = [(0.02, 0.1, 800), (0.05, 0.05, 400), (0.1, 0.2, 200), (0.1, 0.5, 100)]  # epsilon, delta, images
Certify = Callable[[np.ndarray, float, float | None, str, int], int | None]


def path(epsilon: float) -> np.ndarray:
    """True risks from the last exit's 0 to far too much, some a little above epsilon."""
    return epsilon * np.array([0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.001, 1.02, 1.1, 1.5, 2, 3])


def draw(kind: str, risks: np.ndarray, images: int, rng: np.random.Generator) -> np.ndarray:
    """(images, points) losses of these mean risks; an accuracy loss also gains on as many images as it loses net."""
    u = rng.random((images, 1))
    if kind == "disagreement":
        return (u < risks).astype(np.int8)
    return (u < 2 * risks).astype(np.int8) - (u > 1 - risks)


def certified_risks(
    kind: str, epsilon: float, delta: float | None, images: int, method: str, how: Certify = certify
) -> np.ndarray:
    """(DRAWS,): the true risk of the point that each draw certifies."""
    rng, risks = np.random.default_rng(1), path(epsilon)
    chosen = [how(draw(kind, risks, images, rng), epsilon, delta, method, LOWEST[kind]) for _ in range(DRAWS)]
    return np.array([0.0 if index is None else risks[index] for index in chosen])


def most(delta: float) -> float:
    """The largest share of misses that DRAWS draws of probability `delta` give, three standard deviations up."""
    return delta + 3 * float(np.sqrt(delta * (1 - delta) / DRAWS))


@pytest.mark.parametrize("kind", ["disagreement", "accuracy_loss"])
@pytest.mark.parametrize("method", ["hoeffding-bentkus", "wsr", "binomial"])
@pytest.mark.parametrize(("epsilon", "delta", "images"), LEVELS)
def test_the_risk_is_above_epsilon_no_oftener_than_delta(
    kind: str, method: str, epsilon: float, delta: float, images: int
) -> None:
    found = certified_risks(kind, epsilon, delta, images, method)
    assert np.mean(found > epsilon) <= most(delta)
    if kind == "disagreement":
        assert np.mean(found) > 0.25 * epsilon  # a promise of nothing would be kept as well


@pytest.mark.parametrize("kind", ["disagreement", "accuracy_loss"])
@pytest.mark.parametrize(("epsilon", "images"), [(0.02, 800), (0.05, 100), (0.1, 30)])
def test_conformal_risk_control_keeps_the_mean(kind: str, epsilon: float, images: int) -> None:
    found = certified_risks(kind, epsilon, None, images, "crc")
    assert found.mean() <= epsilon + 3 * found.std() / np.sqrt(DRAWS)
    assert found.mean() > 0.3 * epsilon


def plug_in(losses: np.ndarray, epsilon: float, delta: float | None, method: str, lowest: int) -> int | None:
    """Wrong: trusts the sample's own mean."""
    return int(np.flatnonzero(np.append(losses.mean(axis=0) <= epsilon, False)).max(initial=0))


def first_not_certified(losses: np.ndarray, epsilon: float, delta: float | None, method: str, lowest: int) -> int:
    """Wrong: the value that ended the walk."""
    return min((certify(losses, epsilon, delta, method, lowest) or 0) + 1, losses.shape[1] - 1)


def five_times_delta(losses: np.ndarray, epsilon: float, delta: float | None, method: str, lowest: int) -> int | None:
    """Wrong: a bound of five times the probability."""
    return certify(losses, epsilon, min(5 * (delta or 0), 0.99), method, lowest)


@pytest.mark.parametrize("wrong", [plug_in, first_not_certified, five_times_delta])
def test_the_check_of_coverage_fails_for_a_wrong_bound(wrong: Certify) -> None:
    found = certified_risks("disagreement", 0.05, 0.05, 400, "binomial", wrong)
    assert np.mean(found > 0.05) > most(0.05)


def test_the_walk_ends_at_the_first_failure_even_where_later_points_pass() -> None:
    """With many points at a risk just above epsilon, the best of all that pass would miss far too often."""
    epsilon, delta, images = 0.1, 0.1, 300
    risks = np.array([0.0] + [1.02 * epsilon] * 40)
    rng = np.random.default_rng(2)
    misses, tempting = [], []
    for _ in range(DRAWS):
        losses = (rng.random((images, 41)) < risks).astype(np.int8)
        misses.append((certify(losses, epsilon, delta, "binomial") or 0) > 0)
        tempting.append(passes(losses, epsilon, delta, "binomial")[1:].any())
    assert np.mean(misses) <= most(delta) and np.mean(tempting) > 0.5


def test_certify_returns_the_last_before_the_first_failure() -> None:
    losses = np.zeros((100, 4), np.int8)
    losses[:50, 2] = 1  # the third point fails; the fourth would pass again
    assert certify(losses, 0.1, 0.1, "binomial") == 1
    assert certify(losses[:, 3:], 0.1, 0.1, "wsr") == 0
    assert certify(np.ones((100, 2), np.int8), 0.1, 0.1, "hoeffding-bentkus") is None


def test_losses_that_fall_again_are_made_to_rise_for_crc() -> None:
    losses = np.zeros((100, 3), np.int8)
    losses[:5, 1], losses[50:58, 2] = 1, 1
    assert passes(losses[:, 2:], 0.1, None, "crc").all()  # 9 / 101 on its own
    assert certify(losses, 0.1, None, "crc") == 1  # 14 / 101 with those lost on the way


def test_p_values_against_scipy_and_the_formula() -> None:
    losses = (np.arange(200)[:, None] < np.array([0, 3, 30])).astype(np.int8)
    tail = [stats.binom.cdf(k, 200, 0.05) for k in (0, 3, 30)]
    assert p_values(losses, 0.05, 0.1, "binomial") == pytest.approx(tail)
    hb = p_values(losses, 0.05, 0.1, "hoeffding-bentkus")
    divergence = 0.015 * np.log(0.015 / 0.05) + 0.985 * np.log(0.985 / 0.95)
    assert hb[:2] == pytest.approx([0.95**200, min(np.exp(-200 * divergence), np.e * tail[1])])
    assert hb[2] == pytest.approx(1.0)


def upper_bound(losses: np.ndarray, delta: float, method: str, lowest: int = 0) -> float:
    """The smallest epsilon, to 1e-6, that (images,) losses certify at `delta`; 1 where none does."""
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if passes(losses[:, None], middle, delta, method, lowest)[0] else (middle, high)
    return high


@pytest.mark.parametrize("method", ["hoeffding-bentkus", "wsr", "binomial"])
def test_upper_bounds_hold_and_tighten(method: str) -> None:
    rng = np.random.default_rng(3)
    above = [upper_bound((rng.random(300) < 0.1).astype(np.int8), 0.1, method) >= 0.1 for _ in range(200)]
    assert np.mean(above) >= 0.9 - 3 * np.sqrt(0.09 / 200)
    few, many = (upper_bound((np.arange(n) % 20 == 0).astype(np.int8), 0.1, method) for n in (200, 5000))
    assert 0.05 < many < few < 0.2
    if method == "binomial":
        assert few == pytest.approx(stats.beta.ppf(0.9, 11, 190), abs=1e-5)  # Clopper and Pearson


def test_betting_uses_gains_where_the_positive_part_cannot() -> None:
    """0.04 lost and 0.03 gained is a small loss in all: only wsr, which takes it whole, sees that."""
    losses = np.zeros(20_000, np.int8)
    losses[:800], losses[800:1400] = 1, -1
    np.random.default_rng(0).shuffle(losses)
    assert upper_bound(losses, 0.1, "wsr", -1) < 0.02 < 0.04 < upper_bound(losses, 0.1, "binomial", -1)


@pytest.mark.parametrize("method", ["hoeffding-bentkus", "wsr", "binomial", "crc"])
@pytest.mark.parametrize("lowest", [0, -1])
def test_too_few_images_are_an_error_that_says_how_many(method: str, lowest: int) -> None:
    delta = None if method == "crc" else 0.1
    enough = images_needed(0.02, delta, method, lowest)
    assert certify(np.zeros((enough, 3), np.int8), 0.02, delta, method, lowest) == 2
    with pytest.raises(DataError, match=f"at least {enough} are needed") as caught:
        certify(np.zeros((enough - 1, 3), np.int8), 0.02, delta, method, lowest)
    assert "\n" not in str(caught.value)
    if method == "crc":
        assert enough == 49  # 1 / epsilon - 1
    if method == "binomial":
        assert enough == 114  # log(0.1) / log(0.98)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.1), (1.0, 0.1), (float("nan"), 0.1), (0.1, 0.0), (0.1, None)])
def test_levels_that_make_no_sense_are_refused(epsilon: float, delta: float | None) -> None:
    with pytest.raises(DataError, match="expected a"):
        certify(np.zeros((100, 2), np.int8), epsilon, delta, "wsr")


def test_no_images_at_all_are_too_few() -> None:
    with pytest.raises(DataError, match="0 images"):
        certify(np.zeros((0, 2), np.int8), 0.1, 0.1, "binomial")
    assert risk.images_needed(0.5, 0.5, "binomial") == 1
