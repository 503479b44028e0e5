"""Files become the pixels that docs/preprocess.md says, whatever Pillow's version, in less than a gigabyte."""

from __future__ import annotations

import base64
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dvt_edge.device import decoding
from dvt_edge.device.decoding import open_rgb
from dvt_edge.errors import DataError

CASES = Path(__file__).parents[1] / "golden/decoding"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    ends = chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + ends


def grey_tiff(values: np.ndarray, photometric: int, bits: int = 16, kind: int = 1) -> bytes:
    """A little-endian TIFF of one strip of greys."""
    height, width = values.shape
    content = values.tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 200)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, len(content)), (339, 3, kind)]
    entries = b"".join(struct.pack("<HHII", tag, form, 1, value) for tag, form, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + content


@pytest.mark.parametrize("name", ["g16.png", "g16le.tif"])
def test_greys_of_16_bits_are_their_upper_byte(name: str) -> None:
    grey = np.asarray(Image.open(CASES / name)).astype(int)
    assert np.array_equal(np.asarray(open_rgb(CASES / name)), np.repeat(grey[..., None] // 256, 3, axis=2))


def test_where_white_is_zero_the_upper_byte_is_of_the_difference() -> None:
    """Pillow gives the stored values, as if black were zero."""
    stored = np.frombuffer((CASES / "g16wzle.tif").read_bytes()[8 : 8 + 2048], "<u2").reshape(32, 32).astype(int)
    assert np.array_equal(stored, np.asarray(Image.open(CASES / "g16wzle.tif")))
    assert np.array_equal(np.asarray(open_rgb(CASES / "g16wzle.tif"))[..., 1], (65535 - stored) // 256)


def test_an_orientation_in_xmp_alone_turns_nothing(tmp_path: Path) -> None:
    """In every format that has XMP; EXIF's own is followed, XMP or not, and the caller's image is left as it was."""
    assert open_rgb(CASES / "xmp.jpg").tobytes() == open_rgb(CASES / "plain.jpg").tobytes()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3
    for suffix, options in {"jpg": {"quality": 100}, "webp": {"lossless": True}, "tif": {}}.items():
        files = [tmp_path / f"{name}.{suffix}" for name in ("plain", "xmp", "both")]
        picture.save(files[0], **options)
        more = {"tiffinfo": {700: XMP}} if suffix == "tif" else {"xmp": XMP}
        picture.save(files[1], **more, **options)
        if suffix == "tif":
            picture.save(files[2], tiffinfo={700: XMP, 274: 3})
        else:
            picture.save(files[2], exif=exif, **more, **options)
        plain, xmp, both = (np.asarray(open_rgb(file)) for file in files)
        assert np.array_equal(plain, xmp) and np.array_equal(plain[::-1, ::-1], both), suffix
        given = Image.open(files[1])
        assert np.array_equal(np.asarray(open_rgb(given)), plain) and given.info["xmp"] == XMP, suffix
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(picture))
    (tmp_path / "xmp.png").write_bytes(png(14, 9, 8, 2, rows, text))
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "xmp.png")), np.asarray(picture))


@pytest.mark.parametrize("case", json.loads((CASES.parent / "exif.json").read_text())["cases"], ids=lambda c: c["name"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of a directory that is cut
def test_orientations_of_every_format_are_followed(case: dict[str, Any]) -> None:
    """The golden files of phones' own parsers, held to the same picture without EXIF, turned."""
    content = base64.b64decode(case["file"])
    plain = Image.open(io.BytesIO(content))
    for key in ("exif", "Raw profile type exif"):
        plain.info.pop(key, None)
    if plain.format == "TIFF":  # turns itself, so a tag that is there is no tag any more
        content = content.replace(
            struct.pack("<HHIH", 274, 3, 1, case["orientation"]), struct.pack("<HHIH", 40000, 3, 1, 1)
        )
        plain = Image.open(io.BytesIO(content))
    moved = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(case["orientation"])
    expected = plain if moved is None else plain.transpose(Image.Transpose(moved))
    found = open_rgb(Image.open(io.BytesIO(base64.b64decode(case["file"]))))
    assert found.size == expected.size and np.array_equal(np.asarray(found), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize(
    ("values", "bits", "kind"),
    [(np.full((4, 4), -5, "<i2"), 16, 2), (np.full((4, 4), 70_000, "<u4"), 32, 1), (np.ones((4, 4), "<f4"), 32, 3)],
)
def test_samples_of_unknown_range_are_refused(values: np.ndarray, bits: int, kind: int, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(grey_tiff(values, 1, bits, kind))
    with pytest.raises(DataError, match=r"a\.tif: .*expected .*16 bits"):
        open_rgb(tmp_path / "a.tif")


@pytest.mark.parametrize(("depth", "colour", "named"), [(16, 2, 6), (2, 0, 2), (1, 0, 2)])
def test_a_transparent_colour_that_versions_of_pillow_differ_in_is_refused(
    depth: int, colour: int, named: int, tmp_path: Path
) -> None:
    width = 8 * depth * (3 if colour == 2 else 1) // 8
    (tmp_path / "a.png").write_bytes(
        png(8, 2, depth, colour, (b"\0" + b"\1" * width) * 2, chunk(b"tRNS", b"\0\1" * (named // 2)))
    )
    with pytest.raises(DataError, match="one transparent colour"):
        open_rgb(tmp_path / "a.png")


def test_files_of_other_formats_are_refused_though_pillow_reads_them(tmp_path: Path) -> None:
    """Some decoders start other programs, some come and go between versions."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", format="TGA")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.jpg", format="EPS")
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(DataError, match=rf"{name}: not a readable image; expected BMP, GIF"):
            open_rgb(tmp_path / name)


PEAK = """
import sys
from dvt_edge.device.preprocess import preprocess
print(preprocess(sys.argv[1], 224, 256).mean())
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("depth", "colour", "samples"), [(16, 0, 1), (8, 6, 4)])
def test_100_million_pixels_take_less_than_a_gigabyte(depth: int, colour: int, samples: int, tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    row = b"\0" + b"\x80" * (10_000 * samples * depth // 8)
    packed = b"".join(packer.compress(row * 100) for _ in range(100)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, depth, colour, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(content)
    assert len(content) < 600_000
    command = [sys.executable, "-W", "ignore", "-c", PEAK, str(tmp_path / "huge.png")]
    mean, peak = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.split()
    assert float(mean) == (128 if colour == 0 else 64) and int(peak) * 1024 < 1_000_000_000


def test_what_decoders_keep_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A progressive JPEG keeps its coefficients, WebP three canvases, a TIFF a strip, which may be all of it."""
    picture = Image.new("RGB", (100, 100))
    picture.save(tmp_path / "plain.jpg")
    picture.save(tmp_path / "progressive.jpg", progressive=True)
    picture.save(tmp_path / "a.webp")
    (tmp_path / "plain.ppm").write_bytes(b"P3 100 100 255\n" + b"1 2 3\n" * 10_000)
    monkeypatch.setattr(decoding, "MAX_DECODING", 90_000)
    open_rgb(tmp_path / "plain.jpg")
    for name in ("progressive.jpg", "a.webp", "plain.ppm"):
        with pytest.raises(DataError, match=rf"{name}: 100x100 pixels, .*: decoding takes"):
            open_rgb(tmp_path / name)
