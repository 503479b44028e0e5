"""ExecuTorch: exported stages compute what PyTorch computes, on XNNPACK, and the engine guards what goes in."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import itertools
import os
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dvt_edge.cascade import Cascade
from dvt_edge.config import PRESETS
from dvt_edge.engines import Arrays, StageProgram
from dvt_edge.errors import EngineError, ExportError
from dvt_edge.manifest import Operators, StageSpec
from dvt_edge.recipes import Quantization, recipe_for
from dvt_edge.stages import StageChain, StageGraph, split

if importlib.util.find_spec("executorch") is None and not os.environ.get("CI"):  # in CI the import below fails
    reason = "executorch is not installed: pip install 'dvt-edge[executorch]'"
    print(reason)
    pytest.skip(reason, allow_module_level=True)

from dvt_edge.engines.executorch_engine import load_stage
from dvt_edge.exporters import Converted, executorch_exporter
from dvt_edge.exporters.executorch_exporter import export_stage, trace

XNNPACK = "XnnpackBackend"
FLOAT, INT8 = recipe_for("executorch-xnnpack-fp32"), recipe_for("executorch-xnnpack-int8")
INT8_SQNR_DB = 20.0  # measured: 27 or more on every output
CALIBRATION_IMAGES = 12

# One of each stem; shallow, as blocks repeat.
CONFIGS = {
    "tiny": PRESETS["dvt_tiny"].replace(depth=1),
    "cifar10": PRESETS["dvt_cifar10"].replace(depth=1),
    "t2t": PRESETS["DVT_T2t_vit_12"].replace(depth=1),
}


@functools.cache
def stages(name: str = "tiny") -> list[StageGraph]:
    """A cascade with seeded random weights, scaled so that every output varies by about one."""
    torch.manual_seed(0)
    cascade = Cascade(CONFIGS[name])
    with torch.no_grad():
        for parameter in cascade.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape) / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return split(cascade)


def image(seed: int) -> Tensor:
    return torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def spec(stage: StageGraph, converted: Converted) -> StageSpec:
    return StageSpec(
        stage.name, converted.artifact.name, stage.grid, 0, 0, stage.inputs, stage.outputs, converted.operators
    )


def load(stage: StageGraph, converted: Converted, threads: int = 1) -> StageProgram:
    return load_stage(converted.artifact, spec(stage, converted), XNNPACK, threads)


def no_calibration() -> Iterator[tuple[Tensor, ...]]:
    raise AssertionError("a float export needs no calibration")


def arrays(tensors: dict[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> list[Converted]:
    """The first two stages in float32: one that makes state, one that takes and makes it."""
    folder = tmp_path_factory.mktemp("float")
    return [export_stage(stage, FLOAT, no_calibration, folder) for stage in stages()[:2]]


class Calibration:
    """Endless images through PyTorch; counts what was drawn, and what of it was alive at any one time."""

    def __init__(self, index: int) -> None:
        self.index, self.drawn, self.most_alive = index, 0, 0
        self.given: list[weakref.ref[Tensor]] = []

    def __call__(self) -> Iterator[tuple[Tensor, ...]]:
        chain = StageChain(stages())
        for seed in itertools.count(100):
            inputs = tuple(chain.run(image(seed), self.index)[self.index][0].values())
            self.drawn += 1
            self.given.append(weakref.ref(inputs[-1]))
            self.most_alive = max(self.most_alive, sum(r() is not None for r in self.given))
            yield inputs


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Converted, Calibration]:
    recipe = dataclasses.replace(INT8, quantization=Quantization(calibration_images=CALIBRATION_IMAGES))
    calibration = Calibration(1)
    return export_stage(stages()[1], recipe, calibration, tmp_path_factory.mktemp("int8")), calibration


# -- export --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_rewrites_for_xnnpack_change_nothing_but_rounding(name: str) -> None:
    stage = stages(name)[1]
    inputs = stage.example_inputs()
    with torch.no_grad():
        for found, expected in zip(trace(stage).module()(*inputs), stage(*inputs), strict=True):
            assert expected.std() > 0.1
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_float_stages_chained_match_pytorch_on_every_output(converted: list[Converted]) -> None:
    programs = [load(s, c) for s, c in zip(stages(), converted, strict=False)]
    for seed in range(3):
        state = arrays({"image": image(seed)})
        for program, (inputs, expected) in zip(programs, StageChain(stages()).run(image(seed), last=1), strict=True):
            found = program({name: state[name] for name in reversed(inputs)})  # by name, in any order
            assert list(found) == list(expected)
            for name, tensor in expected.items():
                assert tensor.std() > 0.1
                assert found[name].dtype == np.float32 and np.abs(found[name] - tensor.numpy()).max() < 1e-3
            state |= found


def test_all_operators_are_delegated_but_the_cast_of_the_image(
    converted: list[Converted], quantized: tuple[Converted, Calibration]
) -> None:
    for operators in (c.operators for c in (*converted, quantized[0])):
        assert operators.delegated > 50
        assert (operators.undelegated, operators.undelegated_kinds) == (1, {"_to_dim_order_copy.out": 1})


def test_int8_keeps_its_signal_on_every_output(quantized: tuple[Converted, Calibration]) -> None:
    program = load(stages()[1], quantized[0])
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for seed in range(8):
        inputs, expected = StageChain(stages()).run(image(seed), last=1)[1]
        for name, found in program(arrays(inputs)).items():
            signal[name] = signal.get(name, 0.0) + float(expected[name].square().sum())
            noise[name] = noise.get(name, 0.0) + float(np.square(found - expected[name].numpy()).sum())
    sqnr = {name: round(10 * np.log10(signal[name] / noise[name]), 1) for name in signal}
    assert INT8_SQNR_DB < min(sqnr.values()) and max(sqnr.values()) < 60, sqnr  # 60: it is quantized at all


def test_calibration_is_streamed(quantized: tuple[Converted, Calibration]) -> None:
    _, calibration = quantized
    assert calibration.drawn == CALIBRATION_IMAGES and calibration.most_alive <= 2


@pytest.mark.parametrize(
    ("quantization", "images", "cause"),
    [
        (Quantization(weight_bits=4), image(0), "4, 8"),
        (Quantization(), None, "no calibration images"),
        (Quantization(), torch.zeros(1, 8, 8, 3), "Error"),
    ],
)
def test_a_failed_conversion_is_one_line(
    quantization: Quantization, images: Tensor | None, cause: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = dataclasses.replace(INT8, quantization=quantization)
    with pytest.raises(ExportError, match=f"^stage0: target {INT8.name} failed .*{cause}[^\n]*$"):
        export_stage(stages()[0], recipe, lambda: iter([] if images is None else [(images,)]), tmp_path)
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")


def test_a_stage_that_the_backend_does_not_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from executorch.backends.xnnpack.partition.config.generic_node_configs import TanhConfig

    nothing = functools.partial(executorch_exporter.XnnpackPartitioner, configs=[TanhConfig])
    monkeypatch.setitem(executorch_exporter.PARTITIONERS, XNNPACK, nothing)
    with pytest.raises(ExportError, match=r"^stage0: .*none of its operators"):
        export_stage(stages()[0], FLOAT, no_calibration, tmp_path)
    assert not list(tmp_path.iterdir())


# -- engine --------------------------------------------------------------------------------------------------------


def test_outputs_are_copies(converted: list[Converted]) -> None:
    program = load(stages()[0], converted[0])
    first = program(arrays({"image": image(0)}))
    kept = {name: array.copy() for name, array in first.items()}
    second = program(arrays({"image": image(1)}))
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        assert not np.array_equal(array, second[name])


def test_threads_may_share_a_program(converted: list[Converted]) -> None:
    program = load(stages()[0], converted[0])
    images = [arrays({"image": image(seed)}) for seed in range(4)]
    alone = [program(inputs) for inputs in images]
    with ThreadPoolExecutor(8) as pool:
        for k, found in zip(itertools.cycle(range(4)), pool.map(program, images * 25), strict=False):
            for name, array in found.items():
                np.testing.assert_array_equal(array, alone[k][name])


def test_read_only_and_strided_inputs_are_taken(converted: list[Converted]) -> None:
    program = load(stages()[0], converted[0])
    plain = image(0).numpy()
    strided = np.zeros((1, 32, 64, 3), np.uint8)[:, :, ::2]
    strided[:] = plain
    strided.flags.writeable = False
    np.testing.assert_array_equal(program({"image": strided})["logits"], program({"image": plain})["logits"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tokens_0": np.zeros((1, 9, 32), np.float32)}, r"tokens_0 is float32 \(1, 9, 32\); expected .*\(1, 10, 32\)"),
        ({"image": np.zeros((1, 32, 32, 3), np.float32)}, "image is float32 .*; expected uint8"),
        ({"extra": np.zeros(1)}, "extra.*; expected image, tokens_0, relations_0"),
        ({"tokens_0": None}, "the inputs image, relations_0; expected image, tokens_0, relations_0"),
    ],
)
def test_wrong_inputs_are_refused(
    wrong: dict[str, np.ndarray | None], message: str, converted: list[Converted]
) -> None:
    stage = stages()[1]
    good = {t.name: x.numpy() for t, x in zip(stage.inputs, stage.example_inputs(), strict=True)}
    inputs = {name: array for name, array in (good | wrong).items() if array is not None}
    with pytest.raises(EngineError, match=f"^stage1: .*{message}"):
        load(stage, converted[1])(inputs)


def test_the_pool_has_the_threads_asked_for(converted: list[Converted], capfd: pytest.CaptureFixture[str]) -> None:
    from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count as count

    for threads in (2, 1):
        program = load(stages()[0], converted[0], threads)
        assert count() == threads
        with pytest.raises(EngineError, match="one thread pool"):  # the program alive points at the pool
            load(stages()[0], converted[0], 3)
        assert program(arrays({"image": image(0)}))["logits"].shape == (1, 10)
        del program
    with pytest.raises(EngineError, match="at least 1"):
        load(stages()[0], converted[0], 0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("backend", ["CoreMLBackend", "QnnBackend", ""])
def test_a_backend_that_is_absent_is_refused(backend: str, converted: list[Converted]) -> None:
    with pytest.raises(EngineError, match=f"^stage0: this executorch lacks the backend {backend}; it has: .*{XNNPACK}"):
        load_stage(converted[0].artifact, spec(stages()[0], converted[0]), backend, 1)


def test_a_program_without_the_backend_is_refused(tmp_path: Path) -> None:
    from executorch.exir import to_edge

    artifact = tmp_path / "plain.pte"
    exported = torch.export.export(torch.nn.ReLU(), (torch.zeros(1, 4),))
    artifact.write_bytes(to_edge(exported).to_executorch().buffer)
    plain = Converted(artifact, Operators(0, 1))
    with pytest.raises(EngineError, match=f"^stage0: plain.pte runs on no backend; the bundle says {XNNPACK}$"):
        load(stages()[0], plain)


def test_a_program_of_another_stage_is_refused(converted: list[Converted]) -> None:
    with pytest.raises(EngineError, match=r"^stage1: stage0.pte has the tensors .*; the manifest says"):
        load(stages()[1], converted[0])


@pytest.mark.parametrize("size", [0, 3, 8, 100, 3000, -1])
def test_a_cut_file_is_an_error(size: int, converted: list[Converted], tmp_path: Path) -> None:
    cut = tmp_path / "stage0.pte"
    cut.write_bytes(converted[0].artifact.read_bytes()[:size])
    with pytest.raises(EngineError, match=r"^stage0: executorch cannot (read|load) stage0.pte \([^\n]*$"):
        load(stages()[0], Converted(cut, converted[0].operators))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot read stage0"):
        load(stages()[0], Converted(tmp_path / "stage0.pte", Operators(1, 0)))
