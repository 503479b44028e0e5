"""Published checkpoints without their weights: every tensor is drawn from its own name.

golden/dvt/keys holds the names and shapes of the three published state dicts; golden/dvt/logits holds, for two of
them, what the published code gives for these tensors and `images()`: float32, eval mode, one (2, 1000) array a stage.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden" / "dvt"
PUBLISHED = tuple(sorted(path.stem for path in (GOLDEN / "keys").glob("*.json")))


def normal(seed: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)


def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """float32, at a scale that keeps activations near one: gains about 1, matrices 1/sqrt(fan in), the rest small."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    draw, leaf = normal(seed, shape), name.split(".")[-1]
    if leaf == "weight" and len(shape) == 1:
        draw = 0.1 * draw + 1
    elif leaf in ("pos_embed", "cls_token"):
        draw = 0.2 * draw
    elif leaf == "bias" or len(shape) < 2:
        draw = 0.02 * draw
    else:
        draw = draw / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(draw.astype(np.float32))


def state_dict(model: str) -> dict[str, Tensor]:
    """A state dict under the published names of one of PUBLISHED."""
    shapes = json.loads((GOLDEN / "keys" / f"{model}.json").read_text())
    return {name: tensor(name, tuple(shape)) for name, shape in shapes.items()}


def images() -> Tensor:
    """(2, 3, 224, 224) float32, as if normalised."""
    return torch.from_numpy(normal(7, (2, 3, 224, 224)).astype(np.float32))


def logits(model: str) -> list[Tensor]:
    """The published code's logits, first exit to last."""
    with np.load(GOLDEN / "logits" / f"{model}.npz") as arrays:
        return [torch.from_numpy(arrays[f"stage{k}"]) for k in range(3)]
