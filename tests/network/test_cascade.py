"""The network is the published one: same numbers from the same weights, same reuse, same switches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support import seeded
from torch import Tensor

from dvt_edge.errors import ConfigError
from dvt_edge.network.cascade import (
    Cascade,
    FeatureReuse,
    PatchStem,
    Performer,
    RelationReuse,
    patch_geometry,
    resample_matrix,
    sinusoid,
    stem_convolutions,
    with_class_token,
)
from dvt_edge.network.checkpoint import load_cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.presets import PRESETS, config_for

TINY = PRESETS["dvt_tiny"]
GRID_PAIRS = [(7, 10), (10, 14), (3, 4), (4, 6), (6, 8), (5, 10), (9, 10)]


@pytest.mark.parametrize("model", seeded.PUBLISHED)
def test_published_checkpoint_gives_the_published_logits(model: str, tmp_path: Path) -> None:
    """A published .pth.tar loads strictly and agrees with the published code to 1e-4 where its logits are known."""
    file = tmp_path / f"{model}.pth.tar"
    torch.save({"model_state_dict": seeded.state_dict(model), "flops": [1.0, 2.0, 3.0]}, file)
    cascade = load_cascade(file)
    file.unlink()
    assert cascade.config == PRESETS[model]
    with torch.inference_mode():
        exits = cascade(seeded.images())
    assert [tuple(z.shape) for z in exits] == [(2, 1000)] * 3
    assert all(bool(z.isfinite().all()) for z in exits)
    if model != "DVT_T2t_vit_14":
        for found, expected in zip(exits, seeded.logits(model), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def naive_resample(tokens: Tensor, old: int, new: int) -> Tensor:
    """(..., old², C) -> (..., new², C) by the operations of the paper, on a picture of the tokens."""
    picture = tokens.reshape(-1, old, old, tokens.shape[-1]).permute(0, 3, 1, 2)
    picture = F.adaptive_avg_pool2d(F.interpolate(picture, scale_factor=2, mode="nearest"), new)
    return picture.flatten(2).transpose(1, 2).reshape(*tokens.shape[:-2], new * new, -1)


@pytest.mark.parametrize(("old", "new"), GRID_PAIRS)
def test_feature_reuse_is_upsampling_and_pooling_of_tokens(old: int, new: int) -> None:
    """The constant matrix gives what nearest x2 and adaptive pooling give; the class token's row is zeros."""
    torch.manual_seed(0)
    module, tokens = FeatureReuse(TINY), torch.randn(2, 1 + old * old, TINY.dim)
    found = module(tokens, with_class_token(resample_matrix(old, new), 0.0))
    reduced = module.fc2(F.gelu(module.fc1(module.norm(tokens[:, 1:]))))
    expected = F.pad(naive_resample(reduced, old, new), (0, 0, 1, 0))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), GRID_PAIRS)
def test_relation_reuse_resamples_keys_then_queries(old: int, new: int) -> None:
    """The constant matrices give what the paper does: mix, then resample each axis, its class entry kept."""
    torch.manual_seed(0)
    module, relations = RelationReuse(4), torch.randn(2, 4, 1 + old * old, 1 + old * old)
    found = module(relations, with_class_token(resample_matrix(old, new), 1.0))

    def naive(rows: Tensor) -> Tensor:  # along the last axis but one
        return torch.cat((rows[..., :1, :], naive_resample(rows[..., 1:, :], old, new)), dim=-2)

    mixed = module.conv2(F.gelu(module.conv1(relations)))
    keys = naive(mixed.transpose(-2, -1)).transpose(-2, -1)
    torch.testing.assert_close(found, naive(keys), rtol=0, atol=1e-5)


@given(st.integers(1, 32), st.data())
def test_resampling_keeps_the_mean_level(old: int, data: Any) -> None:
    """Each new token is an average of old ones, for every pair of grids that a configuration accepts."""
    matrix = resample_matrix(old, data.draw(st.integers(old, 2 * old)))
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(len(matrix)))
    assert bool((matrix >= 0).all())


def names(config: CascadeConfig) -> set[str]:
    with torch.device("meta"):
        return set(Cascade(config).state_dict())


def test_a_reuse_switched_off_takes_its_parameters_along() -> None:
    """Without a reuse its parameters are gone, nothing else is, and norm2 and fc1 lose the reused features."""
    everything = names(TINY)
    for switch, part in (("feature_reuse", ".feature_reuse."), ("relation_reuse", ".relation_reuse.")):
        gone = everything - names(TINY.replace(**{switch: False}))
        assert gone and gone == {name for name in everything if part in name}
        assert not any(name.startswith("stages.0.") for name in gone)
    with_it, without = (Cascade(TINY.replace(feature_reuse=on)).stages[1].blocks[0] for on in (True, False))
    assert with_it.norm2.weight.shape == (TINY.dim + TINY.reuse_width,)
    assert with_it.fc1.weight.shape == (TINY.mlp_hidden, TINY.dim + TINY.reuse_width)
    assert without.norm2.weight.shape == (TINY.dim,) and without.fc1.weight.shape == (TINY.mlp_hidden, TINY.dim)


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("relations", [True, False])
def test_a_stage_reads_and_gives_exactly_the_state_it_reuses(features: bool, relations: bool) -> None:
    """Other tokens change stage 1 only under feature reuse, other relations only under relation reuse."""
    torch.manual_seed(0)
    cascade = Cascade(TINY.replace(feature_reuse=features, relation_reuse=relations)).eval()
    image = torch.randn(2, 3, TINY.image_size, TINY.image_size)
    n = 1 + TINY.grids[0] ** 2
    given_tokens, given_relations = torch.randn(2, n, TINY.dim), torch.randn(2, TINY.depth * TINY.heads, n, n)
    with torch.inference_mode():
        _, tokens, relation = cascade.stages[0](image)
        assert (tokens is not None, relation is not None) == (features, relations)
        assert tokens is None or tokens.shape == given_tokens.shape
        assert relation is None or relation.shape == given_relations.shape
        logits = cascade.stages[1](image, given_tokens, given_relations)[0]
        other_tokens = cascade.stages[1](image, given_tokens.flip(1), given_relations)[0]
        other_relations = cascade.stages[1](image, given_tokens, given_relations.flip(2))[0]
        assert cascade.stages[-1](image, torch.randn(2, 17, 32), torch.randn(2, 4, 17, 17))[1:] == (None, None)
    assert bool((logits != other_tokens).any()) == features
    assert bool((logits != other_relations).any()) == relations


def test_a_switch_leaves_the_first_exit_alone_and_moves_the_others() -> None:
    """With the same remaining weights, exit 0 is unchanged by the switches and every later exit is not."""
    torch.manual_seed(0)
    image = torch.randn(2, 3, TINY.image_size, TINY.image_size)
    whole = Cascade(TINY).eval()
    switched = Cascade(TINY.replace(relation_reuse=False)).eval()
    switched.load_state_dict({k: v for k, v in whole.state_dict().items() if k in switched.state_dict()})
    with torch.inference_mode():
        before, after = whole(image), switched(image)
    assert torch.equal(before[0], after[0])
    assert all(not torch.allclose(x, y, atol=1e-7) for x, y in list(zip(before, after, strict=True))[1:])


def test_reused_relations_are_part_of_the_relations_handed_on() -> None:
    """A layer's relation is what its softmax saw: the reused one is in it, layer by layer and head by head."""
    torch.manual_seed(0)
    stage = Cascade(TINY).eval().stages[1]
    reuse = stage.relation_reuse
    image = torch.randn(1, 3, TINY.image_size, TINY.image_size)
    n, channels = 1 + TINY.grids[0] ** 2, TINY.depth * TINY.heads
    tokens, relations = torch.randn(1, n, TINY.dim), torch.randn(1, channels, n, n)
    with torch.inference_mode():
        for module in (reuse.conv1, reuse.conv2):
            module.weight.zero_(), module.bias.zero_()
        plain = stage(image, tokens, relations)[2]
        reuse.conv2.bias.copy_(torch.arange(channels))  # one constant for each head of each layer: softmax ignores it
        shifted = stage(image, tokens, relations)[2]
    expected = torch.arange(channels).view(1, -1, 1, 1).expand_as(plain).float()
    torch.testing.assert_close(shifted - plain, expected, rtol=0, atol=1e-4)


@given(st.integers(1, 600), st.data())
def test_patches_fill_the_grid_exactly(size: int, data: Any) -> None:
    """The patch convolution makes grid x grid tokens of any image that is at least as large."""
    grid = data.draw(st.integers(1, size))
    patch, padding = patch_geometry(size, grid)
    assert (size + 2 * padding - patch) // patch + 1 == grid
    assert size + 2 * padding >= patch * grid


def test_published_patches() -> None:
    """32 px, 23 px with 3 of padding and 16 px at 224, as in the published DeiT model."""
    assert [patch_geometry(224, grid) for grid in (7, 10, 14)] == [(32, 0), (23, 3), (16, 0)]


def test_t2t_keeps_its_fixed_tensors_fixed() -> None:
    """The sinusoid and the random features of tokens-to-token are saved but never trained."""
    with torch.device("meta"):
        cascade = Cascade(PRESETS["DVT_T2t_vit_12"])
    fixed = {name for name, p in cascade.named_parameters() if not p.requires_grad}
    stems = {f"stages.{k}.stem.attention{i}.w" for k in range(3) for i in (1, 2)}
    assert fixed == stems | {f"stages.{k}.pos_embed" for k in range(3)}
    table = sinusoid(3, 4)[0]
    torch.testing.assert_close(table[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(table[2], torch.tensor([math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]))


def test_performer_attends_by_random_features_and_skips_through_v() -> None:
    """Linear attention equals its quadratic form; under the seeded weights it vanishes, so no golden sees it."""
    torch.manual_seed(0)
    block, x = Performer(20, dim=8, features=4).double(), torch.randn(2, 6, 20, dtype=torch.float64)
    with torch.no_grad():
        k, q, v = block.kqv(block.norm1(x)).split(8, dim=-1)

        def positive(t: Tensor) -> Tensor:
            return torch.exp(t @ block.w.t() - (t**2).sum(-1, keepdim=True) / 2) / math.sqrt(4)

        kernel = positive(q) @ positive(k).transpose(1, 2)  # (2, 6, 6), a query a row
        y = v + block.proj(kernel @ v / (kernel.sum(-1, keepdim=True) + 1e-8))
        torch.testing.assert_close(block(x), y + block.mlp(block.norm2(y)))
        assert not torch.allclose(y, v + block.proj(v.mean(1, keepdim=True)), atol=1e-2), "attention must matter here"


def test_every_trainable_parameter_gets_a_gradient() -> None:
    """Nothing that is trained is left out of the exits' losses, but for what no exit can see."""
    cascade = Cascade(PRESETS["dvt_cifar10"])
    torch.stack([z.square().sum() for z in cascade(torch.randn(2, 3, 32, 32))]).sum().backward()
    assert [name for name, p in cascade.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"grids": (3, 7)}, "(3, 7)"),
        ({"grids": (4, 4)}, "(4, 4)"),
        ({"grids": ()}, "no grids"),
        ({"heads": 5}, "dim 32"),
        ({"stem": "pool"}, "'pool'"),
        ({"resize": 8}, "resize 8"),
        ({"depth": 0}, "zero"),
        ({"depth": 10**9}, "at most"),
        ({"std": (0.2, 0.0, 0.2)}, "above 0"),
        ({"norm_eps": -1e-6}, "norm_eps"),
        ({"mean": (0.5, 0.5)}, "RGB"),
        ({"name": "a\nb"}, "a\\nb"),
        ({"stem": "t2t"}, "(3, 4, 6)"),
    ],
)
def test_impossible_configurations_are_refused_in_one_line(change: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TINY.replace(**change)
    assert found in str(caught.value) and "expected" in str(caught.value) and "\n" not in str(caught.value)


def test_configuration_survives_json_and_names_unknown_fields() -> None:
    assert all(CascadeConfig.from_dict(config.to_dict()) == config for config in PRESETS.values())
    with pytest.raises(ConfigError, match="colour"):
        CascadeConfig.from_dict({"name": "x", "colour": 1})
    with pytest.raises(ConfigError, match="wrong type"):
        CascadeConfig.from_dict({"name": "x", "dim": "wide"})
    with pytest.raises(ConfigError, match="DVT_Deit_small"):
        config_for("DVT_Deit_large")


def test_a_pyramid_stem_halves_the_image_until_a_token_is_two_pixels_wide() -> None:
    config = PRESETS["dvt_cifar10"]
    assert stem_convolutions(config, 8) == [(32, 2), (32, 1)]
    assert stem_convolutions(config, 2) == [(32, 2), (32, 1), (64, 2), (64, 1), (96, 2), (96, 1)]
    assert stem_convolutions(config, 32) == [(32, 1)]
    for grid in (1, 2, 3, 4, 6, 8, 16):
        stem = PatchStem(32, grid, 16, stem_convolutions(config, grid))
        assert stem(torch.zeros(2, 3, 32, 32)).shape == (2, grid * grid, 16)
        if grid in (1, 2, 4, 8, 16):
            assert stem.proj.kernel_size == (2, 2)
