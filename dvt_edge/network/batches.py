"""Training images decoded once, and augmented a batch at a time on tensors: light, for runs from pretrained weights.

Random resized crop and flip of each image, then brightness, contrast, saturation and tint of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dvt_edge.data.images import LabelledImages
from dvt_edge.device.decoding import open_rgb
from dvt_edge.network.config import CascadeConfig

MARGIN = 9 / 8  # images are kept at this much more than the size that evaluation resizes to
ASPECT = math.log(4 / 3)  # crops are up to this much wider or higher than square
LIGHT, TINT = 0.3, 0.07  # largest change of brightness, contrast and saturation; of one channel beside the others


class AugmentedBatches:
    """What a DataLoader gives: (images (B, 3, size, size) in 0..1, labels (B,), indices (B,)), the last few left out.

    All images are held in memory as uint8, their shorter side at most `MARGIN * config.resize` px: about 0.3 MB for a
    photograph at 224 px. `sampler` gives indices; everything random is drawn from torch's global generator.
    """

    def __init__(self, images: LabelledImages, config: CascadeConfig, batch: int, sampler: Any, least: float) -> None:
        assert images.labels is not None
        self.size, self.batch, self.sampler, self.least = config.image_size, batch, sampler, least
        self.labels = torch.tensor(images.labels)
        side = round(MARGIN * config.resize)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            self.pixels = list(pool.map(lambda image: decoded(image, side), images))

    def __len__(self) -> int:
        return len(self.sampler) // self.batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        order = torch.tensor(list(self.sampler))
        for indices in order[: len(self) * self.batch].split(self.batch):
            pixels = [self.pixels[index] for index in indices.tolist()]
            yield augment(pixels, self.size, self.least), self.labels[indices], indices


def decoded(image: Any, side: int) -> Tensor:
    """(3, H, W) uint8 of a Path or an array, its shorter side at most `side` px."""
    picture = open_rgb(image) if isinstance(image, Path) else Image.fromarray(image)
    shrink = side / min(picture.size)
    if shrink < 1:
        width, height = (max(side, round(shrink * length)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1).contiguous()


def augment(pixels: Sequence[Tensor], size: int, least: float) -> Tensor:
    """uint8 images (3, H, W) of any size -> (B, 3, size, size) in 0..1; `least` is a crop's least share of the area."""
    crops = [
        F.interpolate(random_crop(x, least)[None].float(), (size, size), mode="bilinear", antialias=True)
        for x in pixels
    ]
    x = torch.cat(crops) / 255
    flip = torch.rand(len(x)) < 0.5
    x[flip] = x[flip].flip(-1)
    return recolour(x)


def random_crop(x: Tensor, least: float) -> Tensor:
    """A rectangle of the image (3, H, W), as of torchvision's RandomResizedCrop."""
    height, width = x.shape[-2:]
    for share, aspect, top, left in torch.rand(10, 4).tolist():
        area, ratio = height * width * (least + (1 - least) * share), math.exp(ASPECT * (2 * aspect - 1))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            y0, x0 = int(top * (height - h + 1)), int(left * (width - w + 1))
            return x[:, y0 : y0 + h, x0 : x0 + w]
    longest = math.exp(ASPECT)  # none fitted: the middle, as much of it as may be
    h, w = min(height, round(width * longest)), min(width, round(height * longest))
    y0, x0 = (height - h) // 2, (width - w) // 2
    return x[:, y0 : y0 + h, x0 : x0 + w]


def recolour(x: Tensor) -> Tensor:
    """Brightness, tint, contrast and saturation of each image of (B, 3, H, W), in 0..1 again."""

    def factor(change: float, channels: int = 1) -> Tensor:
        return 1 + change * (2 * torch.rand(len(x), channels, 1, 1) - 1)

    x = x * factor(LIGHT) * factor(TINT, 3)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = torch.lerp(mean, x, factor(LIGHT))
    grey = x.mean(dim=1, keepdim=True)
    return torch.lerp(grey.expand_as(x), x, factor(LIGHT)).clamp(0, 1)
