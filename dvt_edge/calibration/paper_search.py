"""The published threshold search (arXiv 2105.15075), kept for comparison.

For q = p / 20, p = 1..59, exit k shall answer a share of the images proportional to q^k. Exit by exit, the images that
have not left are walked by falling confidence; the threshold is the confidence of the floor(images * share)-th, and
all at or above it leave, ties included. A share that rounds to no image, or to more than are left, never exits.
Shares are rounded to float32 step by step, as the published code's are. Given the shares, thresholds are exact. Where
images * share is a whole number but for rounding, the float32 logarithm of another library may move the count by one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SETTINGS = range(1, 60)  # p
NEVER, ALWAYS = 1e8, -1e8


def shares(p: int, exits: int) -> NDArray[np.float32]:
    """(exits,) float32: the share of the images that each exit shall answer."""
    logarithm = np.float32(math.log(np.float32(p / 20)))
    powers = np.array([math.exp(logarithm * np.float32(k)) for k in range(1, exits + 1)], dtype=np.float32)
    return powers / powers.sum(dtype=np.float32)


def paper_thresholds(values: NDArray[np.float32], p: int) -> NDArray[np.float32]:
    """(exits,) thresholds for (images, exits) finite confidences."""
    images, exits = values.shape
    thresholds = np.full(exits, NEVER, dtype=np.float32)
    staying = np.ones(images, dtype=bool)
    for k, share in enumerate(shares(p, exits)[:-1]):
        wanted = math.floor(np.float32(images) * share)
        rest = values[staying, k]
        if 0 < wanted <= len(rest):
            thresholds[k] = np.partition(rest, len(rest) - wanted)[len(rest) - wanted]
            staying &= values[:, k] < thresholds[k]
    thresholds[-1] = ALWAYS
    return thresholds


def paper_curve(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(59, exits) thresholds, one row for each p."""
    return np.stack([paper_thresholds(values, p) for p in SETTINGS])
