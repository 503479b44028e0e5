"""Cascades made up for tests: confidences and right answers of exits whose errors overlap as much as one likes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
