"""Cascades made up for tests: confidences and right answers of exits whose errors overlap as much as one likes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvt_edge.calibration.exit_logits import ExitLogits, in_memory

MACS = (10, 30, 90)


def cascade(
    images: int, shared: float, seed: int = 0, exits: int = 3, echo: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(images, exits) confidences in 0.1..1 and whether each exit is right; later exits are better.

    With `shared` 1 all exits find the same images hard; with 0 each has its own. On a share `echo` of the images the
    second exit only repeats the first: its errors overlap there, and what it costs is wasted.
    """
    rng = np.random.default_rng(seed)
    common = rng.normal(size=images)
    values, right = [], []
    for k in range(exits):
        hard = shared * common + np.sqrt(1 - shared**2) * rng.normal(size=images)
        evidence = 1.2 + 0.6 * k - 1.5 * hard
        right.append(rng.random(images) < 1 / (1 + np.exp(-evidence)))
        values.append(0.1 + 0.9 / (1 + np.exp(-evidence - 0.5 * rng.normal(size=images))))
    repeats = rng.random(images) < echo
    for column in (values, right):
        column[1] = np.where(repeats, column[0], column[1]) if exits > 1 else column[1]
    return np.stack(values, axis=1).astype(np.float32), np.stack(right, axis=1)


def cascade_logits(images: int, seed: int = 0, sharpness: float = 1.0) -> ExitLogits:
    """Three exits of ten classes; labels are drawn from the last one's own softmax, times `sharpness` afterwards."""
    rng = np.random.default_rng(seed)
    last = rng.normal(0, 2.5, (images, 10))
    odds = np.exp(last - last.max(axis=1, keepdims=True))
    labels = (np.cumsum(odds, axis=1) / odds.sum(axis=1, keepdims=True) > rng.random((images, 1))).argmax(axis=1)
    exits = [last + rng.normal(0, noise, last.shape) for noise in (1.2, 0.6, 0.0)]
    return in_memory(np.float32(sharpness * np.stack(exits, axis=1)), labels, MACS)
