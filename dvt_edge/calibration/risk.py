"""How far an operating point may fall behind the last exit, proved from a finite sample, for any distribution.

The images must be independent draws from what the device will see, and none of them may have been used to choose the
path of points that is tested. Along a path from the safest point on, each point's null hypothesis "its risk is above
epsilon" is tested in turn at level delta; the first that cannot be rejected ends the walk, and the point before it is
the answer (fixed-sequence testing in Learn then Test, arXiv 2110.01052; along a Pareto front, arXiv 2210.07913; for
early exits, arXiv 2405.20915). With probability 1 - delta over the draw, that point's risk is at most epsilon.

Losses are (images,) or (images, points), in [lowest, 1], lowest 0 or -1:

    disagreement    1 where the answer is not the last exit's: needs no labels
    accuracy_loss   1 where only the last exit is right, -1 where only this answer is

Tests, each giving a p-value:

    hoeffding-bentkus   for losses in [0, 1] (arXiv 2110.01052)
    binomial            the exact tail, for losses of 0 and 1
    wsr                 betting against the hypothesis (arXiv 2010.09686); adapts to the variance
    crc                 no p-value: conformal risk control (arXiv 2208.02814) bounds the mean over draws instead

The first two take the positive part of an accuracy loss, which is never smaller than the loss; wsr takes it whole.
CRC needs losses that rise along the path, so each becomes its largest value up to there.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dvt_edge.errors import DataError, packages

Risk = Literal["accuracy_loss", "disagreement"]
Method = Literal["hoeffding-bentkus", "wsr", "binomial", "crc"]
LOWEST: dict[Risk, int] = {"accuracy_loss": -1, "disagreement": 0}
MOST_IMAGES = 10**7  # where the search for a sufficient number gives up

Floats = NDArray[np.float64]


def certify(losses: NDArray[Any], epsilon: float, delta: float | None, method: Method, lowest: int = 0) -> int | None:
    """Index of the last certified point of a path from safest to cheapest; None where not even the first holds.

    `losses` is (images, points); `delta` is None for crc only. Raises DataError when epsilon or delta are out of range
    or when so few images could not certify even a point without a single loss.
    """
    check_size(len(losses), epsilon, delta, method, lowest)
    passed = passes(losses, epsilon, delta, method, lowest)
    return (len(passed) if passed.all() else int(np.argmin(passed))) - 1 if passed[0] else None


def passes(
    losses: NDArray[Any], epsilon: float, delta: float | None, method: Method, lowest: int = 0
) -> NDArray[np.bool_]:
    """(points,): which of the path's points reject "risk above epsilon", each on its own."""
    if method == "crc":
        worst = np.maximum.accumulate(losses, axis=1)
        return np.asarray((worst.sum(axis=0, dtype=np.float64) + 1) / (len(losses) + 1) <= epsilon)
    assert delta is not None
    return p_values(losses, epsilon, delta, method, lowest) <= delta


def p_values(losses: NDArray[Any], epsilon: float, delta: float, method: Method, lowest: int = 0) -> Floats:
    """(points,) p-values of "the mean loss is above epsilon"; those of wsr are made to be compared with `delta`."""
    if method == "wsr":
        scale = 1 - lowest
        return wsr((np.asarray(losses, np.float64) - lowest) / scale, (epsilon - lowest) / scale, delta)
    total = np.maximum(losses, 0).sum(axis=0, dtype=np.float64)
    return (
        hoeffding_bentkus(total, len(losses), epsilon)
        if method == "hoeffding-bentkus"
        else binomial_tail(total, len(losses), epsilon)
    )


def hoeffding_bentkus(total: Floats, images: int, epsilon: float) -> Floats:
    """The smaller of Hoeffding's and Bentkus' p-values, for sums of losses in [0, 1]."""
    mean = np.minimum(total / images, epsilon)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.where(mean > 0, mean * np.log(mean / epsilon), 0.0)
        miss = np.where(mean < 1, (1 - mean) * np.log((1 - mean) / (1 - epsilon)), 0.0)
    return np.minimum(np.exp(-images * (hit + miss)), math.e * binomial_tail(np.ceil(total), images, epsilon))


def binomial_tail(total: Floats, images: int, epsilon: float) -> Floats:
    """P(Binomial(images, epsilon) <= total)."""
    with packages("certifying a risk"):
        from scipy.special import bdtr
    return np.asarray(bdtr(np.floor(total), images, epsilon), dtype=np.float64)


def wsr(losses: Floats, epsilon: float, delta: float) -> Floats:
    """1 / the largest capital of a gambler who bets, image by image, that the mean of [0, 1] losses is below epsilon.

    Capital is a supermartingale where the mean is above epsilon, so that it ever reaches 1 / delta has probability at
    most delta (Ville). Bets are set before each image from those before it. The order of images must be random.
    """
    number = np.arange(1, len(losses) + 1, dtype=np.float64).reshape(-1, *[1] * (losses.ndim - 1))
    mean = (0.5 + np.cumsum(losses, axis=0)) / (1 + number)
    variance = (0.25 + np.cumsum((losses - mean) ** 2, axis=0)) / (1 + number)
    before = np.concatenate([np.full_like(variance[:1], 0.25), variance[:-1]])
    bet = np.minimum(1, np.sqrt(2 * math.log(1 / delta) / len(losses) / before))
    capital = np.cumsum(np.log1p(-bet * (losses - epsilon)), axis=0).max(axis=0)
    return np.asarray(np.exp(-np.maximum(capital, 0)))


def check_size(images: int, epsilon: float, delta: float | None, method: Method, lowest: int) -> None:
    """Raises DataError where epsilon or delta make no sense, or no outcome on so few images could be certified."""
    if not 0 < epsilon < 1:
        raise DataError(f"epsilon {epsilon:g}; expected a risk between 0 and 1, such as 0.01")
    if method != "crc" and (delta is None or not 0 < delta < 1):
        raise DataError(f"delta {delta}; expected a probability between 0 and 1, such as 0.1")
    if images >= 1 and flawless(images, epsilon, delta, method, lowest):
        return
    enough = images_needed(epsilon, delta, method, lowest)
    level = "in expectation" if method == "crc" else f"with probability {1 - (delta or 0):g}"
    raise DataError(
        f"{images} images cannot certify a risk of {epsilon:g} {level} by {method}, even without a single loss: "
        f"at least {enough} are needed to certify on, apart from those searched and measured"
    )


def images_needed(epsilon: float, delta: float | None, method: Method, lowest: int = 0) -> int:
    """The fewest images that certify a point without a single loss; MOST_IMAGES where that is not enough."""
    if method == "crc":
        return max(1, math.ceil(1 / epsilon - 1 - 1e-9))
    low, high = 0, 1
    while high < MOST_IMAGES and not flawless(high, epsilon, delta, method, lowest):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if flawless(middle, epsilon, delta, method, lowest) else (middle, high)
    return high


def flawless(images: int, epsilon: float, delta: float | None, method: Method, lowest: int) -> bool:
    return bool(passes(np.zeros((images, 1)), epsilon, delta, method, lowest)[0])
