"""What an exit learns from: the labels, the last exit's answer, and a teacher's logits that were kept in a file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor

from dvt_edge.data.dealing import deal_indices
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import DataError


def exit_losses(exits: list[Tensor], targets: Tensor, distill: float) -> Tensor:
    """(exits,) cross-entropies of (B, classes) logits against (B, classes) target probabilities.

    All exits but the last see the targets mixed with a share `distill` of the last one's own answer.
    """
    criterion = SoftTargetCrossEntropy()
    taught = torch.lerp(targets, exits[-1].detach().softmax(dim=-1), distill)
    return torch.stack([*(criterion(z, taught) for z in exits[:-1]), criterion(exits[-1], targets)])


def teacher_losses(exits: list[Tensor], teacher: Tensor, temperature: float) -> Tensor:
    """(exits,) divergences KL(teacher || exit) of softened (B, classes) logits, by temperature² (arXiv 1503.02531)."""
    wanted = (teacher / temperature).softmax(dim=-1)
    found = (F.log_softmax(z / temperature, dim=-1) for z in exits)
    return temperature**2 * torch.stack([F.kl_div(z, wanted, reduction="batchmean") for z in found])


def kept_logits(file: str | Path, dealt: TrainedOn, images: int) -> Tensor:
    """A teacher's logits (n, classes) of the `n` images that are trained on, from an .npz with those of all `images`.

    The file has `logits` (images, classes) in the order of the training split, hold-out included, and the
    `fingerprint` of that split. Raises DataError for a file of other images or classes.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            logits, fingerprint = arrays["logits"], str(arrays["fingerprint"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file}: not a teacher's logits ({error}); expected arrays 'logits' and 'fingerprint'"
        ) from error
    shape = (images, len(dealt.classes))
    if logits.shape != shape or logits.dtype.kind != "f" or not np.isfinite(logits).all():
        raise DataError(f"{file}: logits of shape {logits.shape} and {logits.dtype}; expected finite floats {shape}")
    if fingerprint != dealt.fingerprint:
        raise DataError(f"{file}: a teacher's logits of other images than {dealt.source}; make them anew")
    kept, _ = deal_indices(images, dealt.holdout, dealt.seed)
    return torch.from_numpy(logits[kept]).float()
