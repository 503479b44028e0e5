"""From any image to the uint8 pixels a bundle takes. Mirrored on the phones: docs/preprocess.md is normative.

decode with EXIF orientation -> RGB -> resize the shorter side (bicubic, antialiased) -> centre crop -> uint8.
Normalisation is not here: it is inside every stage graph.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.errors import DataError, packages

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 100_000_000  # larger images are refused, files before they are decoded


def preprocess(image: str | os.PathLike[str] | NDArray[np.uint8] | Any, size: int, resize: int) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 RGB.

    `image` is a path, a PIL image, or an (H, W, 3) uint8 RGB array; `resize` is the length of the shorter side
    before the crop of `size`. An array of exactly (size, size, 3) with resize == size comes back as it is,
    without Pillow. Raises DataError.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise DataError(f"an image array of shape {image.shape} and {image.dtype}; expected (H, W, 3) uint8 RGB")
        check_pixels("the image", image.shape[1], image.shape[0])
        if image.shape[:2] == (size, size) and resize == size:
            return np.ascontiguousarray(image)
        with packages("an image of another size than the bundle's"):
            from PIL import Image

        return centre_crop(Image.fromarray(image), size, resize)
    return centre_crop(open_rgb(image), size, resize)


def open_rgb(image: str | os.PathLike[str] | Image.Image) -> Image.Image:
    """Decode, turn upright, convert to RGB. Transparency is laid over black; 16-bit greys keep their high byte."""
    with packages("decoding an image"):
        from PIL import Image, ImageOps

    name = "the image" if isinstance(image, Image.Image) else os.fspath(image)
    try:
        if not isinstance(image, Image.Image):
            image = Image.open(image)
        check_pixels(name, image.width, image.height)
        return to_rgb(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except Exception as error:  # a damaged file fails in as many ways as there are decoders
        raise DataError(f"{name}: not a readable image ({error})") from error


def check_pixels(name: str, width: int, height: int) -> None:
    """Raises DataError where an image has more pixels than are read."""
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: {width}x{height} pixels; at most {MAX_PIXELS} are read")


def to_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "F":
        raise ValueError("pixels in floating point, whose range is not known; expected 8 or 16 bits")
    if image.mode.startswith("I"):  # 16-bit greys: Pillow would clip them at 255
        grey = np.asarray(image, dtype=np.int64)
        high = np.where(grey == image.info.get("transparency", -1), 0, grey // 256)
        return Image.fromarray(np.clip(high, 0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("RGB")


def resized_shape(width: int, height: int, resize: int) -> tuple[int, int]:
    """(width, height) with the shorter side `resize` and the longer one scaled alike, rounded down (integers)."""
    short = min(width, height)
    return max(resize, width * resize // short), max(resize, height * resize // short)


def centre_crop(image: Image.Image, size: int, resize: int) -> NDArray[np.uint8]:
    from PIL import Image

    width, height = resized_shape(image.width, image.height, resize)
    if width * max(height, image.height) > MAX_PIXELS:
        raise DataError(f"an image of {image.width}x{image.height} pixels, too long for its width once resized")
    # Columns first, in a call of its own: Pillow 13 takes the axes of one call in the order that costs it less.
    for shape in ((width, image.height), (width, height)):
        if shape != image.size:
            image = image.resize(shape, Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)), dtype=np.uint8)
