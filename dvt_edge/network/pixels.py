"""Images as the network's input: augmented for training, as a bundle would see them for evaluation, normalised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision import transforms

from dvt_edge.data.images import LabelledImages
from dvt_edge.device.decoding import open_rgb
from dvt_edge.device.preprocess import preprocess
from dvt_edge.errors import ConfigError, DataError, DvtEdgeError, cause, one_line
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.training_options import TrainingOptions


class TrainingImages(Dataset[tuple[Tensor, int, int] | DataError]):
    def __init__(self, images: LabelledImages, config: CascadeConfig, options: TrainingOptions) -> None:
        self.images, self.transform = images, training_transform(config, options)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int] | DataError:
        """An image that cannot be read gives its error: raised in a worker, that would arrive as a traceback's text."""
        assert self.images.labels is not None
        image = self.images[index]
        try:
            picture = Image.fromarray(image) if isinstance(image, np.ndarray) else open_rgb(image)
        except DataError as error:
            return error
        return self.transform(picture), self.images.labels[index], index


def batch_of(items: list[tuple[Tensor, int, int] | DataError]) -> list[Tensor] | DataError:
    """Images, labels and indices, stacked; or the first error among them."""
    return next((item for item in items if isinstance(item, DataError)), None) or default_collate(items)


def batches(loader: Iterable[Any]) -> Iterator[Any]:
    """The loader's batches. Raises DataError for an image that cannot be read, DvtEdgeError where a worker died."""
    try:
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DvtEdgeError(f"a process that reads images died: {one_line(error)}; try fewer --workers") from error


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


def evaluation_batch(config: CascadeConfig, device: torch.device) -> int:
    """Images that go through at once: on a CPU so few that what they make stays in its caches, 8 at 224 px."""
    return 256 if device.type != "cpu" else max(8, 256 * 32**2 // config.image_size**2)


def training_transform(config: CascadeConfig, options: TrainingOptions) -> Any:
    """timm's, but images of 64 px and less keep their scale: padded random crops, as DeiT does on CIFAR."""
    try:
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
    except Exception as error:  # timm asserts, and fails as its parsing does
        raise ConfigError(f"augmentation {options.auto_augment!r}: timm refuses it ({cause(error)})") from error
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
