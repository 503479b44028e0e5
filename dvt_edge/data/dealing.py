"""Which images are trained on, which are held out, and which are tested on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dvt_edge.data.images import LabelledImages, no_labels
from dvt_edge.data.reading import has_training_split, open_images
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import DataError


class TrainingData(NamedTuple):
    train: LabelledImages
    held_out: LabelledImages
    test: LabelledImages
    dealt: TrainedOn  # which the first two are


def open_training_data(path: str | Path, holdout: int, seed: int) -> TrainingData:
    """Training, held-out and test images; the held-out ones are `holdout` of the training split, drawn by `seed`.

    Raises DataError where a split has no labels, there is no test split of the same classes,
    or the training split is not larger than the hold-out.
    """
    train, test = open_images(path, "train"), open_images(path, "test")
    if train.labels is None or test.labels is None:
        raise no_labels(path)
    if train.classes != test.classes or (train.source, train.names) == (test.source, test.names):
        raise DataError(
            f"{path}: no test images apart, of the same classes; expected CIFAR, or train/ and val/ folders"
        )
    kept, held_out = deal(train, holdout, seed)
    source = "/".join(Path(train.source).parts[-2:])  # no more of a path than says what it is
    return TrainingData(kept, held_out, test, TrainedOn(source, train.fingerprint, train.classes, holdout, seed))


def deal(train: LabelledImages, holdout: int, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """(images to train on, `holdout` images held out, in random order). Raises DataError where none would be left."""
    if not 0 < holdout < len(train):
        raise DataError(
            f"{train.source}: {holdout} images to hold out of {len(train)}; expected fewer, and at least one"
        )
    kept, held = deal_indices(len(train), holdout, seed)
    words = f"{train.source} (held out: {holdout}, seed {seed})"
    return train.take(kept), dataclasses.replace(train.take(held), source=words)


def deal_indices(count: int, holdout: int, seed: int) -> tuple[list[int], list[int]]:
    """(those to train on, rising, and those held out, in random order) of `count` images."""
    order = np.random.default_rng(seed).permutation(count)
    return sorted(order[holdout:].tolist()), order[:holdout].tolist()


def held_out_images(path: str | Path, known: TrainedOn | None) -> LabelledImages | None:
    """The images at `path` that a training kept out; None where they are not those that it was on, or not known."""
    if known is None:
        return None
    train = open_images(path, "train" if has_training_split(path) else "test")  # the latter: perhaps train/ itself
    return deal(train, known.holdout, known.seed)[1] if train.fingerprint == known.fingerprint else None
