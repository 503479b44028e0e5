"""What a cascade was trained on, as checkpoints and bundles say it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainedOn:
    """What a cascade was trained on, as its checkpoint and its bundles say.

    Of the images of `source`, `holdout` were kept out, drawn by `seed` (`dvt_edge.data.dealing.deal`).
    """

    source: str
    fingerprint: str  # of all of them: `dvt_edge.data.images.LabelledImages.fingerprint`
    classes: tuple[str, ...]
    holdout: int
    seed: int

    def __post_init__(self) -> None:
        if not (self.holdout > 0 and self.seed >= 0):
            raise ValueError(f"holdout {self.holdout}, seed {self.seed}; expected at least 1 and 0")

    def deals_as(self, other: TrainedOn) -> bool:
        """Whether the same images were held out; True where the images are others."""
        mine, others = (self.holdout, self.seed), (other.holdout, other.seed)
        return self.fingerprint != other.fingerprint or mine == others
