"""What an exit's confidence is worth: temperatures, and how well it tells right answers from wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from dvt_edge.calibration.exit_logits import ExitLogits
from dvt_edge.device.exit_rule import confidences
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.operating_point import Measure
from dvt_edge.errors import DataError, packages

ROWS = 4096  # images at a time: memory does not grow with them
FITTED = 10_000  # images that a temperature is fitted on at most
TEMPERATURES = (0.05, 20.0)  # the range searched


@dataclass(frozen=True)
class MeasureQuality:
    """One measure at one exit. `auroc` is None where all answers are right, or all wrong."""

    exit: int
    measure: Measure
    temperature: float
    auroc: float | None
    aurc: float


def check_finite(data: ExitLogits, name_of: Callable[[int], str] | None = None) -> None:
    """Raises DataError naming the first image with a logit that is not finite, by `name_of` or its place."""
    for start in range(0, len(data), ROWS):
        images, exits = np.nonzero(~np.isfinite(data.logits[start : start + ROWS]).all(axis=2))
        if len(images):
            image = start + int(images[0])
            name = name_of(image) if name_of else f"{data.about.data}[{image}]"
            raise DataError(
                f"{name}: the logits of exit {int(exits[0])} are not finite; expected finite ones: "
                "leave the image out, or mend the artifact"
            )


def exit_confidences(data: ExitLogits, spec: ConfidenceSpec) -> NDArray[np.float32]:
    """(images, exits) confidences of finite logits."""
    values = np.empty(data.logits.shape[:2], np.float32)
    for start in range(0, len(values), ROWS):
        rows = slice(start, start + ROWS)
        for k, temperature in enumerate(spec.temperature):
            values[rows, k] = confidences(data.logits[rows, k], temperature, spec.measure)
    return values


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood (arXiv 1706.04599) of (images, classes) logits."""
    with packages("fitting temperatures"):
        from scipy.optimize import minimize_scalar
    z = np.asarray(logits[:FITTED], dtype=np.float64)
    z -= z.max(axis=1, keepdims=True)
    target = z[np.arange(len(z)), labels[:FITTED]].mean()

    def nll(logarithm: float) -> float:
        sharpness = np.exp(-logarithm)
        return float(np.log(np.exp(z * sharpness).sum(axis=1)).mean() - target * sharpness)

    found = minimize_scalar(nll, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 4)


def fit_temperatures(data: ExitLogits) -> tuple[float, ...]:
    """One temperature an exit. Raises DataError where labels are not known."""
    if data.labels is None:
        raise DataError(f"{data.about.data}: a temperature cannot be fitted without labels; keep the bundle's")
    return tuple(fit_temperature(data.logits[:, k], data.labels) for k in range(data.about.exits))


def measure_qualities(data: ExitLogits, temperature: Sequence[float]) -> tuple[MeasureQuality, ...]:
    """Every measure at every exit, exit by exit."""
    measures: tuple[Measure, ...] = get_args(Measure)
    tables = {m: exit_confidences(data, ConfidenceSpec(m, tuple(temperature))) for m in measures}
    return tuple(
        MeasureQuality(k, m, t, auroc(tables[m][:, k], data.correct[:, k]), aurc(tables[m][:, k], data.correct[:, k]))
        for k, t in enumerate(temperature)
        for m in measures
    )


def auroc(values: NDArray[np.float32], right: NDArray[np.bool_]) -> float | None:
    """The probability that a right answer is more confident than a wrong one, ties counting half."""
    if right.all() or not right.any():
        return None
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    positives = int(right.sum())
    return float((ranks[right].sum() - positives * (positives + 1) / 2) / (positives * (len(right) - positives)))


def aurc(values: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Error rate among the most confident images, averaged over all coverages (arXiv 1805.08206); lower is better.

    Images of equal confidence count by their mean error, as if their order were random.
    """
    _, place, count = np.unique(-values, return_inverse=True, return_counts=True)
    errors = np.bincount(place, ~right) / count
    ordered = np.repeat(errors, count)
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, 1927)."""
    z = 1.959963984540054
    share, scale = hits / images, 1 + z * z / images
    middle = (share + z * z / (2 * images)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def too_low(share: float, images: int, least: float) -> str:
    """A share of images in words, where all of its 95 % interval lies below `least`; else nothing."""
    low, high = wilson(round(share * images), images)
    below = share < least and high < least  # the interval of all images ends a rounding below 1
    return f"{share:.1%} ({low:.1%} to {high:.1%}, at least {least:.1%})" if below else ""
