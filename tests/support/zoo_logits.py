"""Logits of the zoo's cascades on made-up images, for a test that needs no data set.

python tests/support/zoo_logits.py          writes tests/golden/zoo.json
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade, zoo_models
from dvt_edge.network.pixels import normalise

GOLDEN = Path(__file__).parents[1] / "golden/zoo.json"


def made_up(size: int) -> NDArray[np.uint8]:
    """(2, size, size, 3) pixels: a slope of each colour, and rings on it."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    slopes = np.stack([x, y, 1 - x], axis=-1)
    rings = np.where(np.hypot(x - 0.4, y - 0.6) * 8 % 2 < 1, 0.9, 0.1)[..., None] * np.array([1.0, 0.6, 0.2])
    return np.round(255 * np.stack([slopes, rings])).astype(np.uint8)


def logits(name: str) -> list[list[list[float]]]:
    """(exits, images, classes)."""
    cascade = load_cascade(f"zoo:{name}")
    with torch.inference_mode():
        exits = cascade(normalise(torch.from_numpy(made_up(cascade.config.image_size)), cascade.config))
    return [np.round(z.numpy(), 4).tolist() for z in exits]


if __name__ == "__main__":
    found = {name: {"sha256": checkpoint_sha256(f"zoo:{name}"), "logits": logits(name)} for name in zoo_models()}
    GOLDEN.write_text(json.dumps(found) + "\n")
