"""docs/preprocess.md: golden pixels, and the arithmetic of the document written out."""

from __future__ import annotations

import json
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from support.make_preprocess_golden import png_of_16_bits

from dvt_edge.device import decoding
from dvt_edge.device.decoding import open_rgb, to_rgb
from dvt_edge.device.preprocess import preprocess, resized_shape
from dvt_edge.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden/preprocess"
CASES = json.loads((GOLDEN / "cases.json").read_text())["cases"]
BITS = 22  # of the fixed-point weights


def cubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resize_rows(image: np.ndarray, new: int) -> np.ndarray:
    """(old, n) uint8 -> (new, n) uint8: antialiased bicubic along the first axis, as the document says."""
    old = len(image)
    scale = old / new
    stretch = max(scale, 1.0)
    out = np.empty((new, image.shape[1]), dtype=np.uint8)
    for i in range(new):
        centre = (i + 0.5) * scale
        first = max(0, int(centre - 2 * stretch + 0.5))
        last = min(old, int(centre + 2 * stretch + 0.5))
        weights = [cubic((j + 0.5 - centre) / stretch) for j in range(first, last)]
        total = sum(weights)
        fixed = [
            math.floor(w / total * (1 << BITS) + 0.5) if w >= 0 else -math.floor(-w / total * (1 << BITS) + 0.5)
            for w in weights
        ]
        sums = (1 << (BITS - 1)) + sum(
            w * image[j].astype(np.int64) for j, w in zip(range(first, last), fixed, strict=True)
        )
        out[i] = np.clip(sums >> BITS, 0, 255)
    return out


def by_the_document(rgb: np.ndarray, size: int, resize: int) -> np.ndarray:
    height, width = rgb.shape[:2]
    short = min(height, width)
    new_width, new_height = max(resize, width * resize // short), max(resize, height * resize // short)
    if new_width != width:  # columns first, rounded to 8 bits, then rows
        rgb = (
            resize_rows(rgb.transpose(1, 0, 2).reshape(width, -1), new_width)
            .reshape(new_width, height, 3)
            .transpose(1, 0, 2)
        )
    if new_height != height:
        rgb = resize_rows(rgb.reshape(height, -1), new_height).reshape(new_height, new_width, 3)
    top, left = (new_height - size) // 2, (new_width - size) // 2
    return rgb[top : top + size, left : left + size]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_golden_files_decode_and_resize_as_recorded(case: dict) -> None:
    file = GOLDEN / case.get("file", f"{case['name']}.png")
    assert open_rgb(file).tobytes() == (GOLDEN / f"{case['name']}.rgb").read_bytes()
    expected = (GOLDEN / f"{case['name']}.expected").read_bytes()
    assert preprocess(file, case["size"], case["resize"]).tobytes() == expected


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_golden_pixels_follow_from_the_document(case: dict) -> None:
    rgb = np.frombuffer((GOLDEN / f"{case['name']}.rgb").read_bytes(), dtype=np.uint8)
    found = by_the_document(rgb.reshape(case["height"], case["width"], 3), case["size"], case["resize"])
    assert found.tobytes() == (GOLDEN / f"{case['name']}.expected").read_bytes()


@settings(max_examples=200)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 24), st.integers(0, 8), st.integers(0, 9))
def test_any_size_gives_the_documents_pixels(width: int, height: int, size: int, margin: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(preprocess(rgb, size, size + margin), by_the_document(rgb, size, size + margin))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 512))
def test_the_shorter_side_becomes_resize(width: int, height: int, resize: int) -> None:
    assert min(resized_shape(width, height, resize)) == resize


def test_an_array_of_the_right_size_is_left_alone() -> None:
    pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    assert np.array_equal(preprocess(pixels, 32, 32), pixels)


def test_transparency_is_laid_over_black(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (200, 100, 50, 0)).save(tmp_path / "clear.png")
    assert preprocess(tmp_path / "clear.png", 8, 8).max() == 0


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_form_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected"):
        preprocess(bad, 4, 4)


def test_greys_of_16_bits_keep_their_high_byte(tmp_path: Path) -> None:
    """Of each pixel alone: a dark picture is not stretched."""
    grey = np.array([[255, 256], [511, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert preprocess(tmp_path / "grey.png", 2, 2)[..., 0].tolist() == [[0, 1], [1, 255]]
    Image.fromarray(grey).save(tmp_path / "hole.png", transparency=511)
    assert preprocess(tmp_path / "hole.png", 2, 2)[..., 0].tolist() == [[0, 1], [0, 255]]
    Image.fromarray(np.full((4, 4), 200, np.uint16)).save(tmp_path / "dark.tif")
    assert preprocess(tmp_path / "dark.tif", 2, 2).max() == 0
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"float\.tif.*floating point"):
        preprocess(tmp_path / "float.tif", 2, 2)


def all_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Every pair of bytes, as two (256, 256) arrays."""
    first, second = np.mgrid[0:256, 0:256]
    return first, second


def over_255(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b / 255, rounded to the nearest, as the document says."""
    return (a * b + 127) // 255


def test_transparency_over_black_is_rounded_to_the_nearest() -> None:
    colour, alpha = all_pairs()
    for layers in ((colour, colour, colour, alpha), (colour, alpha)):  # RGBA, LA
        image = Image.fromarray(np.stack(layers, axis=-1).astype(np.uint8))
        assert np.array_equal(np.asarray(to_rgb(image))[..., 0], over_255(colour, alpha))


def test_cmyk_is_converted_as_the_document_says() -> None:
    ink, key = all_pairs()
    layers = np.stack((ink, ink[::-1], 255 - key, key), axis=-1)
    image = Image.frombytes("CMYK", (256, 256), layers.astype(np.uint8).tobytes())
    light = 255 - layers[..., 3:]
    assert np.array_equal(np.asarray(to_rgb(image)), light - over_255(layers[..., :3], light))


@pytest.mark.parametrize("colour_type", [2, 4, 6])  # RGB, grey with alpha, RGBA
def test_colour_of_16_bits_keeps_its_high_byte(tmp_path: Path, colour_type: int) -> None:
    layers = {2: 3, 4: 2, 6: 4}[colour_type]
    samples = np.random.default_rng(colour_type).integers(0, 65536, (20, 20, layers))
    (tmp_path / "16.png").write_bytes(png_of_16_bits(samples, colour_type))
    high = samples // 256
    colour = high[..., : 1 if colour_type == 4 else 3]
    expected = colour if colour_type == 2 else over_255(colour, high[..., -1:])
    assert np.array_equal(preprocess(tmp_path / "16.png", 20, 20), np.broadcast_to(expected, (20, 20, 3)))


def test_colour_profiles_are_ignored(tmp_path: Path) -> None:
    image = Image.open(GOLDEN / "same-size.png")
    image.save(tmp_path / "profile.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    assert "icc_profile" in Image.open(tmp_path / "profile.png").info
    assert np.array_equal(preprocess(tmp_path / "profile.png", 32, 32), np.asarray(image))


@pytest.mark.parametrize(("height", "width", "size"), [(10_001, 10_000, 32), (10_001, 10_001, 10_001)])
def test_arrays_of_more_than_100_million_pixels_are_refused(height: int, width: int, size: int) -> None:
    with pytest.raises(DataError, match=f"{width}x{height} pixels; at most 100000000"):
        preprocess(np.broadcast_to(np.uint8(0), (height, width, 3)), size, size)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_files_of_more_than_100_million_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    whole = (GOLDEN / "wide.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 10_000, 10_001) + whole[24:29]
    (tmp_path / "huge.png").write_bytes(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
    with pytest.raises(DataError, match=r"huge\.png: 10000x10001 pixels; at most 100000000"):
        preprocess(tmp_path / "huge.png", 32, 32)


@pytest.mark.parametrize("shape", [(1, 3_000_000), (3_000_000, 1), (7, 60_000)])
def test_images_that_would_be_huge_once_resized_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.new("L", shape).save(tmp_path / "long.png")
    with pytest.raises(DataError, match="too long"):
        preprocess(tmp_path / "long.png", 224, 256)


def test_a_decoder_may_fail_in_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow raises struct.error for some damaged EXIF, for one."""

    def fail(info: dict) -> None:
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(decoding, "turn", fail)
    with pytest.raises(DataError, match=r"wide\.png: not a readable image"):
        preprocess(GOLDEN / "wide.png", 4, 4)


def test_files_that_are_no_images_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    whole = (GOLDEN / "wide.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("text.jpg", "cut.png", "absent.png"):
        with pytest.raises(DataError) as caught:
            preprocess(tmp_path / name, 4, 4)
        assert "\n" not in str(caught.value) and name in str(caught.value)
