"""Images with labels, wherever they lie: CIFAR in torchvision's layout, lists, an ImageFolder, an .npz, loose files.

`open_images` gives them to calibration, validation and the command line, decoded one at a time;
the trainer's come through `dealing.open_training_data`, as sets of the same kind. Needs no torch.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dvt_edge.data.cifar import Split, find_cifar, open_cifar
from dvt_edge.data.classes import in_classes
from dvt_edge.data.folders import IMAGE_SUFFIXES, Walk, entries, kind_of, printable, subfolders, walk
from dvt_edge.data.images import LabelledImages, from_arrays
from dvt_edge.data.lists import NAMES, find_lists, open_lists, parts_of
from dvt_edge.data.shipped import ZOO, shipped, with_clone
from dvt_edge.errors import DataError, DataWarning, one_line


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
    """Images at `path`: "sample:<name>", an .npz, an image, a `split` of CIFAR, lists or an ImageFolder, a folder.

    Raises DataError for what is none of these, or cannot be read.
    """
    if str(path).startswith("sample:"):
        return sample(str(path).removeprefix("sample:"))
    path = Path(path)
    try:
        return open_path(path, split)
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror or one_line(error)})") from error


def open_path(path: Path, split: Split) -> LabelledImages:
    if path.suffix.lower() == ".npz" and not path.is_dir():
        return open_npz(path, source=str(path))
    if path.is_file():
        return LabelledImages(lambda _: path, 1, None, (), printable(path), (printable(path),))
    if not path.is_dir():
        raise DataError(
            f"{printable(path)}: no such file or folder; expected an image, an .npz, CIFAR or an ImageFolder"
        )
    if cifar := find_cifar(path):
        return open_cifar(cifar, split)
    if lists := find_lists(path):
        return open_lists(lists, split)
    return joined(split_folders(path, split))


def folder_of_images(path: str | Path) -> Path | None:
    """The folder at `path`, its links followed, where `open_images` takes folders in it for classes or splits.

    None for what holds images otherwise: CIFAR, lists, an .npz, a sample.
    """
    path = Path(path)
    if str(path).startswith("sample:") or not path.is_dir() or find_cifar(path) or find_lists(path):
        return None
    return path.resolve()


def joined(folders: Sequence[Path]) -> LabelledImages:
    """The images of several folders one after another, by the classes of the first.

    Raises DataError for a class that the first has not.
    """
    first, *more = map(open_folder, folders)
    for other in (in_classes(images, first.classes, printable(folders[0])) for images in more):
        if (first.labels is None) != (other.labels is None):
            raise DataError(f"{first.source} and {other.source}: labels in one of them; expected them in both")
        first = first.followed_by(other)
    return first


def open_folder(folder: Path) -> LabelledImages:
    """Images in folders, one a class, or images without labels in a folder that has no others."""
    top = [(entry.name, kind_of(entry)) for entry in entries(folder)]
    classes = [name for name, kind in top if kind == "folder"]
    if not classes:
        return labelled(folder, [(folder, walk(folder))], None, ())
    if loose := [name for name, kind in top if kind == "image"]:
        raise DataError(
            f"{printable(folder)}: images beside folders ({printable(loose[0])}, {printable(classes[0])}/); expected "
            "images in folders, one a class, or images without labels in a folder that has no others"
        )
    for name in classes:
        if printable(name) != name:
            raise DataError(f"{printable(folder / name)}: a class whose name is not UTF-8; rename the folder")
    walks = [(folder / name, walk(folder / name)) for name in classes]
    beside = Walk(passed=Counter(kind for _, kind in top if kind != "folder"))
    return labelled(folder, walks, beside, tuple(classes))


def labelled(
    folder: Path, walks: Sequence[tuple[Path, Walk]], beside: Walk | None, classes: tuple[str, ...]
) -> LabelledImages:
    """What was found, a walk for each class; a DataWarning says what was passed over.

    Raises DataError for a class without images.
    """
    for place, found in walks:
        if not found.files:
            what = "a class without images" if classes else "no images"
            passed = f"; passed over: {found.note()}" if found.passed else ""
            raise DataError(f"{printable(place)}: {what} ({', '.join(sorted(IMAGE_SUFFIXES))}) in it{passed}")
    paths = [path for _, found in walks for path in found.files]
    labels = tuple(label for label, (_, found) in enumerate(walks) for _ in found.files) if classes else None
    everything = Walk(passed=sum((found.passed for _, found in walks), beside.passed if beside else Counter()))
    if everything.passed:
        warnings.warn(f"{printable(folder)}: passed over {everything.note()}", DataWarning, stacklevel=2)
    names = tuple(map(printable, paths))
    return LabelledImages(lambda i: paths[i], len(paths), labels, classes, printable(folder), names)


def task_images(path: str | Path | None, classes: Sequence[str], model: str) -> LabelledImages:
    """The images at `path` with labels that index the `classes` of `model`; None: the package's test sample.

    Raises DataError for images of other classes.
    """
    if path is not None:
        return in_classes(open_images(path), classes, model)
    if (images := sample("cifar10-test")).classes != tuple(classes):
        how = with_clone(model, "--data") or "give some of its own (--data)"
        raise DataError(f"{model} has other classes than the images in the package: {how}")
    return images


def split_folders(path: Path, split: Split) -> list[Path]:
    """The folders of a split inside an ImageFolder, as of lists (`parts_of`); the folder itself where it has none.

    A folder of these names is a split where it holds folders, or has no other beside it: classes have such names too.
    Raises DataError where there are only other splits.
    """
    known = [name for group in NAMES.values() for name in group]
    folders = subfolders(path)
    alone = set(folders) <= set(known)
    splits = [n for n in known if n in folders and (alone or subfolders(folders[n]))]
    if found := parts_of(splits, split):
        return [folders[name] for name in found]
    if splits:
        wanted = "/ or ".join(NAMES[split])
        raise DataError(
            f"{printable(path)}: no {split} images apart from {splits[0]}/; "
            f"expected {wanted}/, or give {splits[0]}/ itself"
        )
    return [path]


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
        raise DataError(f"{path}: not a readable .npz ({one_line(error)})") from error


def has_training_split(path: str | Path) -> bool:
    """Whether there are training images apart from the test images at `path`."""
    path = Path(path)
    if not path.is_dir() or find_cifar(path):
        return path.is_dir()
    if lists := find_lists(path):
        return bool(parts_of(lists, "train") and parts_of(lists, "test"))
    try:
        return split_folders(path, "train") != [path]
    except (DataError, OSError):
        return False
