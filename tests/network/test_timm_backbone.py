"""A timm ViT becomes the backbone of every stage, weights included; what no stage has is refused by name."""

from __future__ import annotations

import os
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
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import load_cascade, save_cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.presets import config_for
from dvt_edge.network.stages import StageChain, split
from dvt_edge.network.timm_backbone import (
    config_from_timm,
    config_of,
    copy_backbone,
    default_grids,
    exact_ratio,
    load_backbone,
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


def as_timm_1_0_20(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading of a file as the oldest timm that is allowed has it: unpickling unless one says otherwise."""
    load = timm.models._helpers.load_state_dict

    def older(checkpoint_path: str, use_ema: bool = True, device: str = "cpu", weights_only: bool = False) -> Any:
        return load(checkpoint_path, use_ema, device, weights_only)

    for module in (timm.models, timm.models._builder):
        monkeypatch.setattr(module, "load_state_dict", older)


class Runs:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def cascade_of(file: Path | None, name: str = SMALL, grids: tuple[int, ...] | None = None, **options: Any) -> Cascade:
    """As training makes it: the configuration of a timm model, and then weights in every stage."""
    config = config_from_timm(name, **options)
    cascade = Cascade(config.replace(grids=grids or config.grids))
    load_backbone(cascade, name, file)
    return cascade


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
    assert config_from_timm("vit_small_patch32_224.augreg_in21k").grids == (4, 5, 7)
    assert config_from_timm("vit_small_patch8_224.dino", num_classes=5).grids == (14, 20, 28)


def test_depth_and_image_size_are_the_callers(vit: Any, vit_file: Path) -> None:
    """The first blocks alone, and an image of another size with the grids that follow from the patches."""
    config = config_from_timm("vit_small_patch14_dinov2", num_classes=81, depth=6, image_size=224)
    assert (config.depth, config.image_size, config.grids, config.resize) == (6, 224, (8, 12, 16), 224)
    assert config_from_timm("vit_so400m_patch14_siglip_384", num_classes=2).image_size == 27 * 14, "whole patches"
    for depth in (0, 7):
        assert "6 blocks" in refused(ConfigError, lambda depth=depth: config_from_timm(SMALL, depth=depth))
    cascade = cascade_of(vit_file, depth=2, image_size=96, num_classes=3).eval()
    assert [len(stage.blocks) for stage in cascade.stages] == [2] * 3 and cascade.config.grids == (3, 5, 6)
    for index, block in enumerate(cascade.stages[2].blocks):
        assert torch.equal(block.attn.qkv.weight, vit.blocks[index].attn.qkv.weight)
    assert [tuple(z.shape) for z in cascade(torch.randn(1, 3, 96, 96))] == [(1, 3)] * 3


def test_weights_go_into_a_cascade_that_is_there(vit: Any, vit_file: Path) -> None:
    """As training does: reuse and name are the cascade's own; another width or pooling is refused by the field."""
    config = config_from_timm(SMALL, depth=3).replace(name="mine", relation_reuse=False, grids=(5, 10), resize=200)
    cascade = Cascade(config)
    load_backbone(cascade, SMALL, vit_file)
    assert torch.equal(cascade.stages[1].blocks[2].fc2.weight, vit.blocks[2].mlp.fc2.weight)
    for change in ({"pool": "mean"}, {"dim": 32}, {"depth": 7}):
        other = Cascade(config.replace(**change))
        message = refused(ConfigError, lambda other=other: load_backbone(other, SMALL, vit_file))
        assert next(iter(change)) in message


def test_default_grids_are_possible_for_every_grid() -> None:
    """Whatever the model's own grid, the configuration accepts the default and ends on it."""
    for grid in range(1, 65):
        config = CascadeConfig("x", image_size=640, resize=640, grids=default_grids(grid))
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
        ("vit_base_patch16_rpn_224", "block ResPostBlock"),
        ("vit_giant_patch14_dinov2", "MLP GluMlp"),
        ("aimv2_large_patch14_224", "a norm in the patch embedding (RmsNorm)"),
        ("vit_dwee_patch16_reg1_gap_256", "attention DiffAttention"),
    ],
)
def test_a_model_that_is_not_plain_is_refused_by_its_property(name: str, found: str) -> None:
    """One line names what was found in the model and what was expected."""
    message = refused(ConfigError, lambda: config_from_timm(name))
    assert name in message and found in message and "expected" in message


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"scale_attn_norm": True}, "scale_attn_norm"),
        ({"scale_mlp_norm": True}, "scale_mlp_norm"),
        ({"attn_layer": "diff"}, "attention DiffAttention"),
        ({"global_pool": "max"}, "global_pool 'max'"),
        ({"global_pool": "prr"}, "global_pool 'prr'"),
        ({"pool_include_prefix": True, "global_pool": "avg"}, "registers too"),
        ({"global_pool": "map", "final_norm": False}, "without a norm before it"),
        ({"pos_embed": "none"}, "no position embedding"),
        ({"act_layer": "silu"}, "activation SiLU"),
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
    cascade = cascade_of(vit_file, grids=(10, 14)).eval()
    image = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(cascade(image)[0], vit(image), rtol=0, atol=1e-4)


KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # timm's name, switches, what ours says
    "LayerScale, patch 14": ("vit_small_patch14_dinov2", {}, {}),
    "registers without position": ("vit_small_patch14_reg4_dinov2", {}, {"registers": 4}),
    "class token without position": ("deit3_small_patch16_224", {}, {}),
    "pre-norm, quick GELU": (
        "vit_base_patch32_clip_quickgelu_224",
        {},
        {"pre_norm": True, "activation": "quick-gelu"},
    ),
    "attention pooling, no class token": (
        "vit_base_patch16_siglip_224",
        {},
        {"class_token": False, "pool": "attention"},
    ),
    "mean of normed tokens": ("vit_base_patch16_siglip_gap_224", {}, {"class_token": False, "pool": "norm-mean"}),
    "mean, fc_norm, registers": (
        "vit_medium_patch16_reg4_gap_256",
        {},
        {"class_token": False, "registers": 4, "pool": "mean"},
    ),
    "pixels beyond the last patch": (
        "vit_so400m_patch14_siglip_384",
        {},
        {"class_token": False, "pool": "attention", "image_size": 378},
    ),
    "scale norms": ("beit3_base_patch16_224", {}, {"scale_norms": True, "pool": "mean"}),
    "no final norm": ("vit_intern300m_patch14_448", {}, {"final_norm": False}),
    "patch 8": ("vit_small_patch8_224", {}, {}),
    "patch 32": ("vit_small_patch32_224", {}, {}),
    "qk_norm": (SMALL, {"qk_norm": True}, {"qk_norm": True}),
    "GELU by tanh": (SMALL, {"act_layer": "gelu_tanh"}, {"activation": "gelu-tanh"}),
    "fc_norm of the class token": (SMALL, {"fc_norm": True}, {}),
    "no bias of queries, keys and values": (SMALL, {"qkv_bias": False, "global_pool": "map"}, {"pool": "attention"}),
    "everything at once": (
        SMALL,
        {"reg_tokens": 3, "init_values": 0.1, "qk_norm": True, "pre_norm": True, "global_pool": "avg"},
        {"registers": 3, "qk_norm": True, "pre_norm": True, "pool": "mean"},
    ),
}


def drawn(name: str, **options: Any) -> Any:
    """A timm model of two blocks with every tensor drawn; norms' weights around one."""
    torch.manual_seed(0)
    model = timm.create_model(name, depth=2, num_classes=7, **options).eval()
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            tensor.normal_(mean=float("norm" in key and key.endswith("weight")), std=0.05)
    return require_plain(model, name)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_vit_gives_timms_own_logits(kind: str) -> None:
    """Before reuse is added a stage on the native grid is timm's forward to 1e-4, whatever kind of ViT it is."""
    name, options, said = KINDS[kind]
    model = drawn(name, **options)
    grid = model.patch_embed.grid_size[0]
    cascade = Cascade(config_of(model, name, grids=(grid,))).eval()
    copy_backbone(model, cascade)
    kinds = ("class_token", "registers", "pre_norm", "qk_norm", "scale_norms", "activation", "pool", "final_norm")
    found = {k: v for k, v in cascade.config.to_dict().items() if k in kinds}
    assert found == {k: v for k, v in said.items() if k in kinds}, "and nothing beyond what the model has"
    size = cascade.config.image_size
    assert size == said.get("image_size", model.patch_embed.img_size[0])
    image = torch.randn(2, 3, *model.patch_embed.img_size)
    with torch.inference_mode():
        expected = model(image)
        torch.testing.assert_close(cascade(image[..., :size, :size])[0], expected, rtol=0, atol=1e-4)
    assert float(expected.std()) > 0.01, "the logits differ"


@pytest.mark.parametrize(
    "kind", ["mean, fc_norm, registers", "attention pooling, no class token", "everything at once"]
)
def test_reuse_and_stages_follow_the_tokens_of_every_kind(kind: str) -> None:
    """Registers and missing class tokens: the resampling leaves the prefix alone, and the split stages agree."""
    name, options, _ = KINDS[kind]
    model = drawn(name, **options)
    cascade = Cascade(config_of(model, name, grids=(3, 4))).eval()
    copy_backbone(model, cascade)
    prefix, second = cascade.config.prefix_tokens, cascade.stages[1]
    assert second.relation_resample.shape == (prefix + 16, prefix + 9)
    assert torch.equal(second.relation_resample[:prefix, :prefix], torch.eye(prefix))
    assert not second.token_resample[:prefix].any()
    stages = split(cascade)
    image = torch.randint(0, 256, (1, cascade.config.image_size, cascade.config.image_size, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (cascade.config.mean, cascade.config.std))
    with torch.inference_mode():
        expected = cascade((image.permute(0, 3, 1, 2) / 255 - mean) / std)
    for (_, outputs), logits in zip(StageChain(stages).run(image), expected, strict=True):
        torch.testing.assert_close(outputs["logits"], logits, rtol=0, atol=1e-4)


def test_every_stage_gets_the_weights_resampled_to_its_grid(vit: Any, vit_file: Path) -> None:
    """Patch kernels and position embeddings by timm's own resampling, all other tensors as they are."""
    cascade = cascade_of(vit_file)
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
    cascade, source = cascade_of(vit_file), vit.state_dict()
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
                scale = (dim / (dim + width)) ** 0.5 if name == "norm2.weight" else 1
                assert torch.equal(copied, source[f"blocks.{index}.{name}"] * scale)
                assert bool((added == filler).all())


@pytest.mark.parametrize(("features", "atol"), [(False, 1e-4), (True, 0.05)], ids=["relations", "both"])
def test_each_stage_starts_as_the_vit_on_its_grid(features: bool, atol: float, vit: Any, tmp_path: Path) -> None:
    """To float32's rounding with relations alone; wider norms, whose tokens have no mean of 0, come close."""
    weights, vit_file = vit.state_dict(), tmp_path / "vit.pth"
    sharp = {name: 8 * tensor if "qkv.weight" in name else tensor for name, tensor in weights.items()}
    torch.save(sharp, vit_file)  # attention that an added relation would change
    cascade = Cascade(config_from_timm(SMALL).replace(grids=(5, 10), feature_reuse=features)).eval()
    load_backbone(cascade, SMALL, vit_file)
    alone = cascade_of(vit_file, grids=(10,)).eval()
    image = torch.randn(4, 3, 160, 160)
    with torch.inference_mode():
        found, expected = cascade(image)[1], alone(image)[0]
    assert float((found - expected).norm() / expected.norm()) < atol


def test_another_class_count_keeps_the_backbone_and_draws_the_heads(vit: Any, vit_file: Path) -> None:
    cascade = cascade_of(vit_file, num_classes=7)
    assert cascade.config.num_classes == 7
    for stage in cascade.stages:
        assert stage.head.weight.shape == (7, 64) and 0 < float(stage.head.weight.std()) < 0.05
        assert torch.equal(stage.blocks[0].attn.qkv.weight, vit.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_with_other_classes_than_the_name_keeps_its_head(suffix: str, tmp_path: Path) -> None:
    """A fine-tuned model's file brings its own head into a cascade of its class count."""
    tuned = timm.create_model(SMALL, num_classes=5)
    nn.init.normal_(tuned.head.weight)
    file = tmp_path / f"tuned{suffix}"
    if suffix == ".pth":
        torch.save(tuned.state_dict(), file)
    else:
        from safetensors.torch import save_file

        save_file(tuned.state_dict(), file)
    cascade = cascade_of(file, num_classes=5)
    assert all(torch.equal(stage.head.weight, tuned.head.weight) for stage in cascade.stages)


def test_a_file_in_open_clips_names_is_taken(tmp_path: Path) -> None:
    """timm renames what it finds there; its projection is a head of as many classes."""
    name = "vit_xsmall_patch16_clip_224"
    theirs = timm.create_model(name, num_classes=5).state_dict()
    swaps = {"patch_embed.proj": "conv1", "norm_pre": "ln_pre", "blocks.": "transformer.resblocks.", "norm1": "ln_1"}
    swaps |= {
        "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "fc1": "c_fc",
        "fc2": "c_proj",
    }
    weights = {}
    for key, value in theirs.items():
        for ours, other in swaps.items():
            key = key.replace(ours, other)
        weights[f"visual.{key}"] = value
    weights["visual.class_embedding"] = weights.pop("visual.cls_token")[0, 0]
    weights["visual.positional_embedding"] = weights.pop("visual.pos_embed")[0]
    weights["visual.ln_post.weight"] = weights.pop("visual.norm.weight")
    weights["visual.ln_post.bias"] = weights.pop("visual.norm.bias")
    weights["visual.proj"] = weights.pop("visual.head.weight").T.contiguous()
    del weights["visual.head.bias"]
    torch.save(weights, tmp_path / "clip.pth")
    cascade = cascade_of(tmp_path / "clip.pth", name, num_classes=5)
    assert all(torch.equal(stage.head.weight, theirs["head.weight"]) for stage in cascade.stages)
    assert torch.equal(cascade.stages[0].blocks[3].fc1.weight, theirs["blocks.3.mlp.fc1.weight"])


def test_a_file_without_a_head_gives_the_backbone_alone(tmp_path: Path) -> None:
    headless = timm.create_model(SMALL, num_classes=0)
    torch.save(headless.state_dict(), tmp_path / "headless.pth")
    cascade = cascade_of(tmp_path / "headless.pth", num_classes=3)
    for stage in cascade.stages:
        assert stage.head.weight.shape == (3, 64) and 0 < float(stage.head.weight.std()) < 0.05
        assert torch.equal(stage.blocks[5].fc2.weight, headless.blocks[5].mlp.fc2.weight)


@pytest.mark.parametrize("num_classes", [None, 7])
def test_weights_that_do_not_fit_are_refused(num_classes: int | None, vit: Any, tmp_path: Path) -> None:
    """A missing tensor, another model's file, no file and no weights at all: one line, even for another head."""

    def load(file: Path) -> str:
        return refused(CheckpointError, lambda: cascade_of(file, num_classes=num_classes))

    weights = vit.state_dict()
    del weights["blocks.2.mlp.fc1.weight"]
    torch.save(weights, tmp_path / "missing.pth")
    load(tmp_path / "missing.pth")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    load(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("weights")
    load(tmp_path / "text.pth")
    assert "no such file" in load(tmp_path / "absent.pth")


@pytest.mark.parametrize("older", [False, True])
def test_nothing_in_a_file_of_weights_is_run(
    older: bool, vit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever timm's default is: the file is read once, by a reader of tensors alone."""
    if older:
        as_timm_1_0_20(monkeypatch)
    torch.save(vit.state_dict() | {"head.more": Runs(tmp_path / "ran")}, tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match=r"vit\.pth: timm could not load the weights \(.*weights_only") as caught:
        cascade_of(tmp_path / "vit.pth")
    assert not (tmp_path / "ran").exists() and "\n" not in str(caught.value)
    read, load = [], torch.load

    def spied(*arguments: Any, **options: Any) -> Any:
        read.append(options.get("weights_only"))
        return load(*arguments, **options)

    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    monkeypatch.setattr(torch, "load", spied)
    cascade_of(tmp_path / "vit.pth")
    assert read == [True]


@pytest.mark.parametrize("content", [{"a": 1}, {"model": "vit"}, [1, 2], {"head.bias": torch.tensor(1.0)}, {}])
def test_a_file_of_other_things_than_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match=r"vit\.pth: timm could not load the weights \(") as caught:
        cascade_of(tmp_path / "vit.pth")
    assert "\n" not in str(caught.value)


def test_pretrained_takes_timms_own_road(monkeypatch: pytest.MonkeyPatch, vit: Any) -> None:
    """Without a file timm is asked for the name's published weights, and what it gets is copied."""
    asked: list[tuple[str, dict[str, Any]]] = []
    create = timm.create_model

    def fetch(name: str, **options: Any) -> Any:
        asked.append((name, options))
        return vit if options.get("pretrained") else create(name, **options)

    monkeypatch.setattr(timm, "create_model", fetch)
    cascade = cascade_of(None, f"{SMALL}.r160_in1k")
    assert asked[-1] == (
        f"{SMALL}.r160_in1k",
        {"pretrained": True, "pretrained_cfg_overlay": None, "num_classes": None},
    )
    assert torch.equal(cascade.stages[2].norm.weight, vit.norm.weight)


def test_a_cascade_over_a_timm_model_runs_trains_and_survives_a_file(tmp_path: Path, vit_file: Path) -> None:
    """It gives finite logits and gradients, and its file loads without timm's name being looked up."""
    cascade = cascade_of(vit_file, num_classes=4, grids=(3, 5))
    exits = cascade(torch.randn(1, 3, 160, 160))
    assert [tuple(z.shape) for z in exits] == [(1, 4)] * 2 and all(bool(z.isfinite().all()) for z in exits)
    torch.stack([z.square().sum() for z in exits]).sum().backward()
    extra = cascade.stages[1].blocks[0].fc1.weight.grad[:, cascade.config.dim :]
    assert bool((extra != 0).any()), "reuse could never be learnt"
    save_cascade(cascade, tmp_path / "a.safetensors")
    assert load_cascade(tmp_path / "a.safetensors").config == cascade.config
