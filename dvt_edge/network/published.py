"""What the published models have in another form: tensor names, and the reuse as interpolation and pooling.

The latter gives the same numbers, slower: a yardstick for tests and timings, never exported.
"""

from __future__ import annotations

import copy
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvt_edge.network.cascade import Block, Cascade, FeatureReuse, RelationReuse, Stage

# The published models' names, and those of their trainer's wrapper, rewritten in order into ours.
PUBLISHED_NAMES = (
    (r"^module\.", ""),
    (r"^less_less_token\.", "stages.0."),
    (r"^less_token\.", "stages.1."),
    (r"^normal_token\.", "stages.2."),
    (r"\.patch_embed\.proj\.", ".stem.proj."),
    (r"\.tokens_to_token\.", ".stem."),
    (r"\.(blocks\.\d+)\.mlp\.", r".\1."),
    (r"\.feature_resuse_mlp\.0\.", ".feature_reuse.norm."),
    (r"\.feature_resuse_mlp\.1\.", ".feature_reuse."),
    (r"\.relation_reuse_conv\.0\.", ".relation_reuse.conv1."),
    (r"\.relation_reuse_conv\.2\.", ".relation_reuse.conv2."),
)


def from_published_name(name: str) -> str:
    """Our state-dict key for one of a published checkpoint; a name of ours comes back as it is."""
    for pattern, replacement in PUBLISHED_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def pool_grid(x: Tensor, old: int, new: int) -> Tensor:
    """(..., C, old²) -> (..., C, new²): nearest to twice the grid, then adaptive average pooling."""
    image = F.interpolate(x.reshape(1, -1, old, old), scale_factor=2.0, mode="nearest")
    return F.adaptive_avg_pool2d(image, (new, new)).reshape(*x.shape[:-1], new * new)


class PublishedFeatureReuse(nn.Module):
    def __init__(self, ours: FeatureReuse, old: int, new: int) -> None:
        super().__init__()
        self.ours, self.old, self.new = ours, old, new

    def forward(self, tokens: Tensor, resample: Tensor) -> Tensor:  # (..., 1+old², D) -> (..., 1+new², width)
        ours = self.ours
        features = ours.fc2(F.gelu(ours.fc1(ours.norm(tokens[..., 1:, :]))))
        image = pool_grid(features.transpose(-2, -1), self.old, self.new).transpose(-2, -1)
        return torch.cat((torch.zeros_like(image[..., :1, :]), image), dim=-2)


class PublishedRelationReuse(nn.Module):
    def __init__(self, ours: RelationReuse, old: int, new: int) -> None:
        super().__init__()
        self.ours, self.old, self.new = ours, old, new

    def keys(self, relations: Tensor) -> Tensor:  # (B, C, M, 1+old²) -> (B, C, M, 1+new²)
        return torch.cat((relations[..., :1], pool_grid(relations[..., 1:], self.old, self.new)), dim=-1)

    def forward(self, relations: Tensor, resample: Tensor) -> Tensor:
        mixed = self.ours.conv2(F.gelu(self.ours.conv1(relations)))
        return self.keys(self.keys(mixed).transpose(2, 3)).transpose(2, 3)


def as_published(cascade: Cascade) -> Cascade:
    """A copy of `cascade` that resamples by interpolation and adaptive pooling instead of a constant matrix."""
    clone = copy.deepcopy(cascade)
    grids = clone.config.grids
    for stage, old, new in zip(list(clone.stages)[1:], grids, grids[1:], strict=False):
        assert isinstance(stage, Stage)
        if isinstance(stage.relation_reuse, RelationReuse):
            stage.relation_reuse = PublishedRelationReuse(stage.relation_reuse, old, new)  # type: ignore[assignment]
        for block in stage.blocks:
            assert isinstance(block, Block)
            if isinstance(block.feature_reuse, FeatureReuse):
                block.feature_reuse = PublishedFeatureReuse(block.feature_reuse, old, new)  # type: ignore[assignment]
    return clone
