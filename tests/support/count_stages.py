"""Runs under emulation (arm_counts.py): a bundle's stages, with a mark before and after each run of one.

    python tests/support/count_stages.py BUNDLE IMAGES.npz [LIBRARY]

Marks 2k and 2k+1 are around run k, image by image, stage by stage, and after the stages around a run of nothing, which
is what Python takes of the others. The images run once before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from device_engines import Arrays, open_stage

from dvt_edge.device.bundle import CascadeBundle

MARK = 0x647674  # as count_instructions.c has it


def mark(number: int) -> None:
    try:
        os.getpriority(MARK, number)
    except OSError:
        return


def main(folder: Path, images: Path, library: Path | None) -> None:
    specs = CascadeBundle.open(folder).manifest.stages
    stages = [open_stage(folder / spec.artifact, spec, library) for spec in specs]
    with np.load(images) as arrays:
        pictures = list(arrays["images"])
    number = -1
    for marked in (False, True):
        for picture in pictures:
            state: Arrays = {"image": picture[None]}
            for run in (*(stage.run for stage in stages), dict):
                number += marked
                if marked:
                    mark(2 * number)
                outputs = run(state)
                if marked:
                    mark(2 * number + 1)
                state.update(outputs)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
