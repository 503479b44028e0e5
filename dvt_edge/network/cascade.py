"""The network: a cascade of ViTs over finer and finer token grids (arXiv 2105.15075), in one file.

    image ──► stage 0 ──► logits 0        stage k reads the image and the state of stage k-1:
               │ tokens, relations        tokens     its last block's output, before the norm
               ▼                          relations  every layer's attention logits, pre-softmax
    image ──► stage 1 ──► logits 1 ...

Both reuses resample the previous grid to this one by a constant matrix, so that an export sees plain matmuls.
Shapes: B images, H heads, N = p + n tokens (a prefix, in most ViTs the class token alone, then the grid's), D features,
L layers; "..." is B, or nothing where one image goes through without a batch axis, as in every export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import wrap_torch_function

from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.network.config import T2T_DIM, T2T_SPLITS, CascadeConfig


def patch_geometry(size: int, grid: int) -> tuple[int, int]:
    """(kernel = stride, padding) of the convolution that cuts `size` pixels into `grid` tokens a side."""
    patch = math.ceil(size / grid)
    return patch, math.ceil((patch * grid - size) / 2)


def resample_matrix(old: int, new: int) -> Tensor:
    """(new², old²) float32: nearest to 2x the old grid, then adaptive average pooling to the new, rows first.

    The two steps are separable and constant, so the map is m ⊗ m with m (new, old) one axis of it.
    """
    m = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        start, end = (i * 2 * old) // new, -(-((i + 1) * 2 * old) // new)
        for j in range(start, end):
            m[i, j // 2] += 1 / (end - start)
    return torch.kron(m, m).float()


def with_class_token(resample: Tensor, keep: float, prefix: int = 1) -> Tensor:
    """blockdiag(keep, resample): (p+new², p+old²). keep=1 passes the prefix rows on, keep=0 puts zeros there."""
    return torch.block_diag(keep * torch.eye(prefix), resample)


@wrap_torch_function(lambda x, weight, bias, padding: (x,))  # exporters put operators of their own in its place
def patch_tokens(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """(B, C, side, side) and (D, C, patch, patch) -> (B, n, D): one token for each patch, rows first."""
    return F.conv2d(x, weight, bias, stride=weight.shape[-1], padding=padding).flatten(2).transpose(1, 2)


class Patches(nn.Conv2d):
    """`patch_tokens` with its weights."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, side, side) -> (B, n, D)
        return patch_tokens(x, self.weight, self.bias, self.padding[0])


class PatchStem(nn.Module):
    """Non-overlapping patches of the image, or of the feature map of 3x3 convolutions before them."""

    def __init__(self, image_size: int, grid: int, dim: int, convolutions: Sequence[tuple[int, int]] = ()) -> None:
        """`convolutions` are (channels, stride) of each one before the patches."""
        super().__init__()
        self.conv = nn.Sequential()
        channels = 3
        for index, (width, stride) in enumerate(convolutions):
            self.conv.append(nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False))
            self.conv.append(nn.BatchNorm2d(width))
            self.conv.append(nn.ReLU(inplace=index > 0))
            channels, image_size = width, -(-image_size // stride)
        patch, padding = patch_geometry(image_size, grid)
        self.proj = Patches(channels, dim, patch, stride=patch, padding=padding)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, size, size) -> (B, n, D)
        return self.proj(self.conv(x))


def stem_convolutions(config: CascadeConfig, grid: int) -> list[tuple[int, int]]:
    """(channels, stride) of the convolutions that `config.stem` puts before the patches of one grid."""
    if config.stem != "pyramid":
        return []
    width, size = config.stem_width, config.image_size
    layers: list[tuple[int, int]] = []
    while size // 2 >= 2 * grid:
        layers += [(width, 2), (width, 1)]
        width, size = width + config.stem_width, size // 2
    return layers or [(width, 1)]


class Performer(nn.Module):
    """A performer block of tokens-to-token: linear attention by positive random features, skip through v."""

    def __init__(self, dim_in: int, dim: int = T2T_DIM, features: int = T2T_DIM // 2) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim_in)
        self.kqv = nn.Linear(dim_in, 3 * dim)
        self.w = nn.Parameter(torch.empty(features, dim), requires_grad=False)
        nn.init.orthogonal_(self.w, gain=math.sqrt(features))
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def random_features(self, x: Tensor) -> Tensor:  # (B, N, dim) -> (B, N, features)
        half_norm = (x * x).sum(dim=-1, keepdim=True) / 2
        return torch.exp(x @ self.w.t() - half_norm) / math.sqrt(self.w.shape[0])

    def forward(self, x: Tensor) -> Tensor:  # (B, N, dim_in) -> (B, N, dim)
        k, q, v = self.kqv(self.norm1(x)).chunk(3, dim=-1)
        kp, qp = self.random_features(k), self.random_features(q)
        normaliser = qp @ kp.sum(dim=1, keepdim=True).transpose(1, 2) + 1e-8  # (B, N, 1)
        y = v + self.proj(qp @ (kp.transpose(1, 2) @ v) / normaliser)
        return y + self.mlp(self.norm2(y))


class TokensToToken(nn.Module):
    """T2T: three overlapping soft splits (unfold), a performer block after each of the first two."""

    def __init__(self, grid: int, dim: int) -> None:
        super().__init__()
        self.splits = (T2T_SPLITS[grid], (3, 2, 1), (3, 2, 1))
        self.attention1 = Performer(3 * self.splits[0][0] ** 2)
        self.attention2 = Performer(T2T_DIM * 9)
        self.project = nn.Linear(T2T_DIM * 9, dim)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, 224, 224) -> (B, n, D)
        for (kernel, stride, padding), block in zip(
            self.splits, (self.attention1, self.attention2, self.project), strict=True
        ):
            side = (x.shape[-1] + 2 * padding - kernel) // stride + 1
            x = block(F.unfold(x, kernel, stride=stride, padding=padding).transpose(1, 2))
            if block is not self.project:
                x = x.transpose(1, 2).unflatten(2, (side, side))
        return x


@wrap_torch_function(lambda qkv, heads, reused: (qkv,))  # exporters put operators of their own in its place
def attend(qkv: Tensor, heads: int, reused: Tensor | None) -> tuple[Tensor, Tensor]:
    """(..., N, 3*D) and, or None, (..., H, N, N) to add; (..., N, D) and the relation (..., H, N, N)."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(-3, -2) for t in qkv.chunk(3, dim=-1))
    relation = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if reused is not None:
        relation = relation + reused
    y = relation.softmax(dim=-1) @ v  # (..., H, N, D/H)
    return y.transpose(-3, -2).flatten(-2), relation


def activate(x: Tensor, kind: str) -> Tensor:
    """One of `ACTIVATIONS`, elementwise.

    The GELU by tanh is written as the sigmoid that it equals: coremltools takes torch.export's for the exact one.
    """
    if kind == "quick-gelu":
        return x * torch.sigmoid(1.702 * x)
    if kind == "gelu-tanh":
        return x * torch.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))
    return F.gelu(x)


class QKNorm(nn.Module):
    """One norm of the queries and one of the keys, over each head's features."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.heads, width = config.heads, config.dim // config.heads
        self.q, self.k = (nn.LayerNorm(width, eps=config.norm_eps) for _ in range(2))

    def forward(self, qkv: Tensor) -> Tensor:  # (..., N, 3*D) -> (..., N, 3*D)
        q, k, v = qkv.chunk(3, dim=-1)
        q, k = (norm(t.unflatten(-1, (self.heads, -1))).flatten(-2) for norm, t in ((self.q, q), (self.k, k)))
        return torch.cat((q, k, v), dim=-1)


class Attention(nn.Module):
    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim, bias=config.qkv_bias)
        self.qk_norm = QKNorm(config) if config.qk_norm else nn.Identity()
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps) if config.scale_norms else nn.Identity()
        self.proj = nn.Linear(config.dim, config.dim)

    def forward(self, x: Tensor, reused: Tensor | None) -> tuple[Tensor, Tensor]:
        """(..., N, D) and, or None, (..., H, N, N) to add; returns (..., N, D) and the relation (..., H, N, N)."""
        y, relation = attend(self.qk_norm(self.qkv(x)), self.heads, reused)
        return self.proj(self.norm(y)), relation


class FeatureReuse(nn.Module):
    """The previous stage's tokens, reduced to `reuse_width` features and resampled to this stage's grid."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.fc1 = nn.Linear(config.dim, config.reuse_hidden)
        self.fc2 = nn.Linear(config.reuse_hidden, config.reuse_width)

    def forward(self, tokens: Tensor, resample: Tensor) -> Tensor:  # (..., N_prev, D), (N, N_prev) -> (..., N, width)
        return resample @ self.fc2(F.gelu(self.fc1(self.norm(tokens))))


class Block(nn.Module):
    def __init__(self, config: CascadeConfig, reuse: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config)
        self.feature_reuse = FeatureReuse(config) if reuse else None
        width = config.dim + (config.reuse_width if reuse else 0)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)  # its statistics see the reused features
        self.fc1 = nn.Linear(width, config.mlp_hidden)
        self.activation = config.activation
        self.norm3 = nn.LayerNorm(config.mlp_hidden, eps=config.norm_eps) if config.scale_norms else nn.Identity()
        self.fc2 = nn.Linear(config.mlp_hidden, config.dim)

    def forward(
        self, x: Tensor, tokens: Tensor | None, resample: Tensor | None, reused: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        y, relation = self.attn(self.norm1(x), reused)
        x = x + y
        h = x
        if self.feature_reuse is not None:
            assert tokens is not None and resample is not None
            h = torch.cat((x, self.feature_reuse(tokens, resample)), dim=-1)
        return x + self.fc2(self.norm3(activate(self.fc1(self.norm2(h)), self.activation))), relation


class RelationReuse(nn.Module):
    """All layers' relations of the previous stage, mixed across layers and heads, then resampled: P R Pᵀ."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 3 * channels, 1)
        self.conv2 = nn.Conv2d(3 * channels, channels, 1)

    def forward(self, relations: Tensor, resample: Tensor) -> Tensor:  # (B, L*H, N_prev, N_prev) -> (B, L*H, N, N)
        return resample @ self.conv2(F.gelu(self.conv1(relations))) @ resample.t()


def mean_token(x: Tensor) -> Tensor:  # (..., n, D) -> (..., 1, D)
    """As a product with a constant, like all resampling: not every engine averages tokens."""
    return torch.full((1, x.shape[-2]), 1 / x.shape[-2], dtype=x.dtype, device=x.device) @ x


class AttentionPool(nn.Module):
    """One learnt query weighs the tokens, head by head, then an MLP with a skip around it.

    The query is a constant, so that its product with the keys' weights is one linear: `score`. A bias of the keys would
    add the same to all tokens of a head.
    """

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        dim, hidden = config.dim, config.mlp_hidden
        self.heads, self.activation = config.heads, config.activation
        self.score = nn.Linear(dim, config.heads, bias=False)
        self.value, self.proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:  # (..., n, D) -> (..., 1, D)
        weights = self.score(x).unflatten(-1, (self.heads, 1)).transpose(-3, -2).transpose(-2, -1)  # (..., H, 1, n)
        values = self.value(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # (..., H, n, D/H)
        y = self.proj((weights.softmax(dim=-1) @ values).transpose(-3, -2).flatten(-2))
        return y + self.fc2(activate(self.fc1(self.norm(y)), self.activation))


class Stage(nn.Module):
    """One ViT of the cascade. `index` 0 reuses nothing; the last one hands nothing on."""

    token_resample: Tensor
    relation_resample: Tensor

    def __init__(self, config: CascadeConfig, index: int) -> None:
        super().__init__()
        grid, dim, reuse = config.grids[index], config.dim, index > 0
        self.heads, self.is_last = config.heads, index == config.num_exits - 1
        self.reuses_features = reuse and config.feature_reuse
        self.reuses_relations = reuse and config.relation_reuse
        self.gives_tokens = not self.is_last and config.feature_reuse
        self.gives_relations = not self.is_last and config.relation_reuse

        self.stem: nn.Module
        if config.stem == "t2t":
            self.stem = TokensToToken(grid, dim)
        else:
            self.stem = PatchStem(config.image_size, grid, dim, stem_convolutions(config, grid))
        self.prefix, self.pooling = config.prefix_tokens, config.pool
        self.cls_token = nn.Parameter(torch.zeros(1, self.prefix, dim)) if self.prefix else None  # then registers
        # The published T2T models fix a sinusoid here; both kinds are saved, so both load alike.
        length = config.tokens(index)
        self.pos_embed = nn.Parameter(torch.zeros(1, length, dim), requires_grad=config.stem != "t2t")
        if config.stem == "t2t":
            self.pos_embed.data = sinusoid(length, dim)
        self.pre_norm = nn.LayerNorm(dim, eps=config.norm_eps) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config, self.reuses_features) for _ in range(config.depth))
        self.relation_reuse = RelationReuse(config.depth * config.heads) if self.reuses_relations else None
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps) if config.final_norm else nn.Identity()
        self.attention_pool = AttentionPool(config) if config.pool == "attention" else nn.Identity()
        self.head = nn.Linear(dim, config.num_classes)
        if reuse:
            resample = resample_matrix(config.grids[index - 1], grid)
            self.register_buffer("token_resample", with_class_token(resample, 0.0, self.prefix), persistent=False)
            self.register_buffer("relation_resample", with_class_token(resample, 1.0, self.prefix), persistent=False)

    def forward(
        self, image: Tensor, tokens: Tensor | None = None, relations: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Normalised image (B, 3, size, size) and the previous state; returns logits (B, classes) and this state.

        State is tokens (B, N, D) and relations (B, L*H, N, N); each None where it is not reused.
        """
        return self.transform(self.embed(image), tokens, self.mix(relations))

    def embed(self, image: Tensor) -> Tensor:  # (B, 3, size, size) -> (B, N, D)
        x = self.stem(image)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        return self.pre_norm(x + self.pos_embed)

    def mix(self, relations: Tensor | None) -> Tensor | None:  # (B, L*H, N_prev, N_prev) -> (B, L*H, N, N)
        if self.relation_reuse is None:
            return None
        assert relations is not None
        return self.relation_reuse(relations, self.relation_resample)

    def transform(
        self, x: Tensor, tokens: Tensor | None, mixed: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Embedded (..., N, D), the previous tokens and the mixed relations to logits (..., classes) and this state."""
        reused: Sequence[Tensor | None] = [None] * len(self.blocks)
        if mixed is not None:
            reused = mixed.split(self.heads, dim=-3)
        resample = self.token_resample if self.reuses_features else None
        own: list[Tensor] = []
        for block, bias in zip(self.blocks, reused, strict=True):
            x, relation = block(x, tokens, resample, bias)
            own.append(relation)
        logits = self.head(self.pool(x)).flatten(-2)
        return logits, x if self.gives_tokens else None, torch.cat(own, dim=-3) if self.gives_relations else None

    def pool(self, x: Tensor) -> Tensor:  # (..., N, D) -> (..., 1, D)
        if self.pooling == "token":
            return self.norm(x.narrow(-2, 0, 1))
        grid = x.narrow(-2, self.prefix, x.shape[-2] - self.prefix)
        if self.pooling == "mean":
            return self.norm(mean_token(grid))
        grid = self.norm(grid)
        return mean_token(grid) if self.pooling == "norm-mean" else self.attention_pool(grid)


class Cascade(nn.Module):
    """All stages. `forward` runs them all; deployment runs them one by one (`dvt_edge.network.stages`)."""

    def __init__(self, config: CascadeConfig) -> None:
        super().__init__()
        self.config = config
        self.trained_on: TrainedOn | None = None  # None: not known
        self.stages = nn.ModuleList(Stage(config, index) for index in range(config.num_exits))
        self.apply(init_weights)
        for stage in self.stages:
            assert isinstance(stage, Stage)
            if stage.cls_token is not None:
                nn.init.trunc_normal_(stage.cls_token, std=0.02)
            if stage.pos_embed.requires_grad:
                nn.init.trunc_normal_(stage.pos_embed, std=0.02)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised float images (B, 3, size, size) -> one (B, classes) tensor of logits per exit, first to last."""
        exits, tokens, relations = [], None, None
        for stage in self.stages:
            logits, tokens, relations = stage(image, tokens, relations)
            exits.append(logits)
        return exits


def sinusoid(length: int, dim: int) -> Tensor:
    """(1, length, dim) fixed position embedding: sines on even features, cosines on odd ones."""
    position = torch.arange(length, dtype=torch.float64).unsqueeze(1)
    rate = 10000 ** (2 * (torch.arange(dim) // 2).double() / dim)
    angle = position / rate
    angle[:, 0::2], angle[:, 1::2] = angle[:, 0::2].sin(), angle[:, 1::2].cos()
    return angle.float().unsqueeze(0)


def init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
