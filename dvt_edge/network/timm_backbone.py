"""Any plain timm VisionTransformer as the backbone of a cascade: its dimensions, and its pretrained weights.

Every stage is that ViT on its own token grid; what reuse adds to a stage starts as a no-op or freshly drawn.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.layers.patch_embed import PatchEmbed, resample_patch_embed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from dvt_edge.errors import CheckpointError, ConfigError, one_line
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.published import from_published_name

Vit = Any  # timm's VisionTransformer, whose parts have no types that mypy could follow


def config_from_timm(name: str) -> CascadeConfig:
    """The cascade over a timm model's dimensions, classes, normalisation and crop, named "timm:<name>".

    Token grids are (7, 10, 14) at 224 px, else a half, 1/sqrt(2) and all of the model's own grid, rounded up.
    Raises ConfigError for a name that timm does not know, and for a model that is not a plain ViT.
    """
    model = skeleton(name)
    return config_of(model, name, model.num_classes)


def cascade_from_timm(
    name: str,
    *,
    num_classes: int | None = None,
    pretrained: bool = False,
    grids: tuple[int, ...] | None = None,
    pretrained_file: str | os.PathLike[str] | None = None,
) -> Cascade:
    """A cascade with that timm model as the backbone of every stage.

    `pretrained` fetches timm's weights for the name; `pretrained_file` reads them from a file in any format that
    timm loads for it. Either is copied into each stage, resampled to its token grid. `num_classes` defaults to the
    weights' own; another count leaves the heads freshly drawn. Without weights the cascade is drawn as usual.

    Raises ConfigError as `config_from_timm` does, CheckpointError for weights that timm cannot get or load.
    """
    model = skeleton(name)
    if weights := pretrained or pretrained_file is not None:
        model = load_pretrained(name, pretrained_file)
    cascade = Cascade(config_of(model, name, num_classes or model.num_classes, grids))
    if weights:
        copy_backbone(model, cascade)
    return cascade


def skeleton(name: str) -> Vit:
    """The timm model without memory for its weights. Raises ConfigError unless it is a plain ViT."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise ConfigError(f"unknown timm model {name!r}; expected a name of timm.list_models('*vit*')")
    if tag and not timm.is_model_pretrained(name):
        tags = [n.partition(".")[2] for n in timm.list_pretrained(architecture)] or ["none"]
        raise ConfigError(f"timm model {architecture!r} has no weights {tag!r}; expected one of {', '.join(tags)}")
    with torch.device("meta"):
        return require_plain(timm.create_model(name), name)


def load_pretrained(name: str, file: str | os.PathLike[str] | None) -> Vit:
    """The timm model with its published weights or the file's, all of them there."""
    if file is not None and not Path(file).is_file():
        raise CheckpointError(f"{file}: no such file; expected weights for timm model {name!r}")
    classes, overlay = None, None
    try:
        if file is not None:
            overlay = {"file": os.fspath(file), "custom_load": Path(file).suffix == ".npz"}
            if not overlay["custom_load"]:  # timm loads strictly only where its class count is the file's
                classes = len(timm.models.load_state_dict(os.fspath(file)).get("head.bias", ()))
                overlay["num_classes"] = classes
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes)
    except Exception as error:  # from the network, the hub or the file: timm passes on whatever went wrong
        raise CheckpointError(f"{file or name}: timm could not load the weights ({one_line(error)})") from error


def config_of(model: Vit, name: str, num_classes: int, grids: tuple[int, ...] | None = None) -> CascadeConfig:
    if not num_classes:
        raise ConfigError(f"timm model {name!r} has no classifier; expected one, or num_classes")
    data, block = model.pretrained_cfg, model.blocks[0]
    size, dim = model.patch_embed.img_size[0], model.embed_dim
    return CascadeConfig(
        f"timm:{name}",
        image_size=size,
        grids=grids or default_grids(size, model.patch_embed.grid_size[0]),
        num_classes=num_classes,
        dim=dim,
        depth=len(model.blocks),
        heads=block.attn.num_heads,
        mlp_ratio=exact_ratio(block.mlp.fc1.out_features, dim),
        qkv_bias=block.attn.qkv.bias is not None,
        norm_eps=model.norm.eps,
        resize=math.floor(size / data["crop_pct"]),
        mean=data["mean"],
        std=data["std"],
    )


def exact_ratio(hidden: int, dim: int) -> float:
    """hidden / dim such that int(dim * ratio) is `hidden` again."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)


def default_grids(image_size: int, grid: int) -> tuple[int, ...]:
    if image_size == 224:
        return 7, 10, 14
    return tuple(sorted({math.ceil(grid / 2), math.ceil(grid / math.sqrt(2)), grid}))


def require_plain(model: Vit, name: str) -> Vit:
    """The model itself. Raises ConfigError for the first thing in it that a stage of ours does not have."""

    def require(ok: bool, found: str, expected: str) -> None:
        if not ok:
            raise ConfigError(f"timm model {name!r} is not a plain ViT: {found}; expected {expected}")

    def kind(value: object) -> str:
        return type(value).__name__

    def absent(module: nn.Module | Tensor | None, what: str) -> None:
        require(module is None or isinstance(module, nn.Identity), f"{what} ({kind(module)})", "none")

    require(type(model) is VisionTransformer, f"class {kind(model)}", "VisionTransformer")
    embed = model.patch_embed
    require(type(embed) is PatchEmbed, f"patch embedding {kind(embed)}", "one convolution (PatchEmbed)")
    require(embed.proj.in_channels == 3, f"{embed.proj.in_channels} input channels", "3")
    require(len(set(embed.img_size)) == len(set(embed.patch_size)) == 1, f"image {embed.img_size}", "squares")
    absent(embed.norm, "a norm in the patch embedding")
    absent(model.norm_pre, "pre-norm")
    require(embed.proj.bias is not None, "a patch embedding without bias", "a bias")
    require(model.cls_token is not None, "no class token", "one")
    require(not model.num_reg_tokens, f"{model.num_reg_tokens} register tokens", "none")
    require(model.pos_embed is not None, "no position embedding", "a learned one")
    require(not model.no_embed_class, "a class token without position embedding", "one for all tokens")
    require(model.global_pool == "token", f"global_pool {model.global_pool!r}", "'token'")
    absent(model.attn_pool, "attention pooling")
    absent(model.fc_norm, "fc_norm")
    require(isinstance(model.norm, nn.LayerNorm), f"final norm {kind(model.norm)}", "LayerNorm")
    eps = model.norm.eps
    for block in model.blocks:
        require(type(block) is Block, f"block {kind(block)}", "vision_transformer.Block")
        attn, mlp = block.attn, block.mlp
        absent(block.ls1, "layer scale")
        absent(block.ls2, "layer scale")
        require(type(attn) is Attention, f"attention {kind(attn)}", "Attention")
        absent(attn.q_norm, "qk_norm")
        absent(attn.k_norm, "qk_norm")
        absent(attn.norm, "scale_attn_norm")
        absent(attn.gate, "gated attention")
        require(attn.attn_dim == model.embed_dim, f"attention width {attn.attn_dim}", f"{model.embed_dim}")
        require(type(mlp) is Mlp, f"MLP {kind(mlp)}", "Mlp")
        absent(mlp.norm, "scale_mlp_norm")
        gelu = isinstance(mlp.act, nn.GELU) and mlp.act.approximate == "none"
        require(gelu, f"activation {kind(mlp.act)}", "the exact GELU")
        biases = (attn.proj.bias, mlp.fc1.bias, mlp.fc2.bias)
        require(all(b is not None for b in biases), "a block without biases", "them in proj, fc1 and fc2")
        for norm in (block.norm1, block.norm2):
            require(isinstance(norm, nn.LayerNorm), f"block norm {kind(norm)}", "LayerNorm")
            require(norm.eps == eps, f"norm eps {norm.eps} beside {eps}", "one for all norms")
            require(norm.weight is not None and norm.bias is not None, "a norm without weight or bias", "both")
    return model


def copy_backbone(model: Vit, cascade: Cascade) -> None:
    """Copy a plain timm ViT into every stage, resampled to the stage's patch size and token grid.

    Where feature reuse makes norm2 and fc1 wider, the extra norm weights are one, the extra biases and fc1 columns
    zero. A head of another class count is left as it is.
    """
    ours = cascade.state_dict()
    same_head = model.num_classes == cascade.config.num_classes
    source = {name: t for name, t in model.state_dict().items() if same_head or not name.startswith("head.")}
    with torch.no_grad():
        for index, grid in enumerate(cascade.config.grids):
            for name, tensor in source.items():
                key = from_published_name(f"stages.{index}.{name}")
                target = ours[key]
                if name == "patch_embed.proj.weight":
                    tensor = resample_patch_embed(tensor, list(target.shape[-2:]))
                elif name == "pos_embed":
                    tensor = resample_abs_pos_embed(tensor, [grid, grid])
                target.fill_(1.0 if name.endswith(".norm2.weight") else 0.0)
                target[..., : tensor.shape[-1]] = tensor
