"""ExecuTorch with XNNPACK: PyTorch's numbers, counted delegation, copies, errors for what does not belong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from support.needs import needs

from dvt_edge.device.engines import Artifact
from dvt_edge.device.manifest import StageSpec
from dvt_edge.errors import EngineError, ExportError
from dvt_edge.exporting.exporters import Converted
from dvt_edge.exporting.gate import keep_promise
from dvt_edge.exporting.recipes import Recipe, recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.stages import StageChain, StageGraph, split

FP32, INT8 = recipe_for("executorch-xnnpack-fp32"), recipe_for("executorch-xnnpack-int8")


@pytest.fixture(scope="module")
def stages() -> list[StageGraph]:
    """dvt_tiny with weights large enough that logits differ between images."""
    needs("executorch")
    torch.manual_seed(0)
    cascade = Cascade(PRESETS["dvt_tiny"]).eval()
    with torch.no_grad():
        for parameter in cascade.parameters():
            if parameter.ndim == 2:
                parameter.mul_(1 / (parameter.std() * parameter.shape[1] ** 0.5))
    return split(cascade)


def image(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def steps(stages: list[StageGraph], seed: int) -> list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    return StageChain(stages).run(image(seed))


def convert(stages: list[StageGraph], index: int, recipe: Recipe, folder: Path) -> Converted:
    from dvt_edge.exporting.executorch_exporter import export_stage

    def calibration() -> Iterator[tuple[torch.Tensor, ...]]:
        for seed in range(8):
            yield tuple(steps(stages, seed)[index][0].values())

    return export_stage(stages[index], recipe, calibration, folder)


def spec_of(stage: StageGraph, converted: Converted) -> StageSpec:
    names = stage.name, converted.artifact.name
    return StageSpec(*names, stage.grid, 1, 1, stage.inputs, stage.outputs, converted.operators)


@pytest.fixture(scope="module")
def float_stages(stages: list[StageGraph], tmp_path_factory: pytest.TempPathFactory) -> list[Converted]:
    folder = tmp_path_factory.mktemp("float")
    return [convert(stages, k, FP32, folder) for k in range(3)]


def program(stages: list[StageGraph], converted: Converted, index: int, backend: str = "XnnpackBackend"):
    from dvt_edge.device.engines.executorch_engine import load_stage

    return load_stage(Artifact.at(converted.artifact), spec_of(stages[index], converted), backend, 1)


def test_float_stages_are_pytorchs_on_every_output(stages: list[StageGraph], float_stages: list[Converted]) -> None:
    programs = [program(stages, c, k) for k, c in enumerate(float_stages)]
    for seed in range(3):
        arrays = {"image": image(seed).numpy()}
        for run, stage, (_, expected) in zip(programs, stages, steps(stages, seed), strict=True):
            outputs = run({t.name: arrays[t.name] for t in stage.inputs})
            assert list(outputs) == [t.name for t in stage.outputs]
            for name, tensor in expected.items():
                assert np.abs(outputs[name] - tensor.numpy()).max() < 1e-3
            arrays |= {t.name: outputs[t.name] for t in stage.outputs if t.role == "state"}


def test_a_program_keeps_the_bytes_that_it_runs(stages: list[StageGraph], float_stages: list[Converted]) -> None:
    """A method reads its weights from them and does not keep them alive: once freed they were whatever came next."""
    artifact = Artifact.at(float_stages[0].artifact)
    from dvt_edge.device.engines.executorch_engine import load_stage

    run = load_stage(artifact, spec_of(stages[0], float_stages[0]), "XnnpackBackend", 1)
    assert run.content is artifact.content


def test_nearly_every_operator_is_delegated_and_the_rest_is_named(float_stages: list[Converted]) -> None:
    for converted in float_stages:
        operators = converted.operators
        assert operators.delegated > 50 * max(1, operators.undelegated)
        assert sum(operators.undelegated_kinds.values()) == operators.undelegated


def test_constant_products_have_whole_columns(stages: list[StageGraph]) -> None:
    from dvt_edge.exporting.executorch_exporter import COLUMNS, is_quantized, trace

    resampled = 0
    for stage in stages[1:]:
        for node in trace(stage).graph.nodes:
            if node.target is torch.ops.aten.linear.default and not is_quantized(node, lambda layer: False):
                outputs = node.args[1].meta["val"].shape[0]
                assert outputs == 1 or outputs % COLUMNS == 0  # 1: the means of norms
                resampled += outputs > 1
    assert resampled == 2 * 2 + 2 * len(stages[0].stage.blocks)  # relations by rows and columns, tokens by block


def test_int8_is_smaller_and_close(stages: list[StageGraph], float_stages: list[Converted], tmp_path: Path) -> None:
    converted = convert(stages, 1, INT8, tmp_path)
    assert converted.artifact.stat().st_size < 0.7 * float_stages[1].artifact.stat().st_size
    run = program(stages, converted, 1)
    signal = noise = 0.0
    for seed in range(20, 28):
        inputs, expected = steps(stages, seed)[1]
        error = run({name: t.numpy() for name, t in inputs.items()})["logits"] - expected["logits"].numpy()
        signal, noise = signal + float((expected["logits"] ** 2).sum()), noise + float((error**2).sum())
    assert 15 < 10 * np.log10(signal / noise) < 60  # quantized, and not broken


def test_int8_covers_every_layer_with_weights_and_nothing_else() -> None:
    """Convolutions with a batch norm, patches, linears and 1x1 convolutions; not means, products and resampling.

    What a convolution gives is rounded once, after its ReLU.
    """
    needs("executorch")
    from dvt_edge.exporting.executorch_exporter import quantize, trace

    stage = split(Cascade(PRESETS["dvt_cifar10"]))[1]
    assert INT8.quantization
    given = [stage.example_inputs()]
    graph = quantize(trace(stage), stage, INT8.quantization, lambda: iter(given), lambda layer: False).graph
    products = [n for n in graph.nodes if str(n.target) in ("aten.linear.default", "aten.conv2d.default")]
    int8 = [n for n in products if "dequantize_per_channel" in str(n.args[1])]
    assert len(int8) == sum(isinstance(m, torch.nn.Linear | torch.nn.Conv2d) for m in stage.modules())
    assert len(products) > len(int8)
    assert all("dequantize_per_tensor" in str(n.args[0]) for n in int8)
    rectified = [n for n in graph.nodes if str(n.target) in ("aten.relu.default", "aten.relu_.default")]
    assert rectified and all(str(n.args[0].target) == "aten.conv2d.default" for n in rectified)


def test_dynamic_int8_covers_every_linear_needs_no_image_and_is_closer(
    stages: list[StageGraph], float_stages: list[Converted], tmp_path: Path
) -> None:
    from dvt_edge.exporting.executorch_exporter import export_stage

    def none() -> Iterator[tuple[torch.Tensor, ...]]:
        raise AssertionError("a calibration image was asked for")

    dynamic = recipe_for("executorch-xnnpack-int8-dynamic")
    converted = export_stage(stages[1], dynamic, none, tmp_path)
    assert converted.artifact.stat().st_size < 0.7 * float_stages[1].artifact.stat().st_size
    assert converted.operators.undelegated_kinds == {"_to_dim_order_copy.out": 1}
    run = program(stages, converted, 1)
    signal = noise = 0.0
    for seed in range(20, 28):
        inputs, expected = steps(stages, seed)[1]
        error = run({name: t.numpy() for name, t in inputs.items()})["logits"] - expected["logits"].numpy()
        signal, noise = signal + float((expected["logits"] ** 2).sum()), noise + float((error**2).sum())
    assert 25 < 10 * np.log10(signal / noise) < 60


@pytest.mark.parametrize("target", ["executorch-vulkan-fp32", "executorch-coreml"])
def test_what_is_only_lowered_goes_in_whole_and_does_not_run_here(
    stages: list[StageGraph], tmp_path: Path, target: str
) -> None:
    """All but the image's cast; and the runtime says which backend lacks."""
    recipe = recipe_for(target)
    for package in recipe.packages:
        needs(package)
    converted = convert(stages, 0, recipe, tmp_path)
    keep_promise(recipe, "stage0", converted.operators)
    assert converted.operators.delegated > 20 and recipe.status == "experimental"
    with pytest.raises(EngineError, match=f"lacks the backend {recipe.backend}"):
        program(stages, converted, 0, backend=recipe.backend)


def test_calibration_is_streamed_and_no_more_than_asked(stages: list[StageGraph], tmp_path: Path) -> None:
    from dvt_edge.exporting.executorch_exporter import export_stage

    given = []

    def endless() -> Iterator[tuple[torch.Tensor, ...]]:
        while True:
            given.append(1)
            yield stages[0].example_inputs(len(given))

    quantization = dataclasses.replace(INT8.quantization, calibration_images=3)
    export_stage(stages[0], dataclasses.replace(INT8, quantization=quantization), endless, tmp_path)
    assert len(given) == 3
    with pytest.raises(ExportError, match="no calibration images"):
        export_stage(stages[0], INT8, lambda: iter(()), tmp_path)


def test_outputs_are_copies_and_threads_agree(stages: list[StageGraph], float_stages: list[Converted]) -> None:
    run = program(stages, float_stages[0], 0)
    first = run({"image": image(1).numpy()})
    kept = {name: array.copy() for name, array in first.items()}
    run({"image": image(2).numpy()})
    assert all(np.array_equal(first[name], kept[name]) for name in kept)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: run({"image": image(1).numpy()}), range(32)):
            assert all(np.array_equal(found[name], kept[name]) for name in kept)


def test_what_does_not_belong_is_refused(
    stages: list[StageGraph], float_stages: list[Converted], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="QnnBackend"):
        program(stages, float_stages[0], 0, backend="QnnBackend")
    with pytest.raises(EngineError, match="manifest says"):
        program(stages, float_stages[0], 1)
    run = program(stages, float_stages[0], 0)
    for inputs in ({"image": np.zeros((1, 3, 32, 32), np.uint8)}, {"image": np.zeros((1, 32, 32, 3), np.float32)}, {}):
        with pytest.raises(EngineError, match="expected"):
            run(inputs)
    for content in (b"", b"not a program at all", float_stages[0].artifact.read_bytes()[:200]):
        (tmp_path / "bad.pte").write_bytes(content)
        with pytest.raises(EngineError) as caught:
            program(stages, dataclasses.replace(float_stages[0], artifact=tmp_path / "bad.pte"), 0)
        assert "\n" not in str(caught.value)
