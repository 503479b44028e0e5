"""A timm VisionTransformer as the backbone of a cascade: its dimensions, and its pretrained weights.

Every stage is that ViT on its own token grid; what reuse adds to a stage starts as a no-op or freshly drawn.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.attention import Attention
from timm.layers.attention_pool import AttentionPoolLatent
from timm.layers.mlp import Mlp
from timm.layers.patch_embed import PatchEmbed, resample_patch_embed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from dvt_edge.errors import CheckpointError, ConfigError, one_line
from dvt_edge.network.cascade import Cascade, Stage
from dvt_edge.network.config import CascadeConfig

Vit = Any  # timm's VisionTransformer, whose parts have no types that mypy could follow
VIT_MODULES = ["vision_transformer", "vision_transformer_hybrid", "deit", "vitamin"]  # that make VisionTransformers
ACTIVATION_OF = {
    "GELU(none)": "gelu",
    "GELUTanh()": "gelu-tanh",
    "GELU(tanh)": "gelu-tanh",
    "QuickGELU()": "quick-gelu",
}
SCALED_BY = {"ls1": "attn.proj", "ls2": "mlp.fc2"}  # LayerScale and the linear before it
# timm's names, rewritten in order into ours; what is "dropped" is folded into something else.
TIMM_NAMES = (
    (r"^reg_token$|^attn_pool\.(latent$|q\.|kv\.)", "dropped "),
    (r"^patch_embed\.", "stem."),
    (r"^(blocks\.\d+)\.attn\.([qk])_norm\.", r"\1.attn.qk_norm.\2."),
    (r"^(blocks\.\d+)\.mlp\.norm\.", r"\1.norm3."),
    (r"^(blocks\.\d+)\.mlp\.", r"\1."),
    (r"^norm_pre\.", "pre_norm."),
    (r"^fc_norm\.", "norm."),
    (r"^attn_pool\.mlp\.", "attention_pool."),
    (r"^attn_pool\.", "attention_pool."),
)


def config_from_timm(
    name: str, *, num_classes: int | None = None, depth: int | None = None, image_size: int | None = None
) -> CascadeConfig:
    """The cascade over a timm model's dimensions, classes, normalisation and crop, named "timm:<name>".

    `num_classes` stands in for the model's own, `depth` keeps its first blocks only, `image_size` (px) is another one
    than its own. Token grids are a half, 1/sqrt(2) and all of the whole patches in that image, rounded up; pixels
    beyond the last whole patch are left out of `image_size`.

    Raises ConfigError for a name that timm does not know, for a model with what no stage has, and for one without a
    classifier where `num_classes` is not given.
    """
    return config_of(skeleton(name), name, num_classes, depth=depth, image_size=image_size)


def load_backbone(cascade: Cascade, name: str, file: str | os.PathLike[str] | None) -> None:
    """Copy weights of timm model `name`, of `file` or else timm's own, into every stage of a cascade over it.

    The file has any form that timm loads for the name. Where it has another class count, the heads stay as they are.

    Raises ConfigError where the cascade is not over that model, CheckpointError for weights that cannot be loaded.
    """
    ours = cascade.config
    model = skeleton(name)
    theirs = config_of(model, name, ours.num_classes, ours.grids, min(ours.depth, len(model.blocks)))
    kept = ("name", "image_size", "resize", "mean", "std", "feature_reuse", "relation_reuse", "reuse_hidden")
    wanted = theirs.replace(**{field: getattr(ours, field) for field in (*kept, "reuse_width")})
    if wanted != ours:
        fields = [f.name for f in dataclasses.fields(ours) if getattr(ours, f.name) != getattr(wanted, f.name)]
        raise ConfigError(
            f"{ours.name}: {', '.join(fields)} other than those of timm model {name!r}; expected the same"
        )
    copy_backbone(load_pretrained(name, file), cascade)


def accepted_tags() -> tuple[list[str], dict[str, str]]:
    """timm's pretrained tags of class VisionTransformer: those that a cascade can stand on, and why not the others."""
    accepted, refused = [], {}
    for name in timm.list_pretrained():
        if not timm.models.is_model_in_modules(name.partition(".")[0], VIT_MODULES):
            continue
        with torch.device("meta"):
            model = timm.create_model(name)
        if type(model) is not VisionTransformer:
            continue
        try:
            config_of(require_plain(model, name), name, model.num_classes or 1)
            accepted.append(name)
        except ConfigError as error:
            refused[name] = str(error)
    return accepted, refused


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
    classes: int | None = None
    overlay: dict[str, Any] | None = None
    try:
        if file is not None and Path(file).suffix == ".npz":
            overlay = {"file": os.fspath(file), "custom_load": True}
        elif file is not None:  # timm loads strictly only where its class count is the file's
            weights = tensors_of(file)
            classes = len(timm_names(weights, name).get("head.bias", ()))
            overlay = {"state_dict": weights, "num_classes": classes}
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes)
    except Exception as error:  # from the network, the hub or the file: timm passes on whatever went wrong
        raise CheckpointError(f"{file or name}: timm could not load the weights ({one_line(error)})") from error


def timm_names(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weights of any form that timm has a filter for, by its own names."""
    found: dict[str, Tensor] = checkpoint_filter_fn(dict(weights), skeleton(name))
    return found


def tensors_of(file: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights in a file as timm finds them. Nothing else is unpickled, whatever the default of its release."""
    found = timm.models.load_state_dict(os.fspath(file), weights_only=True)
    if other := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{other[0]!r} is no tensor")
    return dict(found)


def config_of(
    model: Vit,
    name: str,
    num_classes: int | None = None,
    grids: tuple[int, ...] | None = None,
    depth: int | None = None,
    image_size: int | None = None,
) -> CascadeConfig:
    if not (num_classes or model.num_classes):
        raise ConfigError(f"timm model {name!r} has no classifier; expected one, or num_classes")
    if depth is not None and not 0 < depth <= len(model.blocks):
        raise ConfigError(
            f"timm model {name!r} has {len(model.blocks)} blocks; expected a depth up to that, not {depth}"
        )
    data, block, dim = model.pretrained_cfg, model.blocks[0], model.embed_dim
    asked, patch = image_size or model.patch_embed.img_size[0], model.patch_embed.patch_size[0]
    grid = asked // patch
    return CascadeConfig(
        f"timm:{name}",
        image_size=grid * patch,
        grids=grids or default_grids(grid),
        num_classes=num_classes or model.num_classes,
        dim=dim,
        depth=depth or len(model.blocks),
        heads=block.attn.num_heads,
        mlp_ratio=exact_ratio(block.mlp.fc1.out_features, dim),
        qkv_bias=block.attn.qkv.bias is not None,
        norm_eps=block.norm1.eps,
        resize=math.floor(asked / data["crop_pct"]),
        mean=data["mean"],
        std=data["std"],
        class_token=model.cls_token is not None,
        registers=model.num_reg_tokens,
        pre_norm=there(model.norm_pre),
        qk_norm=there(block.attn.q_norm),
        scale_norms=there(block.attn.norm),
        activation=ACTIVATION_OF[activation(block.mlp.act)],
        pool=pool_of(model),
        final_norm=there(model.norm) or there(model.fc_norm),
    )


def exact_ratio(hidden: int, dim: int) -> float:
    """hidden / dim such that int(dim * ratio) is `hidden` again."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)


def default_grids(grid: int) -> tuple[int, ...]:
    """A half, 1/sqrt(2) and all of a model's own grid, rounded up: (7, 10, 14) of 14."""
    return tuple(sorted({math.ceil(grid / 2), math.ceil(grid / math.sqrt(2)), grid}))


def there(module: nn.Module | None) -> bool:
    return not (module is None or isinstance(module, nn.Identity))


def activation(act: nn.Module) -> str:
    return f"{type(act).__name__}({getattr(act, 'approximate', '')})"


def pool_of(model: Vit) -> str:
    """Our name for what stands between the last block and the head."""
    if model.global_pool == "map":
        return "attention"
    if model.global_pool == "token":
        return "token"
    return "norm-mean" if there(model.norm) else "mean"


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
    require(model.pos_embed is not None, "no position embedding", "a learned one")
    pools = ("token", "avg", "map")
    require(model.global_pool in pools, f"global_pool {model.global_pool!r}", f"one of {', '.join(pools)}")
    require(not model.pool_include_prefix, "pooling of class token and registers too", "of the grid's tokens alone")
    norms = [model.norm, model.fc_norm]
    require(sum(map(there, norms)) < 2, "norms before and after pooling", "one of them")
    if model.global_pool == "map":
        pool = model.attn_pool
        require(type(pool) is AttentionPoolLatent, f"pooling {kind(pool)}", "AttentionPoolLatent")
        require(there(model.norm), "attention pooling without a norm before it", "one")
        plain = pool.latent_len == 1 and pool.pos_embed is None and pool.pool == "token" and pool.mlp is not None
        require(plain, "attention pooling of several queries or with positions", "one query, no positions, an MLP")
        absent(pool.q_norm, "qk_norm in the attention pooling")
        require(pool.num_heads == model.blocks[0].attn.num_heads, f"{pool.num_heads} heads of pooling", "the blocks'")
        same = pool.mlp.fc1.out_features == model.blocks[0].mlp.fc1.out_features
        require(same, f"{pool.mlp.fc1.out_features} features in the pooling's MLP", "the blocks'")
        require(activation(pool.mlp.act) == activation(model.blocks[0].mlp.act), "two activations", "one")
        norms.append(pool.norm)
    norms.append(model.norm_pre)
    for block in model.blocks:
        require(type(block) is Block, f"block {kind(block)}", "vision_transformer.Block")
        attn, mlp = block.attn, block.mlp
        require(type(attn) is Attention, f"attention {kind(attn)}", "Attention")
        absent(attn.gate, "gated attention")
        require(attn.attn_dim == model.embed_dim, f"attention width {attn.attn_dim}", f"{model.embed_dim}")
        require(type(mlp) is Mlp, f"MLP {kind(mlp)}", "Mlp")
        found = activation(mlp.act)
        require(found in ACTIVATION_OF, f"activation {found}", f"one of {', '.join(ACTIVATION_OF)}")
        both = there(attn.norm) == there(mlp.norm)
        require(both, "one of scale_attn_norm and scale_mlp_norm", "both or none")
        biases = (attn.proj.bias, mlp.fc1.bias, mlp.fc2.bias)
        require(all(b is not None for b in biases), "a block without biases", "them in proj, fc1 and fc2")
        require(there(block.norm1) and there(block.norm2), "a block without its norms", "both")
        norms += [block.norm1, block.norm2, attn.q_norm, attn.k_norm, attn.norm, mlp.norm]
    eps = model.blocks[0].norm1.eps
    for norm in filter(there, norms):
        require(isinstance(norm, nn.LayerNorm), f"norm {kind(norm)}", "LayerNorm")
        require(norm.eps == eps, f"norm eps {norm.eps} beside {eps}", "one for all norms")
        require(norm.weight is not None and norm.bias is not None, "a norm without weight or bias", "both")
    return model


def without_layer_scale(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, with each LayerScale multiplied into the linear before it."""
    folded = dict(weights)
    for name in [n for n in weights if n.endswith(".gamma")]:
        block, scale, _ = name.rsplit(".", 2)
        linear, gamma = f"{block}.{SCALED_BY[scale]}", folded.pop(name)
        folded[f"{linear}.weight"] = folded[f"{linear}.weight"] * gamma[:, None]
        folded[f"{linear}.bias"] = folded[f"{linear}.bias"] * gamma
    return folded


def plain_weights(model: Vit) -> dict[str, Tensor]:
    """The weights by our names within a stage, but `stem.proj.weight` and `pos_embed` as they are in the model.

    LayerScale goes into the linear before it, the constant query of an attention pooling into its keys' weights;
    a bias or a position that the model does not have is zeros.
    """
    named, dim = {}, model.embed_dim
    for name, tensor in without_layer_scale(model.state_dict()).items():
        for pattern, ours in TIMM_NAMES:
            name = re.sub(pattern, ours, name)
        if not name.startswith("dropped"):
            named[name] = tensor
    if "stem.proj.bias" not in named:
        named["stem.proj.bias"] = torch.zeros(dim)
    prefix = [t for t in (model.cls_token, model.reg_token) if t is not None]
    if prefix:
        named["cls_token"] = torch.cat(prefix, dim=1).detach()
    if prefix and model.no_embed_class:
        named["pos_embed"] = torch.cat((torch.zeros(1, model.num_prefix_tokens, dim), named["pos_embed"]), dim=1)
    if model.global_pool == "map":
        pool = model.attn_pool
        keys, values = pool.kv.weight.detach().chunk(2)
        query = pool.q(pool.latent)[0, 0].detach() * pool.scale  # (D,)
        product = query.unflatten(0, (pool.num_heads, -1)).unsqueeze(1) @ keys.unflatten(0, (pool.num_heads, -1))
        named["attention_pool.score.weight"] = product.squeeze(1)  # (H, D)
        named["attention_pool.value.weight"] = values
        bias = pool.kv.bias
        named["attention_pool.value.bias"] = torch.zeros(dim) if bias is None else bias.detach().chunk(2)[1]
    return named


def copy_backbone(model: Vit, cascade: Cascade) -> None:
    """Copy a timm ViT into every stage, resampled to the stage's patch size and token grid.

    Blocks beyond the cascade's depth are left out. Each stage begins as that ViT on its own grid, whatever it reuses.
    Relations that are handed on add nothing at first: the last layer of their mixing is zero. Where feature reuse makes
    norm2 and fc1 wider, the extra norm weights are one, the extra biases and fc1 columns zero; the norm's own weights
    make up for statistics over more features, so far as tokens have mean 0 and reused features are small. A head of
    another class count is left as it is.
    """
    config, ours = cascade.config, cascade.state_dict()
    left_out = tuple(f"blocks.{index}." for index in range(config.depth, len(model.blocks)))
    if model.num_classes != config.num_classes:
        left_out += ("head.",)
    source = {name: t for name, t in plain_weights(model).items() if not name.startswith(left_out)}
    with torch.no_grad():
        for index, grid in enumerate(config.grids):
            for name, tensor in source.items():
                target = ours[f"stages.{index}.{name}"]
                if name == "stem.proj.weight":
                    tensor = resample_patch_embed(tensor, list(target.shape[-2:]))
                elif name == "pos_embed":
                    tensor = resample_abs_pos_embed(
                        tensor,
                        [grid, grid],
                        old_size=list(model.patch_embed.grid_size),
                        num_prefix_tokens=config.prefix_tokens,
                    )
                kept = tensor.shape[-1]
                widened = name.endswith(".norm2.weight")
                target.fill_(1.0 if widened else 0.0)
                target[..., :kept] = tensor * math.sqrt(kept / target.shape[-1]) if widened else tensor
        for stage in cascade.stages:
            assert isinstance(stage, Stage)
            if stage.relation_reuse is not None:
                for parameter in stage.relation_reuse.conv2.parameters():
                    nn.init.zeros_(parameter)
