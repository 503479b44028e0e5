"""From any image to the uint8 pixels a bundle takes. Mirrored on the phones: docs/preprocess.md is normative.

decode with EXIF orientation -> RGB -> resize the shorter side (bicubic, antialiased) -> centre crop -> uint8.
Normalisation is not here: it is inside every stage graph.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.decoding import MAX_PIXELS, check_pixels, open_rgb
from dvt_edge.errors import DataError, packages

if TYPE_CHECKING:
    from PIL import Image


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
