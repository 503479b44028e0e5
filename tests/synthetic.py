"""Cascades made up for tests: confidences and right answers of exits whose errors overlap as much as one likes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cascade(
    images: int, overlap: float, seed: int = 0, exits: int = 3
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(images, exits) confidences in 0.1..1 and whether each exit is right.

    With `overlap` 1 all exits find the same images hard, so that a later one hardly helps where an earlier one fails;
    with 0 each has its own hard images. Later exits are better.
    """
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=images)
    values, right = [], []
    for k in range(exits):
        hard = overlap * shared + np.sqrt(1 - overlap**2) * rng.normal(size=images)
        evidence = 1.2 + 0.6 * k - 1.5 * hard
        right.append(rng.random(images) < 1 / (1 + np.exp(-evidence)))
        values.append(0.1 + 0.9 / (1 + np.exp(-evidence - 0.5 * rng.normal(size=images))))
    return np.stack(values, axis=1).astype(np.float32), np.stack(right, axis=1)
