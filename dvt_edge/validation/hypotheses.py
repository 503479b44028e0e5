"""What may have gone wrong between an image and a device's logits, as functions that do it on purpose.

`FROM_IMAGE` are wrong ways from an image to the pixels, `FROM_PIXELS` wrong ways of the pixels into the engine. A
diagnosis runs them on the host and sees which one gives what the device logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dvt_edge.device.preprocess import resized_shape

Pixels = NDArray[np.uint8]
ToPixels = Callable[[Image.Image, int, int], Pixels]  # (image, size, resize)
R = Image.Resampling
FILTERS = {
    "nearest": R.NEAREST,
    "box": R.BOX,
    "bilinear": R.BILINEAR,
    "hamming": R.HAMMING,
    "lanczos": R.LANCZOS,
    "bicubic": R.BICUBIC,
}


def cropped(image: Image.Image, size: int) -> Pixels:
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)))


def sampled(image: Image.Image, width: int, height: int, how: Image.Resampling) -> Image.Image:
    """A resize without antialiasing: the filter sees the nearest samples only, however far the picture shrinks."""
    scale = (image.width / width, 0.0, 0.0, 0.0, image.height / height, 0.0)
    return image.transform((width, height), Image.Transform.AFFINE, scale, resample=how)


def resized_by(how: Image.Resampling, antialias: bool) -> ToPixels:
    def make(image: Image.Image, size: int, resize: int) -> Pixels:
        shape = resized_shape(image.width, image.height, resize)
        return cropped(image.resize(shape, how) if antialias else sampled(image, *shape, how), size)

    return make


def picked_by(place: Callable[[NDArray[np.float64], float], NDArray[np.float64]]) -> ToPixels:
    """The nearest sample alone; libraries differ in which one that is."""

    def make(image: Image.Image, size: int, resize: int) -> Pixels:
        width, height = resized_shape(image.width, image.height, resize)
        x, y = (
            np.clip(place(np.arange(new, dtype=np.float64), old / new).astype(int), 0, old - 1)
            for new, old in ((width, image.width), (height, image.height))
        )
        return cropped(Image.fromarray(np.asarray(image)[y][:, x]), size)

    return make


NEAREST = {
    "at the centre": lambda i, scale: np.floor((i + 0.5) * scale),
    "at the corner": lambda i, scale: np.floor(i * scale),
    "rounded": lambda i, scale: np.rint((i + 0.5) * scale - 0.5),
}


def squashed_by(how: Image.Resampling, antialias: bool) -> ToPixels:
    def make(image: Image.Image, size: int, _: int) -> Pixels:
        return np.array(image.resize((size, size), how) if antialias else sampled(image, size, size, how))

    return make


def letterboxed(image: Image.Image, size: int, _: int) -> Pixels:
    long = max(image.size)
    small = image.resize((max(1, image.width * size // long), max(1, image.height * size // long)), R.BICUBIC)
    frame = Image.new("RGB", (size, size))
    frame.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return np.array(frame)


def cornered(image: Image.Image, size: int, resize: int) -> Pixels:
    shape = resized_shape(image.width, image.height, resize)
    return np.array(image.resize(shape, R.BICUBIC).crop((0, 0, size, size)))


def turned_by(how: Image.Transpose) -> ToPixels:
    right = resized_by(R.BICUBIC, antialias=True)
    return lambda image, size, resize: right(image.transpose(how), size, resize)


TURNS = {
    "turned by 90 degrees to the left": Image.Transpose.ROTATE_90,
    "turned by 180 degrees": Image.Transpose.ROTATE_180,
    "turned by 90 degrees to the right": Image.Transpose.ROTATE_270,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "upside down": Image.Transpose.FLIP_TOP_BOTTOM,
}
# BT.601: luma's weights of red, green, blue.
LUMA = np.array([0.299, 0.587, 0.114])


def stretched(pixels: Pixels) -> Pixels:
    """Full-range YUV taken for video range: blacks and whites are cut, colours too strong."""
    rgb = pixels.astype(np.float64)
    luma = (rgb @ LUMA)[..., None]
    colour = (rgb - luma) * (255 / 224)
    return np.clip(np.rint((luma - 16) * (255 / 219) + colour), 0, 255).astype(np.uint8)


def washed_out(pixels: Pixels) -> Pixels:
    """Video-range YUV taken for full range."""
    rgb = pixels.astype(np.float64)
    luma = (rgb @ LUMA)[..., None]
    colour = (rgb - luma) * (224 / 255)
    return np.clip(np.rint(luma * (219 / 255) + 16 + colour), 0, 255).astype(np.uint8)


def before_resizing(change: Callable[[Pixels], Pixels]) -> ToPixels:
    right = resized_by(R.BICUBIC, antialias=True)
    return lambda image, size, resize: right(Image.fromarray(change(np.asarray(image))), size, resize)


def image_hypotheses(mean: Sequence[float], std: Sequence[float]) -> dict[tuple[str, str], ToPixels]:
    """(fault, words) -> a wrong way from an image to its pixels."""
    found: dict[tuple[str, str], ToPixels] = {}
    for name, how in FILTERS.items():
        if name != "bicubic":
            found["resize filter", f"resized with {name}, antialiased, in place of antialiased bicubic"] = resized_by(
                how, antialias=True
            )
        found["squash", f"squashed to a square with {name} in place of a crop"] = squashed_by(how, antialias=True)
    for name in ("bilinear", "bicubic"):
        words = f"resized with {name}, not antialiased, in place of antialiased bicubic"
        found["resize filter", words] = resized_by(FILTERS[name], antialias=False)
        words = f"squashed to a square with {name}, not antialiased, in place of a crop"
        found["squash", words] = squashed_by(FILTERS[name], antialias=False)
    for name, place in NEAREST.items():
        words = f"resized with the nearest sample ({name}) in place of antialiased bicubic"
        found["resize filter", words] = picked_by(place)
    found["crop", "fitted into the square with black bars in place of a crop"] = letterboxed
    found["crop", "cropped at the corner in place of the centre"] = cornered
    for words, turn in TURNS.items():
        found["rotated frame", words] = turned_by(turn)
    found["video-range YUV", "full-range YUV was taken for video range"] = before_resizing(stretched)
    found["video-range YUV", "video-range YUV was taken for full range"] = before_resizing(washed_out)
    right = resized_by(R.BICUBIC, antialias=True)
    for (fault, words), change in pixel_hypotheses(mean, std).items():
        if fault in ("channel order", "missing normalisation", "double normalisation"):
            found[fault, words] = lambda i, size, resize, change=change: change(right(i, size, resize))  # type: ignore[misc]
    return found


def pixel_hypotheses(mean: Sequence[float], std: Sequence[float]) -> dict[tuple[str, str], Callable[[Pixels], Pixels]]:
    """(fault, words) -> a wrong way of right pixels into the engine."""
    m, s = np.array(mean or (0.5,) * 3), np.array(std or (0.5,) * 3)

    def cast(values: NDArray[np.float64], rounded: bool = True) -> Pixels:
        return np.clip(np.rint(values) if rounded else np.trunc(values), 0, 255).astype(np.uint8)

    found: dict[tuple[str, str], Callable[[Pixels], Pixels]] = {
        ("channel order", "red and blue are swapped (BGR for RGB)"): lambda p: np.ascontiguousarray(p[..., ::-1]),
        ("channel order", "channels come as green, blue, red"): lambda p: np.ascontiguousarray(p[..., [1, 2, 0]]),
        ("channel order", "channels come as blue, red, green"): lambda p: np.ascontiguousarray(p[..., [2, 0, 1]]),
        ("channel order", "planes (CHW) were given as pixels (HWC)"): lambda p: np.ascontiguousarray(
            p.transpose(2, 0, 1)
        ).reshape(p.shape),
        ("double normalisation", "normalised in the app, and again in the graph"): lambda p: cast(
            255 * (p / 255 - m) / s
        ),
        ("double normalisation", "scaled to 0..1 in the app, and again in the graph"): lambda p: cast(p / 255),
        ("double normalisation", "normalised to -1..1 in the app, and again in the graph"): lambda p: cast(
            255 * (p / 127.5 - 1)
        ),
        ("missing normalisation", "the graph's normalisation was undone, or left out"): lambda p: cast(
            255 * (m + s * (p / 255))
        ),
        ("video-range YUV", "full-range YUV was taken for video range"): stretched,
        ("video-range YUV", "video-range YUV was taken for full range"): washed_out,
    }
    for words, turn in TURNS.items():
        found["rotated frame", words] = lambda p, turn=turn: np.array(Image.fromarray(p).transpose(turn))  # type: ignore[misc]
    return found
