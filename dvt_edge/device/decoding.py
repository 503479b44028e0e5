"""From an image file to upright 8-bit RGB, with the same pixels whatever the version of Pillow: docs/preprocess.md."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dvt_edge.errors import DataError, one_line, packages

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 100_000_000  # larger images are refused, files before they are decoded
MAX_DECODING = 850_000_000  # bytes: files that may take more are refused before they are decoded
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # other decoders are never run on a file
STRIP = 1_000_000  # pixels that are converted at a time

ORIENTATION, EXIF_IN_TEXT = 0x0112, "Raw profile type exif"
XMP = ("xmp", "XML:com.adobe.xmp")
BITS, PHOTOMETRIC, SAMPLE_FORMAT, WHITE_IS_ZERO, UNSIGNED = 258, 262, 339, 0, 1  # of TIFF
OPAQUE_RAW = {"L", "RGB", "I;16B"}  # forms of PNG, 8-bit and 16-bit grey, whose one transparent colour is known


def open_rgb(image: str | os.PathLike[str] | Image.Image) -> Image.Image:
    """Decode, turn upright by EXIF, convert to RGB. Transparency is laid over black; 16 bits keep their high byte.

    A PIL image that is RGB and upright comes back itself. Raises DataError.
    """
    with packages("decoding an image"):
        from PIL import Image

    name = "the image" if isinstance(image, Image.Image) else os.fspath(image)
    try:
        return upright_rgb(image if isinstance(image, Image.Image) else open_file(os.fspath(image)), name)
    except DataError:
        raise
    except Exception as error:  # a damaged file fails in as many ways as there are decoders
        raise DataError(f"{name}: not a readable image ({one_line(error)})") from error


def open_file(path: str) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a readable image; expected {', '.join(FORMATS)}") from error


def upright_rgb(image: Image.Image, name: str) -> Image.Image:
    check_pixels(name, image.width, image.height)
    check_form(image, name)
    check_memory(image, name)
    inverted = is_inverted(image)
    hidden = {key: image.info.pop(key) for key in XMP if key in image.info}  # TIFF turns itself, by XMP too
    image.load()
    method = turn(image.info)
    image.info.update(hidden)
    if method is not None:
        image = image.transpose(method)
    return to_rgb(image, inverted)


def check_pixels(name: str, width: int, height: int) -> None:
    """Raises DataError where an image has more pixels than are read."""
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: {width}x{height} pixels; at most {MAX_PIXELS} are read")


def check_form(image: Image.Image, name: str) -> None:
    """Raises DataError for what has no known range, and what versions of Pillow differ in."""
    tags = getattr(image, "tag_v2", None) or {}
    if image.mode == "F" or 3 in as_tuple(tags.get(SAMPLE_FORMAT)):
        raise DataError(f"{name}: pixels in floating point, whose range is not known; expected 8 or 16 bits")
    bits, kinds = as_tuple(tags.get(BITS, 1)), as_tuple(tags.get(SAMPLE_FORMAT, UNSIGNED))
    if not {*bits} <= {1, 2, 4, 8, 16} or {*kinds} != {UNSIGNED}:
        raise DataError(f"{name}: samples of {bits} bits, format {kinds}; expected unsigned ones of at most 16 bits")
    tiles = getattr(image, "tile", None) or []
    raw = tiles[0][3] if tiles and image.format == "PNG" else None
    named = image.info.get("transparency")
    if raw is not None and image.mode != "P" and named is not None and raw not in OPAQUE_RAW:
        raise DataError(f"{name}: a PNG of {raw} with one transparent colour; expected 8 bits, or grey of 16, or alpha")


def check_memory(image: Image.Image, name: str) -> None:
    """Raises DataError where decoding may take more than MAX_DECODING."""
    needed = image.width * image.height * bytes_a_pixel(image)
    if needed > MAX_DECODING:
        form = f"{image.width}x{image.height} pixels, {image.format} of {image.mode}"
        raise DataError(f"{name}: {form}: decoding takes {needed / 1e6:.0f} MB; at most {MAX_DECODING // 10**6} are")


def bytes_a_pixel(image: Image.Image) -> float:
    """What decoding takes at its peak: two pictures of Pillow's, or one beside what its decoders keep. Measured."""
    tags, picture = getattr(image, "tag_v2", None) or {}, 4
    tiles = getattr(image, "tile", None) or []
    kept = {
        "JPEG": 2 * len(image.getbands()) if "progressive" in image.info else 0,  # all coefficients
        "MPO": 2 * len(image.getbands()) if "progressive" in image.info else 0,
        "WEBP": 12,  # three canvases
        "PPM": 8 if tiles and tiles[0][0] != "raw" else 0,  # read in Python
        "TIFF": sum(as_tuple(tags.get(BITS, 1))) / 8,  # one strip may be all of it
    }.get(image.format or "", 0)
    return picture + max(picture, kept)


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def is_inverted(image: Image.Image) -> bool:
    """Whether it is a TIFF of 16-bit greys with white at 0, which Pillow decodes as if black were."""
    tags = getattr(image, "tag_v2", None) or {}
    return image.mode.startswith("I") and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO


def turn(info: Mapping[Any, Any]) -> Image.Transpose | None:
    """What makes an image upright by its EXIF, from the file or in a PNG's text; XMP's orientation is not read."""
    from PIL import Image

    block, exif = info.get("exif"), Image.Exif()
    if block is None and EXIF_IN_TEXT in info:
        block = bytes.fromhex("".join(info[EXIF_IN_TEXT].split("\n")[3:]))
    if block:
        exif.load(block)
    moves = Image.Transpose
    turns = {
        2: moves.FLIP_LEFT_RIGHT,
        3: moves.ROTATE_180,
        4: moves.FLIP_TOP_BOTTOM,
        5: moves.TRANSPOSE,
        6: moves.ROTATE_270,
        7: moves.TRANSVERSE,
        8: moves.ROTATE_90,
    }
    found = exif.get(ORIENTATION)
    return turns.get(found) if isinstance(found, int) else None


def to_rgb(image: Image.Image, inverted: bool = False) -> Image.Image:
    """8-bit RGB of a decoded image, made strip by strip: beside the two pictures it takes a few megabytes."""
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    rgb = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip.info = image.info
        rgb.paste(strip_to_rgb(strip, inverted), (0, top))
    return rgb


def strip_to_rgb(image: Image.Image, inverted: bool) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit greys: Pillow would clip them at 255
        grey = np.asarray(image).astype(np.int32)
        grey = 65535 - grey if inverted else grey
        high = np.where(grey == image.info.get("transparency", -1), 0, grey // 256)
        return Image.fromarray(np.clip(high, 0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("RGB")
