"""Images with labels, wherever they lie: CIFAR in torchvision's layout, an ImageFolder, an .npz, loose files.

`open_images` gives them to calibration, validation and the command line, decoded one at a time;
`open_training_data` gives PIL images to the trainer. Needs no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvt_edge.config import TrainedOn
from dvt_edge.errors import DataError

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB
Split = Literal["train", "test"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"})
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# folder -> (split -> files, the label's key, the file and key of the class names)
CIFAR_LAYOUTS: dict[str, tuple[dict[str, tuple[str, ...]], str, tuple[str, str]]] = {
    "cifar-10-batches-py": (
        {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        "labels",
        ("batches.meta", "label_names"),
    ),
    "cifar-100-python": ({"train": ("train",), "test": ("test",)}, "fine_labels", ("meta", "fine_label_names")),
}
SAMPLES = Path(__file__).parent / "zoo"


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

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the images as they lie there, undecoded, and of their labels; the same on every machine.

        Of files it takes the ends of their paths, their sizes, and their first and last 4 kB, of arrays the pixels.
        """
        digest = hashlib.sha256(np.array(self.labels or (), dtype=np.int64).tobytes())
        for image in self:
            if isinstance(image, Path):
                with image.open("rb") as file:
                    size = file.seek(0, io.SEEK_END)
                    digest.update(f"{'/'.join(image.parts[-3:])} {size}\n".encode())
                    for start in (0, max(0, size - 4096)):
                        file.seek(start)
                        digest.update(file.read(4096))
            else:
                digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

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
    if known and classes and not 0 <= min(known) <= max(known) < len(classes):
        raise DataError(f"{source}: labels from {min(known)} to {max(known)}; there are {len(classes)} classes")
    return LabelledImages(lambda i: images[i], len(images), known, tuple(classes), source)


def sample(name: str) -> LabelledImages:
    """Real images that come with the package.

    "cifar10-test" is 256 of CIFAR-10's test images; "cifar10-calibration" is 512 of its training images
    that the shipped cascade was not trained on.
    """
    known = sorted(p.stem for p in SAMPLES.glob("*.npz"))
    if name not in known:
        raise DataError(f"no sample {name!r} in the package; known: {', '.join(known)}")
    return open_npz(SAMPLES / f"{name}.npz", source=f"sample:{name}")


def open_images(path: str | Path, split: Split = "test") -> LabelledImages:
    """Images at `path`: "sample:<name>", an .npz, one image, CIFAR (its `split`), an ImageFolder or a flat folder."""
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
        return dataclasses.replace(images, labels=labels, classes=tuple(classes))
    unnamed = not images.classes or numbered(len(classes)) in (images.classes, tuple(classes))
    same_count = len(images.classes) in (0, len(classes))
    if not (unnamed and same_count and 0 <= min(images.labels) <= max(images.labels) < len(classes)):
        found = counted(images.classes) if images.classes else f"labels up to {max(images.labels)}"
        raise DataError(
            f"{images.source}: {found}; {model} has {counted(classes)}. "
            "Name folders as they are, or put images without labels into one flat folder"
        )
    return images


def class_names(known: TrainedOn | None, images: LabelledImages, count: int) -> tuple[str, ...]:
    """What a model's `count` classes are called: as it was trained with, else as the images', else by numbers."""
    return known.classes if known else images.classes or numbered(count)


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that have none."""
    return tuple(map(str, range(count)))


def counted(classes: Sequence[str]) -> str:
    more = ", ..." if len(classes) > 3 else ""
    return f"{len(classes)} classes ({', '.join(classes[:3])}{more})"


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


class PlainUnpickler(pickle.Unpickler):
    """Reads the CIFAR batches' dictionaries of arrays and lists, and no other class at all."""

    allowed = frozenset((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")) | {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR batch")
        return super().find_class(module, name)


def read_cifar_file(path: Path) -> dict[str, Any]:
    try:
        content = PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        return {k.decode() if isinstance(k, bytes) else k: v for k, v in content.items()}
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; the folder is not a whole CIFAR") from error
    except Exception as error:  # a pickle can fail in any way
        raise DataError(f"{path}: not a CIFAR batch ({error})") from error


def find_cifar(path: Path) -> Path | None:
    """The CIFAR folder that `path` is, or that lies right in it."""
    for name in CIFAR_LAYOUTS:
        for folder in (path, path / name):
            if folder.name == name and folder.is_dir():
                return folder
    return None


def open_cifar(folder: Path, split: Split) -> LabelledImages:
    """CIFAR-10 or CIFAR-100 as torchvision lays it out, in memory."""
    files, label_key, (meta, names_key) = CIFAR_LAYOUTS[folder.name]
    batches = [read_cifar_file(folder / name) for name in files[split]]
    try:
        rows = np.concatenate([np.asarray(b["data"], dtype=np.uint8) for b in batches])
        labels = np.concatenate([np.asarray(b[label_key], dtype=np.int64) for b in batches])
        images = np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        names = read_cifar_file(folder / meta).get(names_key, []) if (folder / meta).exists() else []
        classes = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{folder}: not CIFAR batches ({error})") from error
    return from_arrays(images, labels, classes, f"{folder.name}/{split}")


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


def no_labels(path: str | Path) -> DataError:
    return DataError(f"{path}: no labels; expected CIFAR, or an ImageFolder with train/ and val/")


def has_training_split(path: str | Path) -> bool:
    """Whether there are training images apart from the test images at `path`."""
    path = Path(path)
    if not path.is_dir() or find_cifar(path):
        return path.is_dir()
    try:
        return split_folder(path, "train") != path
    except DataError:
        return False


def deal(train: LabelledImages, holdout: int, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """(images to train on, `holdout` images held out, in random order). Raises DataError where none would be left."""
    if not 0 < holdout < len(train):
        raise DataError(
            f"{train.source}: {holdout} images to hold out of {len(train)}; expected fewer, and at least one"
        )
    order = np.random.default_rng(seed).permutation(len(train))
    held_out = train.take(order[:holdout].tolist())
    words = f"{train.source} (held out: {holdout}, seed {seed})"
    return train.take(sorted(order[holdout:].tolist())), dataclasses.replace(held_out, source=words)


def held_out_images(path: str | Path, known: TrainedOn | None) -> LabelledImages | None:
    """The images at `path` that a training kept out; None where they are not those that it was on, or not known."""
    if known is None:
        return None
    train = open_images(path, "train" if has_training_split(path) else "test")  # the latter: perhaps train/ itself
    return deal(train, known.holdout, known.seed)[1] if train.fingerprint == known.fingerprint else None
