"""The images that come with the package: 256 test images, and 512 training images that training held out.

    python export_scripts/reproduce/make_samples.py data/ dvt_edge/zoo/

The draw is fixed by the seed; the held-out images are those of `dvt-edge train --holdout 2000 --seed 0`.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import typer

from dvt_edge.atomic import write_bytes
from dvt_edge.data.dealing import open_training_data
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images


def write(images: LabelledImages, path: Path) -> None:
    buffer = io.BytesIO()
    labels = np.array(images.labels, dtype=np.uint8)
    np.savez_compressed(
        buffer,
        images=np.stack([np.asarray(image) for image in images]),
        labels=labels,
        classes=np.array(images.classes),
    )
    write_bytes(path, buffer.getvalue())
    print(f"{path}: {len(images)} images, {path.stat().st_size} bytes")


def main(data: Path, out: Path, seed: int = 0, holdout: int = 2000) -> None:
    test = open_images(data, "test")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(test))[:256])
    write(test.take(drawn.tolist()), out / "cifar10-test.npz")
    held_out = open_training_data(data, holdout, seed).held_out
    write(held_out.first(512), out / "cifar10-calibration.npz")


if __name__ == "__main__":
    typer.run(main)
