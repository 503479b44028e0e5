"""Runs under emulation (arm_counts.py): a bundle's stages, with a mark before and after each run of one.

    python tests/support/count_stages.py BUNDLE IMAGES.npz [LIBRARY]
    python tests/support/count_stages.py --file MODEL.pte LIBRARY          an image of 224 px in, 1,000 classes out

Marks 2k and 2k+1 are around run k, image by image, stage by stage. Everything runs once before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from device_engines import Arrays, open_stage

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.manifest import TensorSpec

MARK = 0x647674  # as count_instructions.c has it


def mark(number: int) -> None:
    try:
        os.getpriority(MARK, number)
    except OSError:
        return


def of_bundle(folder: Path, images: Path, library: Path | None = None) -> None:
    specs = CascadeBundle.open(folder).manifest.stages
    stages = [open_stage(folder / spec.artifact, spec, library) for spec in specs]
    with np.load(images) as arrays:
        pictures = list(arrays["images"])
    number = -1
    for marked in (False, True):
        for picture in pictures:
            state: Arrays = {"image": picture[None]}
            for stage in stages:
                number += marked
                if marked:
                    mark(2 * number)
                outputs = stage.run(state)
                if marked:
                    mark(2 * number + 1)
                state.update(outputs)


class Classifier:
    inputs = (TensorSpec("image", "float32", (1, 3, 224, 224), "state"),)
    outputs = (TensorSpec("logits", "float32", (1, 1000), "logits"),)


def of_file(model: Path, library: Path) -> None:
    stage, shape = open_stage(model, Classifier(), library), Classifier.inputs[0].shape
    arrays: Arrays = {"image": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    stage.run(arrays)
    mark(0)
    stage.run(arrays)
    mark(1)


if __name__ == "__main__":
    if sys.argv[1] == "--file":
        of_file(*map(Path, sys.argv[2:]))
    else:
        of_bundle(*map(Path, sys.argv[1:]))
