"""From any image to the uint8 pixels a bundle takes. Mirrored on the phones: docs/preprocess.md is normative.

decode with EXIF orientation -> RGB -> resize the shorter side (bicubic, antialiased) -> centre crop -> uint8.
A camera's YUV 4:2:0 frame becomes such an RGB image by `frame_to_rgb`.
Normalisation is not here: it is inside every stage graph.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.decoding import MAX_PIXELS, check_pixels, open_rgb
from dvt_edge.errors import DataError, packages

if TYPE_CHECKING:
    from PIL import Image

Range = Literal["full", "video"]
# Fractions of 65536 that 16 bits round: luma, Cr to red, Cb to green, Cr to green, Cb to blue.
BT601 = {"full": (65536, 91881, 22554, 46802, 116130), "video": (76309, 104597, 25675, 53279, 132201)}


@dataclass(frozen=True)
class Plane:
    """One of a frame's planes as cameras give them: the sample (x, y) is byte y * row_stride + x * pixel_stride."""

    data: bytes | memoryview
    row_stride: int
    pixel_stride: int = 1

    def samples(self, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width) of it; the last row may end with its last sample. Raises DataError."""
        data, row, step = np.frombuffer(self.data, np.uint8), self.row_stride, self.pixel_stride
        needed = (height - 1) * row + (width - 1) * step + 1
        if step < 1 or row < (width - 1) * step + 1 or len(data) < needed:
            strides = f"strides {row} and {step}"
            raise DataError(f"a plane of {len(data)} bytes with {strides}; {width}x{height} samples need {needed}")
        return np.lib.stride_tricks.as_strided(data, (height, width), (row, step), writeable=False)


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


def frame_to_rgb(
    y: Plane, u: Plane, v: Plane, width: int, height: int, rotation: int = 0, range: Range = "full"
) -> NDArray[np.uint8]:
    """A YUV 4:2:0 frame as upright RGB (height, width, 3) uint8, or (width, height, 3) after a quarter turn.

    `u` is Cb, `v` is Cr, each (ceil(height / 2), ceil(width / 2)); the nearest of them is taken, without smoothing.
    `rotation` is clockwise in degrees, what the camera asks for. BT.601 in integers, full range as JPEG (JFIF) has it:
    libjpeg's arithmetic. Raises DataError.
    """
    if width < 1 or height < 1 or rotation not in (0, 90, 180, 270):
        raise DataError(f"a frame of {width}x{height} turned by {rotation}; expected 0, 90, 180 or 270 degrees")
    check_pixels("the frame", width, height)
    half = (width + 1) // 2, (height + 1) // 2
    luma, red, green_b, green_r, blue = BT601[range]
    cb, cr = (
        np.repeat(np.repeat(p.samples(*half), 2, 0), 2, 1)[:height, :width].astype(np.int32) - 128 for p in (u, v)
    )
    bright = (y.samples(width, height).astype(np.int32) - (16 if range == "video" else 0)) * luma + 32768
    parts = bright + red * cr, bright - green_b * cb - green_r * cr, bright + blue * cb
    rgb = np.clip(np.stack(parts, axis=-1) >> 16, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(rgb, -(rotation // 90)))


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
