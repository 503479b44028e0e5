"""One stage for LiteRT, by Google's converter from PyTorch.

    python -m dvt_edge.exporting.litert_worker FOLDER

FOLDER holds the stage, a torch.export program; the .tflite is written there. Run by `litert_exporter.py`, on whose path
the converter comes first.
"""

from __future__ import annotations

import sys
from pathlib import Path

STAGE, PROGRAM = "stage.pt2", "program.tflite"


def main(folder: Path) -> None:
    import litert_torch
    import torch

    exported = torch.export.load(folder / STAGE)
    arguments, _ = exported.example_inputs
    litert_torch.convert(exported.module(check_guards=False), tuple(arguments)).export(str(folder / PROGRAM))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
