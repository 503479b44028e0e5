"""Top-1 of every exit on labelled images, for fine and for coarse classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dvt_edge.data.images import LabelledImages
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.pixels import EvaluationImages, evaluation_batch, normalise


def exit_accuracies(model: nn.Module, config: CascadeConfig, images: LabelledImages) -> dict[str, list[float]]:
    """ "top1" and, where the images have coarse classes, 'coarse_top1' per exit: fractions.

    In the precision of the caller: float32, or what torch.autocast makes of it. Coarse answers are `coarse_answers`.
    """
    device = next(model.parameters()).device
    coarse = None if images.coarse is None else torch.tensor(images.coarse.of)
    correct = {name: torch.zeros(config.num_exits) for name in ("top1", "coarse_top1")[: 1 if coarse is None else 2]}
    model.eval()
    with torch.inference_mode():
        for pixels, labels in DataLoader(EvaluationImages(images, config), evaluation_batch(config, device)):
            exits = [z.float().cpu() for z in model(normalise(pixels.to(device), config))]
            correct["top1"] += torch.tensor([(z.argmax(dim=-1) == labels).sum() for z in exits])
            if coarse is not None:
                answers = [coarse_answers(z, coarse) for z in exits]
                correct["coarse_top1"] += torch.tensor([(z == coarse[labels]).sum() for z in answers])
    return {name: [round(c / len(images), 4) for c in found.tolist()] for name, found in correct.items()}


def coarse_answers(logits: Tensor, of: Tensor) -> Tensor:
    """(..., fine) logits -> (...) coarse classes. The probability of one is that of its fine classes together.

    `of` (fine,) int64 is the coarse class of each fine one.
    """
    return (logits.softmax(dim=-1) @ F.one_hot(of).float()).argmax(dim=-1)
