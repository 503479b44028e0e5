"""Images as the network's input: augmented for training, as a bundle would see them for evaluation, normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from dvt_edge.data.images import LabelledImages
from dvt_edge.device.preprocess import open_rgb, preprocess
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.training_options import TrainingOptions


class TrainingImages(Dataset[tuple[Tensor, int, int]]):
    def __init__(self, images: LabelledImages, config: CascadeConfig, options: TrainingOptions) -> None:
        self.images, self.transform = images, training_transform(config, options)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        image = self.images[index]
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else open_rgb(image)
        assert self.images.labels is not None
        return self.transform(picture), self.images.labels[index], index


class EvaluationImages(Dataset[tuple[Tensor, int]]):
    """The pixels a bundle would see, as uint8."""

    def __init__(self, images: LabelledImages, config: CascadeConfig) -> None:
        self.images, self.config = images, config

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = preprocess(self.images[index], self.config.image_size, self.config.resize)
        assert self.images.labels is not None
        return torch.from_numpy(pixels), self.images.labels[index]


def training_transform(config: CascadeConfig, options: TrainingOptions) -> Any:
    """timm's, but images of 64 px and less keep their scale: padded random crops, as DeiT does on CIFAR."""
    transform = create_transform(
        config.image_size,
        is_training=True,
        auto_augment=options.auto_augment or None,
        color_jitter=None,
        interpolation="bicubic",
        mean=config.mean,
        std=config.std,
        re_prob=options.erasing,
        re_mode="pixel",
    )
    if config.image_size <= 64:
        crop = transforms.RandomCrop(config.image_size, padding=options.crop_padding)
        transform.transforms[0] = transforms.Compose([transforms.Resize(config.resize), crop])
    for step in transform.transforms:
        for op in getattr(step, "ops", ()):
            if op.name.startswith("Posterize"):
                op.aug_fn = posterize
    return transform


def posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """timm asks for 0 bits at its strongest, which Pillow 13 refuses: keep one."""
    return image if bits >= 8 else ImageOps.posterize(image, max(1, bits))


def normalise(pixels: Tensor, config: CascadeConfig) -> Tensor:
    """uint8 (B, size, size, 3) -> normalised float32 (B, 3, size, size)."""
    return standardise(pixels.permute(0, 3, 1, 2).float() / 255, config)


def standardise(x: Tensor, config: CascadeConfig) -> Tensor:
    """(B, 3, size, size) in 0..1 -> the same, normalised."""
    mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (config.mean, config.std))
    return (x - mean) / std
