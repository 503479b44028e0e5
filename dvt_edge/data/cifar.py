"""CIFAR-10 and CIFAR-100 as torchvision lays them out, unpickled by a reader that knows arrays and lists only."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dvt_edge.data.images import LabelledImages, from_arrays
from dvt_edge.errors import DataError, one_line

Split = Literal["train", "test"]


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
        raise DataError(f"{path}: not a CIFAR batch ({one_line(error)})") from error


def find_cifar(path: Path) -> Path | None:
    """The CIFAR folder that `path` is, or that lies right in it."""
    for name in CIFAR_LAYOUTS:
        for folder in (path, path / name):
            if folder.name == name and folder.is_dir():
                return folder
    if path.is_dir() and (whole := path.resolve()).name in CIFAR_LAYOUTS:  # as "." inside it, or a link to it
        return whole
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
