"""The exit rule. Normative: docs/exit-rule.md says it in words, and Kotlin and Swift mirror these functions.

Pure functions of logits, thresholds and the device's cap; float32 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.errors import NotFiniteError

if TYPE_CHECKING:
    from dvt_edge.device.operating_point import Measure


def last_stage(cap: int | None, stages: int) -> int:
    """Index of the last stage that may run under a cap; below 0 counts as 0, beyond the end as none."""
    return stages - 1 if cap is None else max(0, min(cap, stages - 1))


@dataclass(frozen=True)
class Decision:
    """`exit` is the stage whose logits count; `degraded` when it is not the last one that ran."""

    exit: int
    label: int
    confidence: float
    degraded: bool = False


def confidence(logits: NDArray[np.float32], temperature: float = 1.0, measure: Measure = "max_softmax") -> float:
    """How sure (classes,) logits are, in [0, 1] and float32; NaN where a scaled logit is not finite.

    `measure` of p = softmax(logits / temperature): "max_softmax" its largest value, "margin" the largest less the
    second largest, "entropy" 1 - H(p) / log(classes). One class is certain by the last two.
    """
    scaled = scale(np.asarray(logits), temperature)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        return float(how_sure(scaled, measure)) if np.isfinite(scaled).all() else math.nan


def confidences(
    logits: NDArray[np.floating[Any]], temperature: float = 1.0, measure: Measure = "max_softmax"
) -> NDArray[np.float32]:
    """`confidence` of each row: (images, classes) -> (images,) float32."""
    scaled = scale(logits, temperature)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        value = how_sure(scaled, measure)
    return np.where(np.isfinite(scaled).all(axis=-1), value, np.float32(np.nan))


def scale(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return logits.astype(np.float32, copy=False) / np.float32(temperature)


def how_sure(scaled: NDArray[np.float32], measure: Measure) -> NDArray[np.float32]:
    """The measure of (..., classes) finite scaled logits."""
    one, classes = np.float32(1), scaled.shape[-1]
    below = scaled - scaled.max(axis=-1, keepdims=True)
    powers = np.exp(below)
    total = powers.sum(axis=-1, dtype=np.float32)
    if measure == "max_softmax":
        return one / total
    if measure == "margin":
        second = np.partition(powers, -2, axis=-1)[..., -2] if classes > 1 else np.zeros_like(total)
        return (one - second) / total
    if classes == 1:
        return np.ones_like(total)
    weighted = np.where(powers > 0, powers * below, np.float32(0)).sum(axis=-1, dtype=np.float32)
    entropy = np.log(total) - weighted / total
    return np.clip(one - entropy / np.log(np.float32(classes)), np.float32(0), one)


def leaves(value: float, stage: int, thresholds: Sequence[float], last: int) -> bool:
    """Whether inference stops after `stage`, whose confidence is `value`. A NaN is not >= anything."""
    return stage >= last or bool(np.float32(value) >= np.float32(thresholds[stage]))


def decide(values: Sequence[float], labels: Sequence[int]) -> Decision:
    """The answer, from the confidence and label of every stage that ran: the latest finite one.

    Raises NotFiniteError when none is finite.
    """
    for stage in reversed(range(len(values))):
        if math.isfinite(values[stage]):
            return Decision(stage, labels[stage], values[stage], degraded=stage < len(values) - 1)
    raise NotFiniteError(f"none of the {len(values)} exits that ran gave finite logits")


def simulate_exits(values: NDArray[np.float32], thresholds: Sequence[float]) -> NDArray[np.int64]:
    """The exit of each image from (images, exits) confidences of all exits, with no cap; NaN exits fall back."""
    found = latest_finite(values, stops(values, np.asarray(thresholds, dtype=np.float32)))
    if (found < 0).any():
        raise NotFiniteError(f"image {int((found < 0).argmax())} of {len(values)}: no exit that ran is finite")
    return found


def stops(
    values: NDArray[np.float32], thresholds: NDArray[np.float32], last: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The last stage that runs, of each image: `leaves` of (images, exits) confidences.

    `thresholds` are (exits,) or (images, exits); `last` (images,) are caps, None: no cap.
    """
    with np.errstate(invalid="ignore"):
        stop = values >= thresholds
    if last is None:
        stop[:, -1] = True
    else:
        stop |= np.arange(values.shape[1]) >= last[:, None]
    return stop.argmax(axis=1)


def latest_finite(values: NDArray[np.float32], ran: NDArray[np.int64]) -> NDArray[np.int64]:
    """The exit that answers each image whose stages up to `ran` ran: `decide` of all. -1 where none is finite."""
    exits = values.shape[1]
    finite = np.isfinite(values) & (np.arange(exits) <= ran[:, None])
    return np.where(finite.any(axis=1), exits - 1 - finite[:, ::-1].argmax(axis=1), -1)
