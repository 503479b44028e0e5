"""An operating point: thresholds for every exit, what they gave, and what was proved of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dvt_edge.device.schema import require

CUSTOM = "custom"  # what a runtime and its log call thresholds that are no point's, but the app's own
Measure = Literal["max_softmax", "margin", "entropy"]


@dataclass(frozen=True)
class Certificate:
    """What was proved of a point on `n` images that its thresholds were not searched on: docs/calibration.md.

    It is bound to what it was proved of (`Manifest.uncertified`): artifacts, thresholds, measure, temperatures.
    The risk is at most `epsilon` with probability 1 - `delta` over the draw of the images; in expectation over it
    where `delta` is null. "always-last" is the point that answers as the last exit does by construction: no images.
    """

    risk: Literal["accuracy_loss", "disagreement"]  # against always running the last exit
    method: Literal["hoeffding-bentkus", "wsr", "binomial", "crc", "always-last"]
    epsilon: float
    delta: float | None
    n: int
    artifact_sha256: str  # Manifest.artifacts_sha256
    data_sha256: str  # of the calibration images and their labels
    thresholds: tuple[float, ...]  # one per exit
    measure: Measure
    temperature: tuple[float, ...]  # one per exit
    attempts: int  # calibrations of these artifacts on this data, this one included

    def __post_init__(self) -> None:
        require(0 <= self.epsilon < 1, f"epsilon {self.epsilon}; expected 0 <= epsilon < 1")
        require(self.delta is None or 0 <= self.delta < 1, f"delta {self.delta}; expected 0 <= delta < 1 or null")
        require((self.delta is None) == (self.method == "crc"), f"delta {self.delta} with the method {self.method}")
        require(self.n >= 0 and self.attempts >= 1, f"n {self.n}, attempts {self.attempts}; expected at least 0 and 1")


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds per exit and what they gave on `images` images of `data`, run through the shipped artifacts.

    Points that `dvt-edge calibrate` or `export` found are measured on images that the search did not see.
    """

    name: str
    thresholds: tuple[float, ...]  # one per exit; above 1 never exits there, the last one is not used
    exit_shares: tuple[float, ...]
    mean_macs: float
    agreement: float  # share of images whose label is the last exit's
    top1: float | None  # null where the data has no labels
    images: int
    data: str
    top1_interval: tuple[float, ...] | None = None  # of top1, 95 %, Wilson: (low, high)
    expected_top1: float | None = (
        None  # the same, steadied (calibration/gains.py): for policies; an estimate, not a share
    )
    mean_cost: float | None = None  # in `calibration.cost_unit`, where that is not MACs
    certificate: Certificate | None = None  # what it says holds only where `Manifest.uncertified` finds nothing

    def __post_init__(self) -> None:
        require(all(math.isfinite(t) for t in self.thresholds), f"{self.name}: thresholds {self.thresholds}")
        interval = self.top1_interval
        require(interval is None or len(interval) == 2, f"{self.name}: top1_interval {interval}; expected two numbers")
