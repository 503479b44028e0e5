"""Layers rounded by themselves: exact where nothing is on, additive in what they cost, and float where kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.needs import needs
from torch import Tensor

from dvt_edge.cli.app import main
from dvt_edge.data.reading import sample
from dvt_edge.errors import ExportError
from dvt_edge.exporting.emulation import Emulation, answers
from dvt_edge.exporting.outliers import normalised, scalable, smoothed
from dvt_edge.exporting.pipeline import export
from dvt_edge.exporting.recipes import inside, keeping, recipe_for, smoothing
from dvt_edge.exporting.sensitivity import patterns, sensitivity
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS

INT8 = recipe_for("onnx-int8")


def tiny(outlier: float = 1.0) -> Cascade:
    """dvt_tiny with weights large enough to matter; one channel of the first block's second norm stands out."""
    torch.manual_seed(0)
    cascade = Cascade(PRESETS["dvt_tiny"]).eval()
    with torch.no_grad():
        for parameter in cascade.parameters():
            if parameter.ndim == 2:
                parameter.mul_(1 / (parameter.std() * parameter.shape[1] ** 0.5))
        block = cascade.stages[1].blocks[0]
        block.norm2.weight[3] *= outlier
        block.fc1.weight[:, 3] /= outlier
    return cascade


def test_smoothing_is_exact_bit_by_bit_and_leaves_the_given_cascade_alone() -> None:
    cascade, images = tiny(60.0), list(normalised(sample("cifar10-test").first(8), PRESETS["dvt_tiny"]))
    before = {name: value.clone() for name, value in cascade.state_dict().items()}
    made = smoothed(cascade, images)
    assert all(torch.equal(value, before[name]) for name, value in cascade.state_dict().items())
    changed = [name for name, value in made.state_dict().items() if not torch.equal(value, before[name])]
    assert (
        len(list(scalable(cascade))) > 10 and any("norm2" in n for n in changed) and any("proj" in n for n in changed)
    )
    with torch.inference_mode():
        for batch in images:
            assert all(torch.equal(a, b) for a, b in zip(cascade(batch), made(batch), strict=True))


@pytest.mark.parametrize("norms", [{"qk_norm": True}, {"scale_norms": True}, {"qkv_bias": False}], ids=str)
def test_smoothing_is_exact_whatever_attention_has(norms: dict[str, bool]) -> None:
    config = PRESETS["dvt_tiny"].replace(**norms)
    torch.manual_seed(0)
    cascade, images = Cascade(config).eval(), list(normalised(sample("cifar10-test").first(4), config))
    with torch.no_grad():
        for name, parameter in cascade.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    made = smoothed(cascade, images)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(cascade(images[0]), made(images[0]), strict=True))


def test_values_become_as_wide_as_queries_and_keys_which_share_theirs_out() -> None:
    """XNNPACK rounds what `qkv` gives in one range: narrow values beside wide queries had few levels."""
    cascade, images = tiny(), list(normalised(sample("cifar10-test").first(8), PRESETS["dvt_tiny"]))
    dim, attention = cascade.config.dim, cascade.stages[1].blocks[0].attn
    with torch.no_grad():
        for rows, factor in ((slice(dim), 16.0), (slice(dim, 2 * dim), 1 / 16), (slice(2 * dim, None), 1 / 64)):
            attention.qkv.weight[rows] *= factor
            attention.qkv.bias[rows] *= factor
    seen: list[Tensor] = []
    made = smoothed(cascade, images)
    made.stages[1].blocks[0].attn.qkv.register_forward_hook(lambda m, i, output: seen.append(output))
    with torch.inference_mode():
        made(images[0])
    q, k, v = (part.abs().amax() for part in seen[0].chunk(3, dim=-1))
    assert 1 / 4 < q / k < 4 and 1 / 4 < v / torch.maximum(q, k) < 1.1


def test_an_outlier_is_found_and_smoothing_takes_it_away() -> None:
    cal, measured = sample("cifar10-test").first(16), sample("cifar10-test").take(range(16, 32))
    found = sensitivity(tiny(300.0), INT8, cal, measured)
    assert found.groups[0].name == "stage1.blocks.0.fc1"
    assert found.groups[0].without[1].sqnr_db > found.everything[1].sqnr_db + 3
    after = sensitivity(tiny(300.0), smoothing(INT8, 0.5), cal, measured)
    assert after.everything[1].sqnr_db > found.everything[1].sqnr_db + 3


def test_an_export_moves_outliers_too(tmp_path: Path) -> None:
    needs("onnxruntime")
    options: dict[str, Any] = {"calibration": sample("cifar10-test").first(48), "accept_degraded": True}
    plain = export(tiny(300.0), "onnx-int8", tmp_path / "plain", **options)
    moved = export(tiny(300.0), "onnx-int8", tmp_path / "moved", smooth=0.5, **options)
    before, after = (b.manifest.verification.exits[1].sqnr_db for b in (plain, moved))
    assert before is not None and after is not None and after > before + 3
    for target in ("onnx-fp32", "executorch-xnnpack-int8-dynamic", "coreml-w8"):
        with pytest.raises(ExportError, match=f"target {target} sets no ranges of activations"):
            export(tiny(), target, tmp_path / "none", smooth=0.5)


def test_what_is_proposed_reaches_the_aim_and_no_more_is_kept_than_needed() -> None:
    cal, measured = sample("cifar10-test").first(16), sample("cifar10-test").take(range(16, 32))
    plain = sensitivity(tiny(300.0), INT8, cal, measured, aim_db=0.0)
    assert plain.keep_float == () and plain.reached and plain.kept == plain.everything
    low = min(one.sqnr_db for one in plain.everything)
    found = sensitivity(tiny(300.0), INT8, cal, measured, aim_db=low + 3)
    assert found.reached and found.keep_float[0] == "stage1.blocks.0.fc1"
    assert min(one.sqnr_db for one in found.kept) >= low + 3
    assert not sensitivity(tiny(), INT8, cal, measured, aim_db=90.0).reached


def test_the_cascade_is_left_as_it_was() -> None:
    cascade = tiny()
    before = {name: x.clone() for name, x in cascade.state_dict().items()}
    sensitivity(cascade, INT8, sample("cifar10-test").first(4), sample("cifar10-test").take(range(4, 6)))
    assert all(torch.equal(x, before[name]) for name, x in cascade.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in cascade.modules())


def test_stages_that_are_not_touched_are_not_run_again_and_come_out_the_same() -> None:
    images = list(normalised(sample("cifar10-test").first(4), PRESETS["dvt_tiny"]))
    emulation = Emulation(tiny(), recipe_for("executorch-xnnpack-int8"), images)
    exact = answers(emulation, images, ())
    last = [name for name in emulation.layers if name.startswith("stage2.")]
    found, again = answers(emulation, images, last, exact), answers(emulation, images, last)
    for k, (a, b) in enumerate(zip(found.exit_logits(), again.exit_logits(), strict=True)):
        assert torch.equal(a, b) and torch.equal(a, exact.exit_logits()[k]) == (k < 2)


@pytest.mark.parametrize(
    ("layer", "pattern", "expected"),
    [
        ("stage1.blocks.3.fc2", "stage1.blocks.*.fc2", True),
        ("stage1.blocks.3.feature_reuse.fc2", "stage1.blocks.*.fc2", False),
        ("stage1.blocks.3.attn.qkv", "stage1.blocks.3", True),
        ("stage1.blocks.13.attn.qkv", "stage1.blocks.3", False),
        ("stage1.blocks.13.attn.qkv", "stage?.blocks.1*", True),
        ("head", "head.more", False),
    ],
)
def test_a_pattern_names_a_module_and_what_is_inside(layer: str, pattern: str, expected: bool) -> None:
    assert inside(layer, pattern) is expected


def test_every_layer_is_in_one_group() -> None:
    names = list(Emulation(tiny(), INT8, ()).layers)
    for by in ("layer", "block", "kind"):
        groups = patterns(names, by)
        assert [sum(inside(name, group) for group in groups) for name in names] == [1] * len(names)


def test_recipes_without_single_layers_refuse_to_keep_some() -> None:
    for target in ("onnx-fp32", "onnx-qnn-a8w8"):
        with pytest.raises(ExportError, match="keeps no single layer in float; leave head out"):
            keeping(recipe_for(target), ["head"])
    with pytest.raises(ExportError, match="no layers in static int8"):
        Emulation(tiny(), recipe_for("onnx-fp32"), ())


def test_what_is_kept_is_float_in_the_onnx_artifact(tmp_path: Path) -> None:
    needs("onnxruntime")
    import onnx

    from dvt_edge.exporting.onnxruntime_exporter import export_stage
    from dvt_edge.network.stages import split

    stage = split(tiny())[1]
    recipe = keeping(INT8, ["stem.proj", "stage1.blocks.*.fc2", "relation_reuse", "stage0.head"])
    export_stage(stage, recipe, lambda: iter([stage.example_inputs()]), tmp_path)
    graph = onnx.load(tmp_path / "stage1.onnx").graph
    rounded = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    kept = {node.name.split("/")[0] for node in graph.node if node.op_type == "Gemm" and node.input[1] not in rounded}
    assert kept == {"stem.proj", "relation_reuse.conv1", "relation_reuse.conv2", "blocks.0.fc2", "blocks.1.fc2"}


def test_the_command_writes_figures_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("matplotlib")
    out = tmp_path / "s.json"
    more = ["--by", "kind", "--images", "4", "--json", str(out), "--plot", str(tmp_path / "s.png")]
    assert main(["sensitivity", "zoo:dvt_cifar10", "onnx-int8", *more]) == 0
    assert '"keep_float"' in out.read_text() and (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "nothing to keep in float" in " ".join(capsys.readouterr().out.split())
