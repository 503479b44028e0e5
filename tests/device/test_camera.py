"""docs/preprocess.md, a camera's frame: golden frames, the document written out, libjpeg's arithmetic, BT.601."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dvt_edge.device.preprocess import Plane, frame_to_rgb
from dvt_edge.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden"
CAMERA = json.loads((GOLDEN / "camera/cases.json").read_text())["cases"]


def by_the_document(case: dict[str, Any], content: bytes) -> np.ndarray:
    """The frame as docs/preprocess.md says, one pixel after another, in Python's integers."""
    width, height = case["width"], case["height"]

    def at(plane: dict[str, int], x: int, y: int) -> int:
        return content[plane["offset"] + y * plane["row_stride"] + x * plane["pixel_stride"]]

    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            cb, cr = at(case["u"], x // 2, y // 2) - 128, at(case["v"], x // 2, y // 2) - 128
            if case["range"] == "full":
                light, factors = 65536 * at(case["y"], x, y), (91881, 22554, 46802, 116130)
            else:
                light, factors = 76309 * (at(case["y"], x, y) - 16), (104597, 25675, 53279, 132201)
            red, green_b, green_r, blue = factors
            parts = light + red * cr, light - green_b * cb - green_r * cr, light + blue * cb
            row.append([min(255, max(0, (part + 32768) >> 16)) for part in parts])
        rows.append(row)
    for _ in range(case["rotation"] // 90):  # a quarter clockwise: the first column becomes the first row, read upwards
        rows = [[rows[y][x] for y in range(len(rows) - 1, -1, -1)] for x in range(len(rows[0]))]
    return np.array(rows, np.uint8)


@pytest.mark.parametrize("case", CAMERA, ids=lambda c: c["name"])
def test_golden_frames_follow_from_the_document(case: dict[str, Any]) -> None:
    content = (GOLDEN / "camera" / f"{case['name']}.yuv").read_bytes()
    assert by_the_document(case, content).tobytes() == (GOLDEN / f"camera/{case['name']}.rgb").read_bytes()


def test_full_range_is_the_arithmetic_of_libjpeg() -> None:
    """A JPEG's own samples, as Pillow gives them undecoded, become the RGB that libjpeg makes of them."""
    rgb = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "jpeg", quality=95, subsampling=0)
    decoded = np.asarray(Image.open(buffer).convert("RGB"))
    raw = Image.open(buffer)
    raw.draft("YCbCr", raw.size)
    samples = np.asarray(raw)
    assert raw.mode == "YCbCr"
    # Each sample in a picture of one pixel: chroma is not subsampled here.
    for y, x in ((0, 0), (10, 20), (63, 79), (31, 5), (40, 41)):
        planes = [Plane(bytes([int(v)]), 1) for v in samples[y, x]]
        assert np.array_equal(frame_to_rgb(*planes, 1, 1)[0, 0], decoded[y, x])
    luma, cb, cr = (np.ascontiguousarray(samples[..., k]) for k in range(3))
    for k in range(0, 64, 2):  # and in frames whose chroma is one sample of each four
        planes = Plane(luma[k : k + 2, :2].tobytes(), 2), Plane(cb[k, :1].tobytes(), 1), Plane(cr[k, :1].tobytes(), 1)
        assert np.array_equal(frame_to_rgb(*planes, 2, 2)[0, 0], decoded[k, 0])


@pytest.mark.parametrize("span", ["full", "video"])
def test_both_ranges_are_bt_601_within_a_level(span: str) -> None:
    """Against the standard's real numbers: Kr 0.299, Kb 0.114."""
    dice = np.random.default_rng(1)
    y, cb, cr = dice.integers(0, 256, (3, 500))
    found = np.array(
        [
            frame_to_rgb(Plane(bytes([a]), 1), Plane(bytes([b]), 1), Plane(bytes([c]), 1), 1, 1, 0, span)[0, 0]  # type: ignore[arg-type]
            for a, b, c in zip(y.tolist(), cb.tolist(), cr.tolist(), strict=True)
        ]
    )
    light, blue, red = (y / 255, (cb - 128) / 255, (cr - 128) / 255)
    if span == "video":
        light, blue, red = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    kr, kb = 0.299, 0.114
    r, b = light + 2 * (1 - kr) * red, light + 2 * (1 - kb) * blue
    g = (light - kr * r - kb * b) / (1 - kr - kb)
    exact = np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255)
    assert np.abs(found - exact).max() <= 0.51


@pytest.mark.parametrize(
    ("planes", "shape", "words"),
    [
        ((Plane(bytes(5), 3), Plane(bytes(4), 2), Plane(bytes(4), 2)), (3, 2, 0), "needs? 6|need 6"),
        ((Plane(bytes(6), 2), Plane(bytes(4), 2), Plane(bytes(4), 2)), (3, 2, 0), "strides 2 and 1"),
        ((Plane(bytes(6), 3, 0), Plane(bytes(4), 2), Plane(bytes(4), 2)), (3, 2, 0), "strides 3 and 0"),
        ((Plane(bytes(6), 3), Plane(bytes(1), 2), Plane(bytes(4), 2)), (3, 2, 0), "a plane of 1 bytes"),
        ((Plane(bytes(6), 3), Plane(bytes(4), 2), Plane(bytes(4), 2)), (3, 2, 45), "turned by 45"),
        ((Plane(bytes(6), 3), Plane(bytes(4), 2), Plane(bytes(4), 2)), (0, 2, 0), "0x2"),
        ((Plane(bytes(6), 3), Plane(bytes(4), 2), Plane(bytes(4), 2)), (10**5, 10**5, 0), "at most 100000000"),
    ],
)
def test_frames_that_cannot_be_are_refused(planes: Any, shape: tuple[int, int, int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        frame_to_rgb(*planes, *shape)
