"""Images with labels, wherever they lie: CIFAR in torchvision's layout, lists, an ImageFolder, an .npz, loose files.

`open_images` gives them to calibration, validation and the command line, decoded one at a time;
`open_training_data` gives PIL images to the trainer. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dvt_edge.data.cifar import Split, find_cifar, open_cifar
from dvt_edge.data.classes import in_classes
from dvt_edge.data.images import LabelledImages, from_arrays
from dvt_edge.data.lists import find_lists, open_lists
from dvt_edge.data.shipped import ZOO, shipped
from dvt_edge.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"})


def sample(name: str) -> LabelledImages:
    """Real images that come with the package.

    "cifar10-test" is 256 of CIFAR-10's test images; "cifar10-calibration" is 512 of its training images
    that the shipped cascade was not trained on.
    """
    known = shipped(ZOO, ".npz")
    if name not in known:
        raise DataError(f"no sample {name!r} in the package; known: {', '.join(known)}")
    return open_npz(known[name], source=f"sample:{name}")


def open_images(path: str | Path, split: Split = "test") -> LabelledImages:
    """Images at `path`: "sample:<name>", an .npz, an image, a `split` of CIFAR, lists or an ImageFolder, a folder."""
    if str(path).startswith("sample:"):
        return sample(str(path).removeprefix("sample:"))
    path = Path(path)
    if path.suffix == ".npz":
        return open_npz(path, source=str(path))
    if path.is_file():
        return LabelledImages(lambda _: path, 1, None, (), str(path), (str(path),))
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; expected an image, an .npz, CIFAR or an ImageFolder")
    if cifar := find_cifar(path):
        return open_cifar(cifar, split)
    if lists := find_lists(path):
        return open_lists(lists, split)
    folder = split_folder(path, split)
    if subfolders := sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        loose = [p.name for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        if loose:
            raise DataError(
                f"{folder}: images beside folders ({min(loose)}, {subfolders[0].name}/); expected images in folders, "
                "one a class, or images without labels in a folder that has no others"
            )
        files = [(f, label) for label, sub in enumerate(subfolders) for f in image_files(sub)]
        labels, classes = tuple(label for _, label in files), tuple(p.name for p in subfolders)
    else:
        files = [(f, 0) for f in image_files(folder)]
        labels, classes = None, ()
    if not files:
        raise DataError(f"{folder}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in it")
    paths = [f for f, _ in files]
    return LabelledImages(lambda i: paths[i], len(paths), labels, classes, str(folder), tuple(map(str, paths)))


def task_images(path: str | Path | None, classes: Sequence[str], model: str) -> LabelledImages:
    """The images at `path` with labels that index the `classes` of `model`; None: the package's test sample.

    Raises DataError for images of other classes.
    """
    if path is not None:
        return in_classes(open_images(path), classes, model)
    if (images := sample("cifar10-test")).classes != tuple(classes):
        raise DataError(f"{model} has other classes than the images in the package; give some of its own (--data)")
    return images


def image_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def split_folder(path: Path, split: Split) -> Path:
    """The folder of a split inside an ImageFolder: train/, or val/ or test/; the folder itself where it has none.

    A folder of these names is a split where it holds folders, or has no other beside it: classes have such names too.
    Raises DataError where there are only other splits.
    """
    names = {"train": ("train",), "test": ("val", "validation", "test")}
    known = [name for group in names.values() for name in group]
    folders = {p.name: p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")}
    alone = set(folders) <= set(known)
    splits = [n for n in known if n in folders and (alone or any(p.is_dir() for p in folders[n].iterdir()))]
    if found := [name for name in splits if name in names[split]]:
        return folders[found[0]]
    if splits:
        wanted = "/ or ".join(names[split])
        raise DataError(
            f"{path}: no {split} images apart from {splits[0]}/; expected {wanted}/, or give {splits[0]}/ itself"
        )
    return path


def open_npz(path: Path, source: str) -> LabelledImages:
    """Arrays `images` (n, H, W, 3) uint8, and perhaps `labels` (n,) and `classes` (strings)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "images" not in arrays:
                raise DataError(f"{path}: arrays {sorted(arrays)}; expected 'images', and perhaps 'labels', 'classes'")
            labels = arrays.get("labels")
            classes = [str(c) for c in arrays["classes"]] if "classes" in arrays else []
            return from_arrays(arrays["images"], labels, classes, source)
    except DataError:
        raise
    except Exception as error:  # a damaged archive can fail in any way
        raise DataError(f"{path}: not a readable .npz ({error})") from error


def has_training_split(path: str | Path) -> bool:
    """Whether there are training images apart from the test images at `path`."""
    path = Path(path)
    if not path.is_dir() or find_cifar(path):
        return path.is_dir()
    if lists := find_lists(path):
        return "train" in lists and len(lists) > 1
    try:
        return split_folder(path, "train") != path
    except DataError:
        return False
