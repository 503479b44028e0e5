"""Writes tests/golden/preprocess: small images, and the pixels that docs/preprocessing.md makes of them.

    python tests/make_preprocess_golden.py

Each case has its input file, the upright RGB it decodes to (for languages that bring their own decoder),
and the expected uint8 pixels. The expectation is Pillow's; tests/test_preprocess.py holds it against the arithmetic
of the document, written out in NumPy.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from dvt_edge.preprocess import open_rgb, preprocess

GOLDEN = Path(__file__).parent / "golden/preprocess"


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colours with sharp edges and some noise, so that every step of a resize shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 120 * np.sin((x * a + y * b) / 7) for a, b in ((1.0, 0.4), (0.3, 1.1), (0.8, -0.9))]
    image = np.stack(planes, axis=-1)
    image[height // 4 : height // 2, width // 3 : 2 * width // 3] = (255, 0, 32)
    return Image.fromarray(np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8))


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    rgba = picture(40, 30, 3).convert("RGBA")
    rgba.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))))
    grey16 = Image.fromarray((np.mgrid[0:30, 0:44][1] * 1489).astype(np.uint16))
    inputs = {
        "same-size": (picture(32, 32, 1), {}, 32, 32),
        "wide": (picture(61, 40, 2), {}, 32, 32),
        "tall-with-margin": (picture(45, 83, 4), {}, 32, 36),
        "upscaled": (picture(17, 23, 5), {}, 32, 32),
        "one-pixel-short": (picture(33, 32, 6), {}, 32, 32),
        "very-wide": (picture(90, 9, 7), {}, 16, 18),
        "odd-crop": (picture(50, 50, 8), {}, 27, 32),
        "exif-turned": (picture(48, 34, 9), {"exif": exif}, 32, 32),
        "transparent": (rgba, {}, 24, 24),
        "grey": (picture(40, 33, 10).convert("L"), {}, 32, 32),
        "grey-16-bit": (grey16, {}, 24, 24),
        "palette": (picture(40, 40, 11).quantize(16), {}, 32, 32),
        "one-bit": (picture(40, 40, 12).convert("1"), {}, 32, 32),
    }
    cases = []
    for name, (image, options, size, resize) in inputs.items():
        file = GOLDEN / f"{name}.png"
        image.save(file, **options)
        rgb = open_rgb(file)
        (GOLDEN / f"{name}.rgb").write_bytes(rgb.tobytes())
        (GOLDEN / f"{name}.expected").write_bytes(preprocess(file, size, resize).tobytes())
        cases.append({"name": name, "width": rgb.width, "height": rgb.height, "size": size, "resize": resize})
    about = (
        "NAME.png decodes to NAME.rgb (height x width x 3); resized and cropped it is NAME.expected (size x size x 3)."
    )
    (GOLDEN / "cases.json").write_text(json.dumps({"about": about, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
