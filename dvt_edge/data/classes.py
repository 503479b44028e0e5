"""Labels by name: the classes of a set of images against those of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dvt_edge.data.images import Coarse, LabelledImages, numbered
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import DataError


def in_classes(images: LabelledImages, classes: Sequence[str], model: str) -> LabelledImages:
    """The images with labels that index the `classes` of `model`.

    By name where the images' classes are all among them. Where one side has no names but numbers, the images have to
    have as many classes, or labels that fit, and are taken to be in the same order. Raises DataError.
    """
    if images.labels is None or images.classes == tuple(classes):
        return images
    if images.classes and set(images.classes) <= set(classes):
        place = [classes.index(name) for name in images.classes]
        labels = tuple(place[label] for label in images.labels)
        return dataclasses.replace(images, labels=labels, classes=tuple(classes), coarse=coarse_in(images, classes))
    unnamed = not images.classes or numbered(len(classes)) in (images.classes, tuple(classes))
    same_count = len(images.classes) in (0, len(classes))
    if not (unnamed and same_count and 0 <= min(images.labels) <= max(images.labels) < len(classes)):
        found = counted(images.classes) if images.classes else f"labels up to {max(images.labels)}"
        raise DataError(
            f"{images.source}: {found}; {model} has {counted(classes)}. "
            "Name folders as they are, or put images without labels into one flat folder"
        )
    return dataclasses.replace(images, classes=tuple(classes))


def coarse_in(images: LabelledImages, classes: Sequence[str]) -> Coarse | None:
    """The coarse level of the images' classes by their places in `classes`; None where one has none."""
    if images.coarse is None or set(images.classes) != set(classes):
        return None
    of = dict(zip(images.classes, images.coarse.of, strict=True))
    return dataclasses.replace(images.coarse, of=tuple(of[name] for name in classes))


def class_names(known: TrainedOn | None, images: LabelledImages, count: int) -> tuple[str, ...]:
    """What a model's `count` classes are called: as it was trained with, else as the images', else by numbers."""
    return known.classes if known else images.classes or numbered(count)


def counted(classes: Sequence[str]) -> str:
    more = ", ..." if len(classes) > 3 else ""
    return f"{len(classes)} classes ({', '.join(classes[:3])}{more})"
