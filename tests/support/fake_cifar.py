"""A CIFAR-10 of a few images in torchvision's layout, whose classes are colours."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = tuple(f"colour{i}" for i in range(10))


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Noisy images (count, 3, 32, 32), each near its class's colour, and their labels, all classes alike."""
    rng = np.random.default_rng(seed)
    colours = np.random.default_rng(0).permutation(np.stack(np.meshgrid(*[(40, 128, 216)] * 3), -1).reshape(-1, 3))
    labels = [i % 10 for i in range(count)]
    noise = rng.integers(-20, 21, (count, 3, 32, 32))
    return (colours[labels][:, :, None, None] + noise).astype(np.uint8), labels


def write_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_cifar10(folder: Path, train: int = 64, test: int = 32) -> Path:
    """`folder`/cifar-10-batches-py with `train` images over five batches; returns it."""
    root = folder / "cifar-10-batches-py"
    root.mkdir(parents=True)
    images, labels = draw(train, seed=1)
    for index, part in enumerate(np.array_split(np.arange(train), 5)):
        batch = {b"data": images[part].reshape(len(part), -1), b"labels": [labels[i] for i in part]}
        write_pickle(root / f"data_batch_{index + 1}", batch)
    images, labels = draw(test, seed=2)
    write_pickle(root / "test_batch", {b"data": images.reshape(test, -1), b"labels": labels})
    write_pickle(root / "batches.meta", {b"label_names": [name.encode() for name in CLASSES]})
    return root
