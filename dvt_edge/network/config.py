"""What a cascade is made of: one frozen value that the network, the checkpoint and the manifest share.

The published models are described in arXiv 2105.15075; their dimensions are in PRESETS.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dvt_edge.device.manifest import MAX_SIDE
from dvt_edge.errors import ConfigError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

MAX_DEPTH = 1000  # blocks: more is a damaged file
MAX_REGISTERS = 1000
MAX_CONSTANTS = 2**27  # numbers of the matrices between grids, which take memory and stand in no file
MAX_ACTIVATION = 2**33  # numbers of one tensor of one image: the largest ViT that timm has comes near it
STEMS = ("patch", "pyramid", "t2t")
POOLS = ("token", "mean", "norm-mean", "attention")
ACTIVATIONS = ("gelu", "gelu-tanh", "quick-gelu")


@dataclass(frozen=True)
class CascadeConfig:
    """A cascade of equally deep ViTs over ever finer token grids.

    `grids` are token-grid sides, one exit each; stage k sees `grids[k]**2` tokens and a class token.
    `stem` makes tokens from the image: "patch" is one convolution with kernel = stride,
    "pyramid" first halves the image until a token is two pixels wide, by two convolutions each time, which are
    `stem_width` channels wider than the two before, "t2t" is tokens-to-token with performer blocks.

    The fields from `class_token` on are kinds of ViT beyond the published one. `pool` makes one feature of the last
    block's tokens: the first token or the mean of the grid's, then the norm; "norm-mean" and "attention" norm all
    tokens first, the latter weighs the grid's by one learnt query and has an MLP of its own.
    """

    name: str
    image_size: int = 224
    grids: tuple[int, ...] = (7, 10, 14)
    num_classes: int = 1000
    dim: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    norm_eps: float = 1e-6
    stem: str = "patch"
    stem_width: int = 32  # channels of the first two convolutions of the "pyramid" stem
    feature_reuse: bool = True
    relation_reuse: bool = True
    reuse_hidden: int = 128  # hidden width of the feature-reuse MLP
    reuse_width: int = 48  # features that it hands to each block
    resize: int = 256  # shorter side before the centre crop to image_size
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    class_token: bool = True
    registers: int = 0  # learnt tokens after the class token that no exit reads
    pre_norm: bool = False  # a norm between embedding and blocks
    qk_norm: bool = False  # norms of each head's queries and keys
    scale_norms: bool = False  # norms before each block's attn.proj and fc2
    activation: str = "gelu"  # of the blocks' MLPs
    pool: str = "token"
    final_norm: bool = True

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name in ("grids", "mean", "std"):  # JSON gives lists
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))

        def require(ok: bool, found: str, expected: str) -> None:
            if not ok:
                raise ConfigError(f"config {self.name!r}: {found}; expected {expected}")

        require(self.name.isprintable(), "that name", "characters that can be printed")
        grids = self.grids
        require(len(grids) >= 1, "no grids", "at least one token grid")
        require(
            all(0 < a < b <= 2 * a for a, b in itertools.pairwise(grids)) and grids[0] > 0,
            f"grids {grids}",
            "rising sides, each at most twice the one before (reuse resamples from 2x)",
        )
        require(grids[-1] <= self.image_size, f"grid {grids[-1]}", "at most the image")
        require(self.heads > 0 and self.dim % self.heads == 0, f"dim {self.dim}", f"a multiple of heads {self.heads}")
        require(self.stem in STEMS, f"stem {self.stem!r}", f"one of {', '.join(STEMS)}")
        require(self.stem != "t2t" or set(grids) <= set(T2T_SPLITS), f"grids {grids}", f"among {sorted(T2T_SPLITS)}")
        require(self.stem != "t2t" or self.image_size == 224, f"image {self.image_size}", "224 for the t2t stem")
        sizes = (self.dim, self.depth, self.num_classes, self.image_size, self.stem_width, self.reuse_hidden)
        require(min(*sizes, self.reuse_width, self.mlp_ratio) > 0, "a zero dimension", "all positive")
        require(self.depth <= MAX_DEPTH, f"depth {self.depth}", f"at most {MAX_DEPTH}")
        require(len(self.mean) == len(self.std) == 3, f"mean {self.mean} and std {self.std}", "one for each of RGB")
        require(min(*self.std, self.norm_eps) > 0, f"std {self.std}, norm_eps {self.norm_eps}", "all above 0")
        require(self.pool in POOLS, f"pool {self.pool!r}", f"one of {', '.join(POOLS)}")
        require(self.pool != "token" or self.class_token, "no class token", "one, or another pool than 'token'")
        require(self.activation in ACTIVATIONS, f"activation {self.activation!r}", f"one of {', '.join(ACTIVATIONS)}")
        require(0 <= self.registers <= MAX_REGISTERS, f"registers {self.registers}", f"0 to {MAX_REGISTERS}")
        sides = f"image_size {self.image_size} to {MAX_SIDE}"
        require(self.image_size <= self.resize <= MAX_SIDE, f"resize {self.resize}", sides)
        lengths = [self.tokens(index) for index in range(len(grids))]
        constants = sum(a * b for a, b in itertools.pairwise(lengths))
        found = f"{constants:,} constants between {len(grids)} grids"
        require(constants <= MAX_CONSTANTS, found, f"at most {MAX_CONSTANTS:,}: coarser grids")
        small = all(numbers <= MAX_ACTIVATION for numbers in self.activations())
        require(small, "a network of too many numbers in one tensor of an image", f"at most {MAX_ACTIVATION:,}")

    @property
    def num_exits(self) -> int:
        return len(self.grids)

    @property
    def prefix_tokens(self) -> int:
        """Tokens before those of the grid: class token and registers."""
        return int(self.class_token) + self.registers

    def tokens(self, index: int) -> int:
        """All tokens of stage `index`."""
        return self.prefix_tokens + self.grids[index] ** 2

    def activations(self) -> Iterator[float]:
        """Numbers of the largest tensors that one image makes, those of the fields that may be any integer first."""
        tokens = self.tokens(self.num_exits - 1)
        yield tokens * max(self.dim, self.reuse_hidden, self.reuse_width)
        yield tokens * self.dim * self.mlp_ratio
        yield tokens**2 * self.heads * (self.depth if self.relation_reuse and self.num_exits > 1 else 1)
        if self.stem == "pyramid":
            yield self.image_size**2 * self.stem_width

    @property
    def mlp_hidden(self) -> int:
        return int(self.dim * self.mlp_ratio)

    def replace(self, **changes: Any) -> CascadeConfig:
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of `from_dict`; the kinds of ViT only where they are not the published one."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        names = list(plain)
        for name in names[names.index("class_token") :]:
            if plain[name] == defaults[name]:
                del plain[name]
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CascadeConfig:
        """Raises ConfigError for an unknown, missing or impossible field."""
        known = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(data, dict) or "name" not in data or not set(data) <= known:
            extra = sorted(set(data) - known) if isinstance(data, dict) else data
            raise ConfigError(f"config with unknown or missing fields {extra}; expected {sorted(known)}")
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"config {data['name']!r}: a field of the wrong type ({error})") from error


# Tokens-to-token at 224 px: (kernel, stride, padding) of the first soft split for each final grid; then 3/2/1 twice.
T2T_SPLITS = {7: (14, 8, 3), 10: (11, 6, 5), 14: (7, 4, 2)}
T2T_DIM = 64
