"""Configurations by name: the published models, the shipped one, and any timm VisionTransformer."""

from __future__ import annotations

from typing import Any

from dvt_edge.errors import ConfigError, packages
from dvt_edge.network.config import CIFAR10_MEAN, CIFAR10_STD, CascadeConfig

PRESETS = {
    config.name: config
    for config in (
        CascadeConfig("DVT_Deit_small"),
        CascadeConfig(
            "DVT_T2t_vit_12", dim=256, depth=12, heads=4, mlp_ratio=2.0, qkv_bias=False, norm_eps=1e-5, stem="t2t"
        ),
        CascadeConfig(
            "DVT_T2t_vit_14", dim=384, depth=14, heads=6, mlp_ratio=3.0, qkv_bias=False, norm_eps=1e-5, stem="t2t"
        ),
        CascadeConfig(
            "dvt_cifar10",
            image_size=32,
            resize=32,
            grids=(2, 4, 8),
            num_classes=10,
            dim=128,
            depth=4,
            heads=4,
            mlp_ratio=2.0,
            stem="pyramid",
            reuse_hidden=32,
            reuse_width=16,
            mean=CIFAR10_MEAN,
            std=CIFAR10_STD,
        ),
        CascadeConfig(
            "dvt_tiny",  # for tests: everything the large ones have, in milliseconds
            image_size=32,
            resize=36,
            grids=(3, 4, 6),
            num_classes=10,
            dim=32,
            depth=2,
            heads=2,
            mlp_ratio=2.0,
            reuse_hidden=16,
            reuse_width=8,
            mean=CIFAR10_MEAN,
            std=CIFAR10_STD,
        ),
    )
}


def config_for(name: str, **changes: Any) -> CascadeConfig:
    """The preset of that name, or for "timm:<name>" the cascade over that timm VisionTransformer's dimensions.

    `changes` are `num_classes`, `depth` and `image_size`: what `config_from_timm` takes, fields of a preset.
    Raises ConfigError for an unknown name, and for a timm model that is not a plain ViT.
    """
    if name.startswith("timm:"):
        with packages(f"model {name}", "train"):
            from dvt_edge.network.timm_backbone import config_from_timm

        return config_from_timm(name.removeprefix("timm:"), **changes)
    if name not in PRESETS:
        raise ConfigError(f"unknown model {name!r}; known: {', '.join(PRESETS)}, timm:<name>")
    return PRESETS[name].replace(**changes)
