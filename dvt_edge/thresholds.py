"""Operating points: thresholds found on the outputs of the artifacts that ship.

Here one threshold is shared by all exits and found by a sweep: the cheapest that loses no more than a given share
of quality against always running the last exit. Quality is top-1 where labels are known, else agreement with
the last exit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dvt_edge.decision import confidences, simulate_exits
from dvt_edge.manifest import OperatingPoint

NEVER = 2.0  # a threshold that no confidence reaches
POINTS = {"fast": 0.05, "balanced": 0.02, "accurate": 0.005}  # name -> quality it may lose
DEFAULT = "accurate"
CANDIDATES = np.linspace(0.01, 0.999, 199)


def operating_points(
    logits: Sequence[NDArray[np.float32]],
    labels: Sequence[int] | None,
    macs: Sequence[int],
    temperatures: Sequence[float],
    data: str,
) -> tuple[OperatingPoint, ...]:
    """The points of POINTS and "full" (always the last exit), by rising cost.

    `logits` is (images, classes) for each exit; `macs` is cumulative per exit; `data` says where the images came from.
    """
    values = np.stack([confidences(z, t) for z, t in zip(logits, temperatures, strict=True)], axis=1)
    guesses = np.stack([z.argmax(axis=1) for z in logits], axis=1)
    exits = len(macs)

    def measure(name: str, threshold: float) -> OperatingPoint:
        thresholds = (float(threshold),) * (exits - 1) + (0.0,)
        leaves = simulate_exits(values, thresholds)
        answers = guesses[np.arange(len(leaves)), leaves]
        return OperatingPoint(
            name=name,
            thresholds=thresholds,
            exit_shares=tuple(float(np.mean(leaves == k)) for k in range(exits)),
            mean_macs=float(np.asarray(macs)[leaves].mean()),
            agreement=float(np.mean(answers == guesses[:, -1])),
            top1=None if labels is None else float(np.mean(answers == np.asarray(labels))),
            images=len(leaves),
            data=data,
        )

    def quality(point: OperatingPoint) -> float:
        return point.agreement if point.top1 is None else point.top1

    full = measure("full", NEVER)
    swept = [measure("", round(float(t), 4)) for t in CANDIDATES]
    points = [full]
    for name, loss in POINTS.items():
        good = [p for p in swept if quality(p) >= quality(full) - loss]
        best = min(good, key=lambda p: p.mean_macs, default=full)
        points.append(measure(name, best.thresholds[0]))
    return tuple(sorted(points, key=lambda p: (p.mean_macs, p.name == "full")))
