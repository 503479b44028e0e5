"""A plain timm ViT becomes the backbone of every stage, weights included; anything else is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import LayerNorm, resample_abs_pos_embed, resample_patch_embed
from timm.models.vision_transformer import ParallelScalingBlock
from torch import Tensor, nn

from dvt_edge.errors import CheckpointError, ConfigError
from dvt_edge.network.checkpoint import load_cascade, save_cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.presets import config_for
from dvt_edge.network.timm_backbone import (
    cascade_from_timm,
    config_from_timm,
    default_grids,
    exact_ratio,
    require_plain,
)

SMALL = "test_vit"  # timm's own: 160 px, patch 16, dim 64, 6 blocks of 2 heads


@pytest.fixture(scope="module")
def vit() -> Any:
    """A timm model with every tensor drawn, so that none is told from another by luck."""
    torch.manual_seed(0)
    model = timm.create_model(SMALL).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.normal_(std=0.1)
    return model


@pytest.fixture(scope="module")
def vit_file(vit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("timm") / "vit.pth"
    torch.save({"model": vit.state_dict()}, file)
    return file


def refused(kind: type[Exception], make: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_dimensions_come_from_the_timm_model() -> None:
    """Width, depth, normalisation and crop are timm's for the name, through config_for too."""
    assert config_for("timm:vit_tiny_patch16_224") == CascadeConfig(
        "timm:vit_tiny_patch16_224",
        dim=192,
        depth=12,
        heads=3,
        mlp_ratio=4.0,
        norm_eps=1e-6,
        resize=248,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    deit = config_from_timm("deit_small_patch16_224.fb_in1k")
    assert (deit.dim, deit.heads, deit.mean) == (384, 6, CascadeConfig("x").mean)
    small = config_from_timm(SMALL)
    assert (small.image_size, small.grids, small.dim, small.mlp_hidden) == (160, (5, 8, 10), 64, 192)
    assert config_from_timm("vit_small_patch32_384").grids == (6, 9, 12)


def test_default_grids_are_possible_for_every_grid() -> None:
    """Whatever the model's own grid, the configuration accepts the default and ends on it."""
    for grid in range(1, 65):
        config = CascadeConfig("x", image_size=640, resize=640, grids=default_grids(640, grid))
        assert config.grids[-1] == grid


def test_the_mlp_ratio_gives_the_hidden_width_again() -> None:
    """No rounding of hidden / dim loses a feature, whatever the two are."""
    for dim in range(1, 400, 7):
        for hidden in range(1, 4 * dim, 11):
            assert int(dim * exact_ratio(hidden, dim)) == hidden


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet18", "class ResNet"),
        ("deit_tiny_distilled_patch16_224", "class VisionTransformerDistilled"),
        ("vit_relpos_small_patch16_224", "class VisionTransformerRelPos"),
        ("eva02_tiny_patch14_224", "class Eva"),
        ("vit_tiny_r_s16_p8_224", "patch embedding HybridEmbed"),
        ("vit_base_patch16_clip_224", "pre-norm (LayerNorm)"),
        ("deit3_small_patch16_224", "a class token without position embedding"),
        ("vit_small_patch14_dinov2", "layer scale (LayerScale)"),
        ("vit_medium_patch16_gap_240", "no class token"),
    ],
)
def test_a_model_that_is_not_plain_is_refused_by_its_property(name: str, found: str) -> None:
    """One line names what was found in the model and what was expected."""
    message = refused(ConfigError, lambda: config_from_timm(name))
    assert name in message and found in message and "expected" in message


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"qk_norm": True}, "qk_norm"),
        ({"scale_attn_norm": True}, "scale_attn_norm"),
        ({"scale_mlp_norm": True}, "scale_mlp_norm"),
        ({"attn_layer": "diff"}, "attention DiffAttention"),
        ({"init_values": 0.1}, "layer scale"),
        ({"reg_tokens": 2}, "2 register tokens"),
        ({"global_pool": "avg"}, "global_pool 'avg'"),
        ({"global_pool": "map"}, "global_pool 'map'"),
        ({"fc_norm": True}, "fc_norm"),
        ({"pre_norm": True}, "pre-norm"),
        ({"pos_embed": "none"}, "no position embedding"),
        ({"act_layer": "quick_gelu"}, "activation QuickGELU"),
        ({"act_layer": "gelu_tanh"}, "activation"),
        ({"mlp_layer": timm.layers.SwiGLU}, "MLP SwiGLU"),
        ({"norm_layer": "rmsnorm"}, "RmsNorm"),
        ({"embed_norm_layer": LayerNorm}, "a norm in the patch embedding"),
        ({"in_chans": 1}, "1 input channels"),
        ({"img_size": (160, 128)}, "image (160, 128)"),
        ({"proj_bias": False}, "biases"),
        ({"block_fn": ParallelScalingBlock}, "block ParallelScalingBlock"),
    ],
)
def test_every_property_beyond_a_plain_vit_is_found(options: dict[str, Any], found: str) -> None:
    """Each of timm's switches that a stage of ours lacks is refused, never dropped."""
    model = timm.create_model(SMALL, **options)
    assert found in refused(ConfigError, lambda: require_plain(model, SMALL))
    assert require_plain(timm.create_model(SMALL), SMALL)


def test_unknown_names_and_tags_are_refused() -> None:
    assert "'vit_absent'" in refused(ConfigError, lambda: config_from_timm("vit_absent"))
    assert "'hf-hub:a/b'" in refused(ConfigError, lambda: config_from_timm("hf-hub:a/b"))
    assert "r160_in1k" in refused(ConfigError, lambda: config_from_timm(f"{SMALL}.absent"))
    assert "num_classes" in refused(ConfigError, lambda: config_from_timm("vit_base_patch16_224.dino"))


def test_a_stage_on_the_models_own_grid_gives_its_logits(vit: Any, vit_file: Path) -> None:
    """The first stage, which reuses nothing, is the timm model itself where the grids agree."""
    torch.manual_seed(1)
    cascade = cascade_from_timm(SMALL, grids=(10, 14), pretrained_file=vit_file).eval()
    image = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(cascade(image)[0], vit(image), rtol=0, atol=1e-4)


def test_every_stage_gets_the_weights_resampled_to_its_grid(vit: Any, vit_file: Path) -> None:
    """Patch kernels and position embeddings by timm's own resampling, all other tensors as they are."""
    cascade = cascade_from_timm(SMALL, pretrained_file=vit_file)
    source = vit.state_dict()
    for index, (grid, patch) in enumerate(((5, 32), (8, 20), (10, 16))):
        stage = cascade.stages[index].state_dict()
        kernel = resample_patch_embed(source["patch_embed.proj.weight"], [patch, patch])
        assert torch.equal(stage["stem.proj.weight"], kernel)
        assert torch.equal(stage["pos_embed"], resample_abs_pos_embed(source["pos_embed"], [grid, grid]))
        for ours, theirs in (
            ("cls_token", "cls_token"),
            ("stem.proj.bias", "patch_embed.proj.bias"),
            ("blocks.3.norm1.weight", "blocks.3.norm1.weight"),
            ("blocks.3.attn.qkv.weight", "blocks.3.attn.qkv.weight"),
            ("blocks.3.fc2.bias", "blocks.3.mlp.fc2.bias"),
            ("norm.weight", "norm.weight"),
            ("head.weight", "head.weight"),
        ):
            assert torch.equal(stage[ours], source[theirs])


def test_what_reuse_adds_starts_without_effect(vit: Any, vit_file: Path) -> None:
    """In stages with feature reuse the copied part of norm2 and fc1 is intact; beside it are ones and zeros."""
    cascade, source = cascade_from_timm(SMALL, pretrained_file=vit_file), vit.state_dict()
    dim, width = cascade.config.dim, cascade.config.reuse_width

    def split(tensor: Tensor) -> tuple[Tensor, Tensor]:
        assert tensor.shape[-1] == dim + width
        return tensor[..., :dim], tensor[..., dim:]

    for stage in list(cascade.stages)[1:]:
        for index, block in enumerate(stage.blocks):
            for tensor, name, filler in (
                (block.norm2.weight, "norm2.weight", 1.0),
                (block.norm2.bias, "norm2.bias", 0.0),
                (block.fc1.weight, "mlp.fc1.weight", 0.0),
            ):
                copied, added = split(tensor)
                assert torch.equal(copied, source[f"blocks.{index}.{name}"])
                assert bool((added == filler).all())


def test_another_class_count_keeps_the_backbone_and_draws_the_heads(vit: Any, vit_file: Path) -> None:
    cascade = cascade_from_timm(SMALL, num_classes=7, pretrained_file=vit_file)
    assert cascade.config.num_classes == 7
    for stage in cascade.stages:
        assert stage.head.weight.shape == (7, 64) and 0 < float(stage.head.weight.std()) < 0.05
        assert torch.equal(stage.blocks[0].attn.qkv.weight, vit.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_with_other_classes_than_the_name_keeps_its_head(suffix: str, tmp_path: Path) -> None:
    """A fine-tuned model's file brings its own head and class count."""
    tuned = timm.create_model(SMALL, num_classes=5)
    nn.init.normal_(tuned.head.weight)
    file = tmp_path / f"tuned{suffix}"
    if suffix == ".pth":
        torch.save(tuned.state_dict(), file)
    else:
        from safetensors.torch import save_file

        save_file(tuned.state_dict(), file)
    cascade = cascade_from_timm(SMALL, pretrained_file=file)
    assert cascade.config.num_classes == 5
    assert all(torch.equal(stage.head.weight, tuned.head.weight) for stage in cascade.stages)


def test_a_file_without_a_head_needs_a_class_count(tmp_path: Path) -> None:
    file = tmp_path / "headless.pth"
    torch.save(timm.create_model(SMALL, num_classes=0).state_dict(), file)
    assert "num_classes" in refused(ConfigError, lambda: cascade_from_timm(SMALL, pretrained_file=file))
    assert cascade_from_timm(SMALL, num_classes=3, pretrained_file=file).config.num_classes == 3


@pytest.mark.parametrize("num_classes", [None, 7])
def test_weights_that_do_not_fit_are_refused(num_classes: int | None, vit: Any, tmp_path: Path) -> None:
    """A missing tensor, another model's file, no file and no weights at all: one line, even for another head."""

    def load(file: Path) -> str:
        return refused(CheckpointError, lambda: cascade_from_timm(SMALL, num_classes=num_classes, pretrained_file=file))

    weights = vit.state_dict()
    del weights["blocks.2.mlp.fc1.weight"]
    torch.save(weights, tmp_path / "missing.pth")
    load(tmp_path / "missing.pth")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    load(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("weights")
    load(tmp_path / "text.pth")
    assert "no such file" in load(tmp_path / "absent.pth")


def test_pretrained_takes_timms_own_road(monkeypatch: pytest.MonkeyPatch, vit: Any) -> None:
    """pretrained=True asks timm for the name's published weights and copies what it gets."""
    asked: list[tuple[str, dict[str, Any]]] = []
    create = timm.create_model

    def fetch(name: str, **options: Any) -> Any:
        asked.append((name, options))
        return vit if options.get("pretrained") else create(name, **options)

    monkeypatch.setattr(timm, "create_model", fetch)
    cascade = cascade_from_timm(f"{SMALL}.r160_in1k", pretrained=True)
    assert asked[-1] == (
        f"{SMALL}.r160_in1k",
        {"pretrained": True, "pretrained_cfg_overlay": None, "num_classes": None},
    )
    assert torch.equal(cascade.stages[2].norm.weight, vit.norm.weight)


def test_a_cascade_over_a_timm_model_runs_trains_and_survives_a_file(tmp_path: Path, vit_file: Path) -> None:
    """It gives finite logits and gradients, and its file loads without timm's name being looked up."""
    cascade = cascade_from_timm(SMALL, num_classes=4, grids=(3, 5), pretrained_file=vit_file)
    exits = cascade(torch.randn(1, 3, 160, 160))
    assert [tuple(z.shape) for z in exits] == [(1, 4)] * 2 and all(bool(z.isfinite().all()) for z in exits)
    torch.stack([z.square().sum() for z in exits]).sum().backward()
    extra = cascade.stages[1].blocks[0].fc1.weight.grad[:, cascade.config.dim :]
    assert bool((extra != 0).any()), "reuse could never be learnt"
    save_cascade(cascade, tmp_path / "a.safetensors")
    assert load_cascade(tmp_path / "a.safetensors").config == cascade.config
