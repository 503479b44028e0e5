"""A made-up device's log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def log_lines(screen_on: bool = False) -> list[dict[str, Any]]:
    """A device that idles at 0.4 W (and 1 W of screen) and takes 2 W while busy, 2, 3 and 5 ms a stage, 1 ms around."""
    header = {"log": 1, "device": "lab phone", "target": "onnx-int8", "artifact_sha256": "c" * 64, "stages": 3}
    lines: list[dict[str, Any]] = [header]
    time_s = 0.0
    for on, extra in ((False, 0.0), (True, 1.0)):
        for _ in range(20):
            time_s += 1
            power = {"current_ua": -(0.4 + extra) / 4 * 1e6, "voltage_mv": 4000}
            lines.append({"event": "idle", "time_s": time_s, "screen_on": on, "charging": False, **power})
    for k in range(60):
        stage_ms = [2.0, 3.0, 5.0][: k % 3 + 1]
        time_s += 0.020
        busy = (1 + (2 + 5 + 10) / 3) / 20  # mean share of the 20 ms between images
        watts = 0.4 + screen_on + 2.0 * busy
        power = {"current_ua": -watts / 4 * 1e6, "voltage_mv": 4000}
        event = {"event": "image", "time_s": time_s, "screen_on": screen_on, "charging": False, "image_ms": 1.0}
        lines.append({**event, **power, "stage_ms": stage_ms, "exit": k % 3, "thermal": "nominal"})
    return lines


def write_log(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path
