"""Writes the inputs of tests/golden/camera, YUV 4:2:0 frames as cameras give them: `dvt-edge golden` does the rest.

python tests/support/make_camera_golden.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden/camera"
ABOUT = (
    "NAME.yuv holds a frame's planes, each from `offset` on: the sample (x, y) is byte y * row_stride + x * "
    "pixel_stride. What lies between is not the picture's. Turned clockwise by `rotation` it is NAME.rgb (uint8, "
    "height x width x 3 after the turn), resized and cropped NAME.expected (size x size x 3). Equal byte for byte. "
    "docs/preprocess.md."
)
# name: width, height, layout, bytes that a row is longer, rotation, range
FRAMES = {
    "planar": (32, 24, "i420", 0, 0, "full"),
    "planar-strides": (30, 26, "i420", 18, 0, "full"),
    "planar-odd": (17, 13, "i420", 3, 0, "full"),
    "nv12": (32, 24, "nv12", 0, 0, "full"),
    "nv12-strides": (28, 22, "nv12", 36, 90, "full"),
    "nv21": (32, 24, "nv21", 0, 180, "full"),
    "nv21-odd-strides": (21, 19, "nv21", 11, 270, "full"),
    "one-pixel": (1, 1, "i420", 0, 0, "full"),
    "video-range": (24, 20, "nv12", 0, 0, "video"),
    "video-range-turned": (25, 15, "i420", 7, 90, "video"),
}


def frame(width: int, height: int, layout: str, extra: int, seed: int) -> tuple[bytes, list[dict[str, Any]]]:
    """Random samples, the extremes among them, and noise where no sample is; the last row ends with its last sample."""
    rng = np.random.default_rng(seed)
    w, h = (width + 1) // 2, (height + 1) // 2
    y = rng.choice([0, 1, 15, 16, 127, 128, 235, 240, 254, 255, *range(256)], (height, width))
    chroma = rng.choice([0, 1, 16, 127, 128, 129, 240, 255, *range(256)], (2, h, w))

    def rows(samples: np.ndarray) -> tuple[bytes, int]:
        stride = samples.shape[1] + extra
        padded = rng.integers(0, 256, (len(samples), stride))
        padded[:, : samples.shape[1]] = samples
        content = padded.astype(np.uint8).tobytes()
        return content[: len(content) - extra], stride

    content, stride = rows(y)
    planes = [{"offset": 0, "bytes": len(content), "row_stride": stride, "pixel_stride": 1}]
    if layout == "i420":
        for samples in chroma:
            more, stride = rows(samples)
            planes.append({"offset": len(content), "bytes": len(more), "row_stride": stride, "pixel_stride": 1})
            content += more
    else:
        pairs = np.stack(chroma if layout == "nv12" else chroma[::-1], axis=-1).reshape(h, 2 * w)
        more, stride = rows(pairs)
        shifts = (0, 1) if layout == "nv12" else (1, 0)
        for shift in shifts:
            place = {"offset": len(content) + shift, "bytes": len(more) - shift}
            planes.append({**place, "row_stride": stride, "pixel_stride": 2})
        content += more
    return content, planes


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    cases = []
    for seed, (name, (width, height, layout, extra, rotation, span)) in enumerate(FRAMES.items()):
        content, (y, u, v) = frame(width, height, layout, extra, seed)
        (GOLDEN / f"{name}.yuv").write_bytes(content)
        case = {"name": name, "width": width, "height": height, "rotation": rotation, "range": span}
        cases.append(case | {"size": 12, "resize": 14, "y": y, "u": u, "v": v})
    (GOLDEN / "cases.json").write_text(json.dumps({"about": ABOUT, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
