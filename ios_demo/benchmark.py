"""The Swift package's speed on this machine, in one run: python ios_demo/benchmark.py [BUNDLE]

Preprocessing of a decoded 12-megapixel photo to 224 pixels, release mode, against Pillow on one core, turn by turn, and
held equal byte by byte. With a bundle: what the runtime takes for an image outside the engine.
Needs a Swift toolchain (`make swift-toolchain`) and what `ios_demo/check.sh` has built.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dvt_edge.device.preprocess import preprocess

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build/ios"
TOOL = BUILD / "swift/release/dvt-edge-ios"
WIDTH, HEIGHT, SIZE, RESIZE, ROUNDS, TIMES = 4000, 3000, 224, 256, 5, 5


def swift(*arguments: str) -> list[float]:
    """The milliseconds that the tool prints."""
    environment = os.environ | {"DVT_EDGE_ONNXRUNTIME": str(BUILD / "libonnxruntime.so")}
    command = [HERE / "swift.sh", TOOL, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE, env=environment)
    return [float(line) for line in run.stdout.split()]


def photo() -> Image.Image:
    """Seeded noise on a slope: what is in it does not change the work."""
    random = np.random.default_rng(0)
    slope = np.linspace(0, 200, WIDTH)[None, :, None] + np.zeros((HEIGHT, 1, 3))
    return Image.fromarray((slope + random.integers(0, 56, (HEIGHT, WIDTH, 3))).astype(np.uint8))


def pillow_ms(image: Image.Image) -> tuple[list[float], bytes]:
    times, pixels = [], b""
    for _ in range(TIMES):
        start = time.perf_counter()
        pixels = preprocess(image, SIZE, RESIZE).tobytes()
        times.append((time.perf_counter() - start) * 1e3)
    return times, pixels


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(dir=HERE.parent / "build") as folder:
        rgb, out = Path(folder, "photo.rgb"), Path(folder, "out")
        image = photo()
        rgb.write_bytes(image.tobytes())
        for _ in range(ROUNDS):
            times, expected = pillow_ms(image)
            theirs += times
            ours += swift("preprocess", str(rgb), *map(str, (WIDTH, HEIGHT, SIZE, RESIZE, TIMES)), str(out))
            if out.read_bytes() != expected:
                sys.exit("error: the pixels are not Pillow's")
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{WIDTH}x{HEIGHT} decoded to {SIZE}: Swift {a:.1f} ms, Pillow {b:.1f} ms, ratio {a / b:.2f}, equal bytes")
    if len(sys.argv) > 1:
        times = swift("glue", str(Path(sys.argv[1]).resolve()), "200")
        median, slowest = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"outside the engine, an image of the bundle's size: {median:.4f} ms (95 %: {slowest:.4f} ms)")


if __name__ == "__main__":
    main()
