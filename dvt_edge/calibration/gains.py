"""What an image gains by running on: labels, steadied by the last exit's probabilities.

Where exits disagree, a label says that going on gains 1, 0 or -1. A few hundred images hold a few dozen disagreements,
and what a point loses, found from them, is off by a point of top-1. The last exit's probability of its own answer, less
that of the earlier exit's, predicts the gain without the luck. It is scaled to the labels, an exit each, by a ridge
regression towards 1. Labels and prediction are then averaged; the more images, the more weight the labels have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvt_edge.calibration.confidence import ROWS, fit_temperature
from dvt_edge.calibration.exit_logits import ExitLogits

TRUST = 3.0  # how strongly the scale is pulled to 1: as by so many disagreements predicted with certainty
STEADY = 1000  # images at which labels and prediction count the same

Floats = NDArray[np.float64]


def predicted_gains(data: ExitLogits, temperature: float = 1.0) -> Floats:
    """(images, exits): the last exit's probability of its own answer less that of each exit's; 0 for its own.

    A probability only at the last exit's fitted temperature (`confidence.fit_temperature`).
    """
    gains = np.empty(data.logits.shape[:2])
    for start in range(0, len(gains), ROWS):
        rows = slice(start, start + ROWS)
        scaled = data.logits[rows, -1] / np.float64(temperature)
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))  # 1 for its own answer
        answered = np.take_along_axis(powers, data.guesses[rows], axis=1)
        gains[rows] = (1 - answered) / powers.sum(axis=1, keepdims=True)
    return gains


def calibrated_gains(data: ExitLogits, fitting: ExitLogits) -> Floats:
    """`predicted_gains` at the temperature of the last exit that fits the labels of `fitting`; at 1 without any."""
    if fitting.labels is None or not len(fitting):
        return predicted_gains(data)
    return predicted_gains(data, fit_temperature(fitting.logits[:, -1], fitting.labels))


def steadied(right: NDArray[np.bool_], predicted: Floats) -> Floats:
    """(images, exits) expected right answers: the last exit's as labelled, the others' less what running on gains.

    Made for means: a single image's, or a handful's, may leave 0..1.
    """
    last = right[:, -1:].astype(np.float64)
    gained = last - right
    scale = ((gained * predicted).sum(axis=0) + TRUST) / ((predicted**2).sum(axis=0) + TRUST)
    share = len(right) / (len(right) + STEADY)
    expected: Floats = last - share * gained - (1 - share) * scale * predicted
    return expected
