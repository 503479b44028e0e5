"""A made-up cascade, its operating points and a small device, for the simulator's tests."""

from __future__ import annotations

import dataclasses

import numpy as np

from dvt_edge.calibration.exit_logits import ExitLogits, in_memory
from dvt_edge.device.operating_point import OperatingPoint
from dvt_edge.simulation.device_profile import ComputeEstimate, DeviceProfile, open_profile

MACS = (1_000_000, 3_000_000, 7_000_000)


def made_up_logits(images: int = 40, seed: int = 0) -> ExitLogits:
    """Later exits are more often right, and more sure."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, images)
    logits = random.normal(size=(images, 3, 5))
    for exit_ in range(3):
        logits[np.arange(images), exit_, labels] += 1.0 + exit_
    return in_memory(logits.astype(np.float32), labels, MACS)


def point(name: str, *thresholds: float, certified: bool = False) -> OperatingPoint:
    """Shares and accuracy as the policy believes them; made up, but in the right order."""
    eager = sum(t <= 0.6 for t in thresholds[:-1]) / 2
    shares = (eager * 0.7, 0.3 * eager, 1 - eager)
    return OperatingPoint(name, thresholds, shares, 1e6, 1.0, 0.9 - 0.1 * eager, 40, "made up")


POINTS = (point("fast", 0.3, 0.4, 0.0), point("balanced", 0.6, 0.8, 0.0), point("full", 2.0, 2.0, 0.0))


def small_profile(joules: float, **thermal: float) -> DeviceProfile:
    """A camera with a battery of a few joules, on any target."""
    camera = open_profile("camera-a53")
    return dataclasses.replace(
        camera,
        battery=dataclasses.replace(camera.battery, capacity_mah=joules / 3.6, voltage_v=1.0),
        thermal=dataclasses.replace(camera.thermal, **thermal),
        counted=(),
        estimated=(ComputeEstimate("given", 1.8, busy_w=0.5, call_ms=0.2, image_ms=0.5, source="made up for tests"),),
        low_power_below=0.2,
    )
