"""Writes the inputs of tests/golden/preprocess, small images, and then what `dvt-edge golden` makes of them.

    python tests/support/make_preprocess_golden.py

Each case has its input file, the upright RGB it decodes to (for languages that bring their own decoder),
and the expected uint8 pixels. The expectation is Pillow's; tests/device/test_preprocess.py holds it against the
arithmetic of the document, written out in NumPy.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvt_edge.device.decoding import open_rgb
from dvt_edge.validation.golden import preprocess_files

GOLDEN = Path(__file__).parents[1] / "golden/preprocess"
ORIENTATION = 0x0112  # of EXIF


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colours with sharp edges and some noise, so that every step of a resize shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 120 * np.sin((x * a + y * b) / 7) for a, b in ((1.0, 0.4), (0.3, 1.1), (0.8, -0.9))]
    image = np.stack(planes, axis=-1)
    image[height // 4 : height // 2, width // 3 : 2 * width // 3] = (255, 0, 32)
    return Image.fromarray(np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8))


def png_of_16_bits(samples: NDArray[np.integer], colour_type: int) -> bytes:
    """A PNG of (height, width, layers) samples below 65536, which Pillow does not write. Colour types: PNG, 11.2.1."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    packed = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # turned by 90 degrees
    rgba = picture(40, 30, 3).convert("RGBA")
    rgba.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))))
    grey16 = Image.fromarray((np.mgrid[0:30, 0:44][1] * 1489).astype(np.uint16))
    noise = np.random.default_rng(13).integers(0, 256, (18, 21, 4))
    colour16 = np.asarray(picture(21, 18, 13), dtype=np.int64) * 256 + noise[..., :3]  # noise in the low bytes
    layers = np.dstack((np.asarray(picture(21, 18, 14)), noise[..., 3] // 2)).astype(np.uint8)
    cmyk = Image.frombytes("CMYK", (21, 18), layers.tobytes())
    inputs: dict[str, tuple[Image.Image | bytes, dict[str, Any], int, int]] = {
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
        "rgb-16-bit": (png_of_16_bits(colour16, colour_type=2), {}, 16, 16),
        "cmyk": (cmyk, {}, 16, 16),
        "one-pixel": (picture(1, 1, 15), {}, 8, 9),
        "one-pixel-wide": (picture(1, 40, 16), {}, 8, 8),
        "extreme-aspect": (picture(300, 3, 17), {}, 12, 12),
        "grey-with-alpha": (rgba.convert("LA"), {}, 16, 16),
    }
    for orientation in range(1, 9):
        turned = Image.Exif()
        turned[ORIENTATION] = orientation
        inputs[f"exif-{orientation}"] = (picture(19, 12, 18), {"exif": turned}, 10, 11)
    cases = []
    for name, (image, options, size, resize) in inputs.items():
        file = GOLDEN / (f"{name}.tif" if name == "cmyk" else f"{name}.png")  # PNG has no CMYK
        if isinstance(image, bytes):
            file.write_bytes(image)
        else:
            image.save(file, **options)
        rgb = open_rgb(file)
        case = {"name": name, "width": rgb.width, "height": rgb.height, "size": size, "resize": resize}
        cases.append(case if file.suffix == ".png" else case | {"file": file.name})
    about = (
        "NAME.png decodes to NAME.rgb (height x width x 3); resized and cropped it is NAME.expected (size x size x 3). "
        "A case with `file` has that file in place of NAME.png."
    )
    (GOLDEN / "cases.json").write_text(json.dumps({"about": about, "cases": cases}, indent=1) + "\n")
    for path, content in preprocess_files(GOLDEN.parent).items():
        (GOLDEN.parent / path).write_bytes(content)


if __name__ == "__main__":
    main()
