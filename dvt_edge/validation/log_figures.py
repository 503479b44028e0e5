"""What a pass over a device's log comes to: latency over time, and accuracy against the host's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.validation.device_compare import Measured

BINS = 60


def percentiles(values: NDArray[Any]) -> dict[str, float] | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    return {f"p{q}": float(np.percentile(values, q)) for q in (50, 90, 99)}


def latency(found: Measured) -> dict[str, Any]:
    """Percentiles in milliseconds, and medians over the time of the log with the temperature."""
    total, time_s = np.concatenate(found.total_ms), np.concatenate(found.time_s)
    stages = np.concatenate(found.stage_ms)
    edges = np.linspace(time_s.min(), max(time_s.max(), time_s.min() + 1e-6), min(BINS, max(2, len(total) // 20)) + 1)
    place = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, len(edges) - 2)
    sampled = [(s.time_s, s.temperature_c) for s in found.timeline.states if s.temperature_c is not None]
    times, degrees = np.array(sampled, float).T if sampled else (np.zeros(0), np.zeros(0))
    rows = []
    for k in range(len(edges) - 1):
        inside = total[place == k]
        near = degrees[(times >= edges[k]) & (times <= edges[k + 1])]
        if len(inside):
            row: dict[str, Any] = {
                "time_s": float(edges[k] - edges[0]),
                "p50_ms": float(np.median(inside)),
                "images": len(inside),
            }
            rows.append(row | {"temperature_c": float(near.mean()) if len(near) else None})
    tenth = max(1, len(rows) // 10)
    first, end = (float(np.median([r["p50_ms"] for r in part])) for part in (rows[:tenth], rows[-tenth:]))
    return {
        "total_ms": percentiles(total),
        "stage_ms": [percentiles(stages[:, k]) for k in range(found.exits)],
        "over_time": rows,
        "sustained": end / first if first > 0 else None,
    }


def accuracy(found: Measured) -> dict[str, Any] | None:
    """Top-1 of device and host on the images whose class is known, and their paired difference with its 95 % interval.

    The interval is Agresti and Min's (2005): half an image is added to each cell of the paired table.
    """
    images = int(found.right.sum())
    if not images:
        return None
    (_, host_only), (device_only, both) = found.right.tolist()
    n, b, c = images + 2, device_only + 0.5, host_only + 0.5
    middle = (b - c) / n
    half = 1.96 * math.sqrt(max(0.0, b + c - (b - c) ** 2 / n)) / n
    return {
        "images": images,
        "device": (both + device_only) / images,
        "host": (both + host_only) / images,
        "difference": (device_only - host_only) / images,
        "interval": [middle - half, middle + half],
    }
