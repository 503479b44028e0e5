"""What the Kotlin core takes, beside Pillow and around ONNX Runtime: both sides in one run, turn by turn, on one core.

python android_demo/benchmark.py        after android_demo/check.sh, which builds the core

Prints the milliseconds from a decoded 12-megapixel photo to 224 pixels (resized to 256, cropped), and what the runtime
takes an image at 224 pixels beside preprocessing and `OrtSession.run`, in an untrained cascade of three small stages.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dvt_edge import export
from dvt_edge.data.reading import sample
from dvt_edge.device.preprocess import centre_crop
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS

HERE = Path(__file__).parent
WIDTH, HEIGHT, SIZE, RESIZE = 4000, 3000, 224, 256
WARM, ROUNDS, IMAGES = 40, 21, 6000


def java(*arguments: str) -> list[str]:
    target = HERE / "core/target"
    classpath = [str(target / "test-classes"), str(target / "classes"), (target / "classpath").read_text().strip()]
    return ["java", "-XX:+UseSerialGC", "-cp", os.pathsep.join(classpath), "dvtedge.device.BenchmarkKt", *arguments]


def resize(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels.tofile(folder / "photo.rgb")
    photo = Image.fromarray(pixels)
    numbers = [str(n) for n in (WIDTH, HEIGHT, SIZE, RESIZE)]
    command = java("resize", str(folder / "photo.rgb"), *numbers, str(folder / "made.rgb"))
    pillow, kotlin = [], []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        for number in range(WARM + ROUNDS):
            process.stdin.write("\n")
            process.stdin.flush()
            kotlin_ms = float(process.stdout.readline())
            if number >= WARM:
                start = time.perf_counter()
                expected = centre_crop(photo, SIZE, RESIZE)
                pillow.append((time.perf_counter() - start) * 1e3)
                kotlin.append(kotlin_ms)
        process.stdin.close()
    assert (folder / "made.rgb").read_bytes() == expected.tobytes(), "Kotlin's pixels are not Pillow's"
    ratio = statistics.median(k / p for k, p in zip(kotlin, pillow, strict=True))
    print(
        f"{WIDTH}x{HEIGHT} to {SIZE} px, equal bytes, median of {ROUNDS}: Pillow {statistics.median(pillow):.1f} ms, "
        f"Kotlin {statistics.median(kotlin):.1f} ms, {ratio:.2f}x"
    )


def glue(folder: Path) -> None:
    torch.manual_seed(0)
    config = PRESETS["dvt_tiny"].replace(image_size=SIZE, resize=SIZE, grids=(7, 10, 14))
    export(Cascade(config).eval(), "onnx-fp32", folder / "bundle", calibration=sample("cifar10-test").first(8))
    printed = subprocess.run(
        java("glue", str(folder / "bundle"), str(IMAGES)), stdout=subprocess.PIPE, text=True, check=True
    )
    low, median, high = map(float, printed.stdout.split())
    print(
        f"around ONNX Runtime and preprocessing, three stages at {SIZE} px, median of {IMAGES // 2} images: "
        f"{median * 1e3:.0f} us (middle half {low * 1e3:.0f} to {high * 1e3:.0f})"
    )


def main() -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    jdk = subprocess.run(["java", "-version"], stderr=subprocess.PIPE, text=True, check=True).stderr.splitlines()[0]
    print(f"{platform.machine()}, one core; Python {sys.version.split()[0]}, {jdk}")
    with tempfile.TemporaryDirectory() as folder:
        resize(Path(folder))
        glue(Path(folder))


if __name__ == "__main__":
    main()
