"""Splitting: chained stages are the whole model; state is named and static; costs are counted."""

from __future__ import annotations

import pytest
import torch

from dvt_edge.network.cascade import Cascade
from dvt_edge.network.pixels import normalise
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.published import as_published
from dvt_edge.network.stages import StageChain, split


def cascade(name: str = "dvt_tiny", **changes: object) -> Cascade:
    torch.manual_seed(0)
    return Cascade(PRESETS[name].replace(**changes)).eval()


@pytest.mark.parametrize("feature_reuse", [True, False])
@pytest.mark.parametrize("relation_reuse", [True, False])
def test_chained_stages_equal_the_whole_model(feature_reuse: bool, relation_reuse: bool) -> None:
    model = cascade(feature_reuse=feature_reuse, relation_reuse=relation_reuse)
    pixels = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = model(normalise(pixels, model.config))
    for logits, (_, outputs) in zip(whole, StageChain(split(model)).run(pixels), strict=True):
        assert (outputs["logits"] - logits).abs().max() < 1e-5


def test_state_is_named_wired_and_static() -> None:
    stages = split(cascade())
    assert [[t.name for t in s.inputs] for s in stages] == [
        ["image"],
        ["image", "tokens_0", "relations_0"],
        ["image", "tokens_1", "relations_1"],
    ]
    assert [t.name for t in stages[2].outputs] == ["logits"]
    for stage in stages:
        outputs = stage(*stage.example_inputs())
        assert [tuple(t.shape) for t in outputs] == [spec.shape for spec in stage.outputs]
        assert all(spec.shape[0] == 1 for spec in (*stage.inputs, *stage.outputs))


def test_state_that_is_not_reused_is_left_out() -> None:
    stages = split(cascade(relation_reuse=False))
    assert [t.name for t in stages[1].inputs] == ["image", "tokens_0"]
    assert [t.name for s in split(cascade(feature_reuse=False, relation_reuse=False)) for t in s.inputs] == [
        "image"
    ] * 3


def test_state_may_be_float16_and_all_else_is_not() -> None:
    """Rounded where it is handed on, and what comes in goes on in float32."""
    model = cascade()
    for half, full in zip(split(model, state="float16"), split(model), strict=True):
        assert [t.dtype for t in half.outputs] == ["float32", *["float16"] * (len(half.outputs) - 1)]
        assert [t.dtype for t in half.inputs] == ["uint8", *["float16"] * (len(half.inputs) - 1)]
        inputs = half.example_inputs()
        assert [t.dtype for t in inputs] == [torch.uint8, *[torch.float16] * (len(inputs) - 1)]
        logits, *state = full(inputs[0], *(t.float() for t in inputs[1:]))
        same, *rounded = half(*inputs)
        assert torch.equal(same, logits)
        assert all(torch.equal(a, b.half()) for a, b in zip(rounded, state, strict=True))


def test_a_graph_takes_one_image() -> None:
    stage = split(Cascade(PRESETS["dvt_tiny"]))[0]
    with pytest.raises(ValueError, match=r"stage0: an image of shape \(2, 32, 32, 3\); expected \(1, 32, 32, 3\)"):
        stage(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))


def test_the_image_layout_takes_the_same_pixels_as_floats() -> None:
    model = cascade()
    pixels = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    a = split(model)[0](pixels)[0]
    b = split(model, "image")[0](pixels.permute(0, 3, 1, 2).float())[0]
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("name", "gmacs"),
    [
        ("DVT_Deit_small", (1.143, 2.500, 5.157)),
        ("DVT_T2t_vit_12", (0.468, 0.978, 2.009)),
        ("DVT_T2t_vit_14", (1.201, 2.618, 5.446)),
    ],
)
def test_published_form_costs_what_was_published(name: str, gmacs: tuple[float, ...]) -> None:
    """GMACs per stage of the published models, resampling by interpolation (which counts no MACs)."""
    with torch.device("meta"):
        stages = split(as_published(Cascade(PRESETS[name])))
        assert [s.macs() / 1e9 for s in stages] == pytest.approx(gmacs, abs=1.5e-3)


def test_the_constant_map_counts_its_own_matmuls() -> None:
    ours, published = split(cascade()), split(as_published(cascade()))
    assert ours[0].macs() == published[0].macs()
    assert ours[1].macs() > published[1].macs()


def test_published_form_gives_the_same_numbers() -> None:
    model = cascade()
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        for a, b in zip(model(x), as_published(model)(x), strict=True):
            assert (a - b).abs().max() < 1e-5


def test_parameters_of_the_stages_are_all_of_the_models() -> None:
    model = cascade()
    assert sum(s.parameter_count() for s in split(model)) == sum(p.numel() for p in model.parameters())


def test_performer_is_linear_attention_by_its_random_features() -> None:
    """Against the sum over tokens written out: the golden logits of the T2T models hardly depend on it."""
    from dvt_edge.network.cascade import Performer

    torch.manual_seed(0)
    block = Performer(12, dim=8, features=4).eval()
    x = torch.randn(1, 5, 12)
    with torch.inference_mode():
        k, q, v = block.kqv(block.norm1(x))[0].split(8, dim=-1)

        def features(row: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.exp(w @ row - row @ row / 2) / 2 for w in block.w])  # sqrt(4 features)

        rows = []
        for i in range(5):
            weights = torch.stack([features(q[i]) @ features(k[j]) for j in range(5)])
            rows.append((weights[:, None] * v).sum(0) / (weights.sum() + 1e-8))
        y = v + block.proj(torch.stack(rows))
        expected = y + block.mlp(block.norm2(y))
        assert (block(x)[0] - expected).abs().max() < 1e-5
        assert (block.proj(torch.stack(rows)).abs().max()) > 1e-2  # and the attention matters here
