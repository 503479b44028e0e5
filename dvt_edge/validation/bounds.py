"""What an artifact must keep against PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What an artifact must keep against PyTorch in float32 before an export is called done."""

    max_abs_error: float | None = None  # on every output of every stage
    min_sqnr_db: float | None = None  # on the logits of every exit
    min_top1_agreement: float = 1.0
    min_exit_agreement: float = 1.0
