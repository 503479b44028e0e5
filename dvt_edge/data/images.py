"""A set of images with labels, wherever they lie: what the rest of the package is given. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.data import identity
from dvt_edge.errors import DataError

MOST_LABEL = 2**63 - 1  # fingerprints are of int64
Pixels = NDArray[np.uint8]  # (height, width, 3) RGB


@dataclass(frozen=True)
class Coarse:
    """A coarser level of classes: `of[i]` is the index in `classes` of what fine class i belongs to."""

    of: tuple[int, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class LabelledImages:
    """A finite, re-iterable sequence of images, each read when it is asked for.

    `labels` is None when they are not known, else one class index an image; `source` says where they came from.
    """

    read: Callable[[int], Any]  # index -> (H, W, 3) uint8 array, or the Path of an image file
    count: int
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]
    source: str
    names: tuple[str, ...] | None = None
    coarse: Coarse | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Which images these are, with their labels, in order: SHA-256, the same wherever they lie (docs/data.md).

        Of files it begins with `identity.FILES`. Raises DataError for a file that cannot be read.
        """
        if self.files is not None:
            return identity.of_files(self.labels or (), self.digests)
        return identity.of_arrays(self.labels or (), (np.asarray(image) for image in self))

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each image's file, or of its pixels. Raises DataError for a file that cannot be read."""
        if self.files is not None:
            return identity.file_digests(self.files)
        return tuple(identity.array_digest(np.asarray(image)) for image in self)

    @cached_property
    def files(self) -> tuple[Path, ...] | None:
        """Where the images lie; None where they are arrays."""
        if not (self.count and isinstance(self[0], Path)):
            return None
        return tuple(Path(self.read(index)) for index in range(self.count))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Pixels | Path:
        return self.read(index)

    def __iter__(self) -> Iterator[Pixels | Path]:
        return (self.read(index) for index in range(self.count))

    def name(self, index: int) -> str:
        return self.names[index] if self.names else f"{self.source}[{index}]"

    def take(self, indices: Sequence[int]) -> LabelledImages:
        """These images only, in this order."""
        kept = tuple(int(i) for i in indices)
        return LabelledImages(
            lambda i: self.read(kept[i]),
            len(kept),
            tuple(self.labels[i] for i in kept) if self.labels is not None else None,
            self.classes,
            self.source,
            tuple(self.names[i] for i in kept) if self.names else None,
            self.coarse,
        )

    def followed_by(self, other: LabelledImages) -> LabelledImages:
        """These and then the others, which have the same classes, and labels and names where these have some."""
        return LabelledImages(
            lambda i: self.read(i) if i < self.count else other.read(i - self.count),
            self.count + other.count,
            None if self.labels is None else self.labels + (other.labels or ()),
            self.classes,
            f"{self.source}+{Path(other.source).name}",
            None if self.names is None else self.names + (other.names or ()),
            self.coarse,
        )

    def first(self, count: int) -> LabelledImages:
        return self.take(range(min(count, self.count)))

    def shuffled(self, seed: int = 0) -> LabelledImages:
        """All of them in a random order. Folders come class by class: the first few are of few classes."""
        return self.take(np.random.default_rng(seed).permutation(self.count).tolist())


def from_arrays(
    images: NDArray[np.uint8], labels: NDArray[Any] | None, classes: Sequence[str], source: str
) -> LabelledImages:
    """Images (n, H, W, 3) uint8 and labels (n,) integers."""
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or not len(images):
        raise DataError(f"{source}: images of shape {images.shape} and {images.dtype}; expected (n, H, W, 3) uint8")
    if labels is not None and (labels.shape != (len(images),) or labels.dtype.kind not in "iu"):
        raise DataError(
            f"{source}: labels of shape {labels.shape} and {labels.dtype}; expected ({len(images)},) integers"
        )
    known = tuple(int(i) for i in labels) if labels is not None else None
    if known and max(known) > MOST_LABEL:
        raise DataError(f"{source}: label {max(known)}; expected at most {MOST_LABEL}")
    if known and classes and not 0 <= min(known) <= max(known) < len(classes):
        raise DataError(f"{source}: labels from {min(known)} to {max(known)}; there are {len(classes)} classes")
    return LabelledImages(lambda i: images[i], len(images), known, tuple(classes), source)


def no_labels(path: str | Path) -> DataError:
    return DataError(f"{path}: no labels; expected CIFAR, or an ImageFolder with train/ and val/")


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that have none."""
    return tuple(map(str, range(count)))
