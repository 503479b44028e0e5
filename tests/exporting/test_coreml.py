"""Core ML export: what a package declares, that its program computes the stage, and the engine around it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.kinds import KINDS
from support.needs import needs

from dvt_edge.device.engines import Artifact
from dvt_edge.device.engines.coreml_engine import load_stage
from dvt_edge.device.manifest import Operators, StageSpec
from dvt_edge.errors import EngineError, ExportError
from dvt_edge.exporting.recipes import Quantization, recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.stages import StageChain, StageGraph, split
from dvt_edge.quiet import quiet

if importlib.util.find_spec("coremltools") is None and not os.environ.get("CI"):  # in CI the import below fails
    reason = "coremltools is not installed: pip install 'dvt-edge[coreml]'"
    print(reason)
    pytest.skip(reason, allow_module_level=True)

from dvt_edge.exporting import coreml_check, coreml_exporter
from dvt_edge.exporting.coreml_check import IOS17_SPECIFICATION, MAIN, MODEL_FILE, OPERATORS, WEIGHT_FILE, Interpreter
from dvt_edge.exporting.coreml_exporter import ct, cto, export_stage
from dvt_edge.exporting.exporters import Converted

# One of each stem; shallow, as blocks repeat.
CONFIGS = {
    "tiny": PRESETS["dvt_tiny"],
    "cifar10": PRESETS["dvt_cifar10"].replace(depth=2),
    "t2t": PRESETS["DVT_T2t_vit_12"].replace(depth=1),
    **{kind: PRESETS["dvt_tiny"].replace(**changes) for kind, changes in KINDS.items()},
}
STAGES = [("tiny", 0), ("tiny", 1), ("tiny", 2), ("cifar10", 1), ("t2t", 1), *((kind, 1) for kind in KINDS)]
RECIPE = recipe_for("coreml-fp16")
FLOAT32 = dataclasses.replace(RECIPE, precision="float32", state="float32")

Exports = Callable[..., Converted]


@functools.cache
def stages(name: str, layout: str = "image", state: Any = RECIPE.state) -> list[StageGraph]:
    """A cascade with seeded random weights; relations and norms large enough for an error in them to show."""
    torch.manual_seed(0)
    cascade = Cascade(CONFIGS[name])
    with torch.no_grad():
        for key, parameter in cascade.named_parameters():
            if "norm" in key or key.endswith("bias"):
                parameter.add_(0.3 * torch.randn(parameter.shape))
            elif ".blocks." in key:
                parameter.mul_(3)
        for key, buffer in cascade.named_buffers():
            if "running_mean" in key:
                buffer.normal_(0, 0.3)
            elif "running_var" in key:
                buffer.uniform_(0.5, 2)
    return split(cascade, layout, state)


def no_calibration() -> Iterator[Any]:
    return iter(())


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    @functools.cache
    def export(name: str, index: int, recipe: Any = RECIPE) -> Converted:
        stage = stages(name, state=recipe.state)[index]
        return export_stage(stage, recipe, no_calibration, tmp_path_factory.mktemp(f"{name}{index}"))

    return export


def edited(artifact: Path, folder: Path, edit: Callable[[Any], Any]) -> Path:
    """A copy of a package whose Model protobuf `edit` has changed."""
    package = Path(shutil.copytree(artifact, folder / artifact.name))
    model = coreml_check.load_model(package)
    edit(model)
    (package / MODEL_FILE).write_bytes(model.SerializeToString())
    return package


def operations(model: Any) -> Any:
    return model.mlProgram.functions["main"].block_specializations["CoreML7"].operations


@pytest.mark.parametrize(("name", "index"), STAGES)
def test_package_declares_the_stage_for_ios17(exported: Exports, name: str, index: int) -> None:
    """Read by coremltools alone: an RGB image and state in, logits and state out, all as the stage names them."""
    stage, artifact = stages(name)[index], exported(name, index).artifact
    spec = ct.models.MLModel(str(artifact), skip_model_load=True).get_spec()
    assert artifact.name == f"stage{index}.mlpackage"
    assert spec.specificationVersion == 8 == ct.target.iOS17
    size = CONFIGS[name].image_size
    image, *state = spec.description.input
    assert image.name == "image"
    assert (image.type.imageType.width, image.type.imageType.height) == (size, size)
    assert image.type.imageType.colorSpace == ct.proto.FeatureTypes_pb2.ImageFeatureType.ColorSpace.RGB
    arrays = [*state, *spec.description.output]
    assert [(a.name, tuple(a.type.multiArrayType.shape)) for a in arrays] == [
        (t.name, t.shape) for t in (*stage.inputs[1:], *stage.outputs)
    ]
    types = ct.proto.FeatureTypes_pb2.ArrayFeatureType.ArrayDataType
    dtypes = [a.type.multiArrayType.dataType for a in arrays]
    assert dtypes == [types.FLOAT32 if a.name == "logits" else types.FLOAT16 for a in arrays]


def test_operators_are_the_known_ones(exported: Exports) -> None:
    """All stems together use every known kind and no other; reuse stays matmuls, not thousands of slices."""
    kinds: set[str] = set()
    for name, index in STAGES:
        converted = exported(name, index)
        counts = coreml_check.check_package(converted.artifact, stages(name)[index])
        assert counts.get("slice_by_index", 0) <= 1
        assert converted.operators == Operators(delegated=sum(counts.values()), undelegated=0)
        kinds |= counts.keys()
    assert kinds == OPERATORS


@pytest.mark.parametrize(("name", "index"), [("tiny", 1), ("cifar10", 1), ("t2t", 1), *((kind, 1) for kind in KINDS)])
def test_float32_program_is_the_stage(exported: Exports, name: str, index: int) -> None:
    """Without float16 only the order of sums differs; at least 128 dB were measured."""
    stage, artifact = stages(name, state="float32")[index], exported(name, index, FLOAT32).artifact
    assert min(coreml_check.compare(artifact, stage, stage.example_inputs(1)).values()) > 110


@pytest.mark.parametrize(("name", "index"), STAGES)
def test_float16_program_is_close_to_the_stage(exported: Exports, name: str, index: int) -> None:
    """At least 61 dB with float16 weights and 58 dB with float16 results too were measured."""
    stage, artifact = stages(name)[index], exported(name, index).artifact
    inputs = stage.example_inputs(1)
    weights_only = coreml_check.compare(artifact, stage, inputs, half=False)
    rounded = coreml_check.compare(artifact, stage, inputs, half=True)
    assert 58 < min(weights_only.values()) < 90
    assert 54 < min(rounded.values()) < min(weights_only.values())


def test_half_rounds_every_float16_result(exported: Exports) -> None:
    artifact, inputs = exported("tiny", 0).artifact, named_inputs("tiny", 0)
    for half in (True, False):
        outputs = Interpreter(artifact, half)(inputs)
        logits = outputs["logits"]
        assert (logits == logits.astype(np.float16)).all() == half
        assert {y.dtype for y in outputs.values() if y is not logits} == {np.dtype(np.float16)}


@pytest.mark.parametrize(("target", "least"), [("coreml-w8", 30), ("coreml-palette6", 18)])
def test_compressed_weights_are_those_of_the_layers_and_expand_as_coremltools_does(
    exported: Exports, tmp_path: Path, target: str, least: float
) -> None:
    """Every linear's and convolution's but the first one's, and nothing else's.

    coremltools' own decompression gives a float16 package, which must answer as the interpreter expands.
    """
    needs("sklearn")
    stage, recipe = stages("cifar10")[1], recipe_for(target)
    artifact = exported("cifar10", 1, recipe).artifact
    layers = sum(isinstance(module, torch.nn.Linear | torch.nn.Conv2d) for module in stage.modules())
    model = coreml_check.load_model(artifact)
    assert coreml_check.compressed(artifact) >= layers - 1
    shrunk = [op.outputs[0].name for op in operations(model) if op.type.startswith("constexpr")]
    first = next(op for op in operations(model) if op.type in ("linear", "conv"))
    assert first.inputs["weight"].arguments[0].name not in shrunk
    takers = {op.type for op in operations(model) for v in op.inputs.values() if v.arguments[0].name in shrunk}
    assert takers == {"linear", "conv"}
    coreml_exporter.copy_package(artifact, plain := tmp_path / "plain.mlpackage")
    with quiet():
        cto.decompress_weights(ct.models.MLModel(str(plain), skip_model_load=True)).save(str(tmp_path / "d.mlpackage"))
    assert coreml_check.compressed(tmp_path / "d.mlpackage") == 0
    inputs = named_inputs("cifar10", 1)
    ours, theirs = (Interpreter(package)(inputs) for package in (artifact, tmp_path / "d.mlpackage"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    found = coreml_check.compare(artifact, stage, stage.example_inputs(1))
    assert least < min(found.values()) < 54
    floats = exported("cifar10", 1).artifact
    assert (artifact / WEIGHT_FILE).stat().st_size < 0.6 * (floats / WEIGHT_FILE).stat().st_size


def test_a_layer_that_is_not_compressed_is_told(
    exported: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reuse(monkeypatch, exported("tiny", 1).artifact)
    monkeypatch.setattr(coreml_exporter, "compress", lambda *args: None)
    with pytest.raises(ExportError, match=r"stage1, target coreml-w8: 0 compressed weights; expected those of \d+"):
        export_stage(stages("tiny")[1], recipe_for("coreml-w8"), no_calibration, tmp_path)


def test_the_interpreter_stands_where_an_engine_would(exported: Exports) -> None:
    """From the runtime's uint8 pixels, and as the interpreter alone answers."""
    artifact = exported("tiny", 0).artifact
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    run = coreml_check.load_stage(Artifact.at(artifact), stage_spec(0, artifact), "CoreML", 1)
    image = pixels.astype(np.float32).transpose(0, 3, 1, 2)
    expected = Interpreter(artifact)({"image": image})
    assert all(np.array_equal(run({"image": pixels})[name], expected[name]) for name in expected)


def files(package: Path) -> dict[str, bytes]:
    return {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*") if p.is_file()}


def test_export_is_silent_and_gives_the_same_bytes_each_time(
    exported: Exports, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Three files, with nothing in them of the day, the machine or chance."""
    first = files(exported("tiny", 1).artifact)
    capfd.readouterr()
    again = files(export_stage(stages("tiny")[1], RECIPE, no_calibration, tmp_path).artifact)
    assert capfd.readouterr() == ("", "")
    assert first == again
    assert first.keys() == {"Manifest.json", MODEL_FILE, WEIGHT_FILE}
    assert not any(str(Path.cwd()).encode() in data or b"/tmp" in data for data in first.values())


def test_package_stays_as_it_is_when_opened(exported: Exports, tmp_path: Path) -> None:
    """coremltools finds the model and its weights by the manifest, and rewrites that file: to the same bytes."""
    artifact = tmp_path / "stage0.mlpackage"
    coreml_exporter.copy_package(exported("tiny", 0).artifact, artifact)
    before = files(artifact)
    loaded = ct.models.MLModel(str(artifact), skip_model_load=True)
    assert loaded.get_spec() == coreml_check.load_model(artifact)
    assert Path(loaded.weights_dir).joinpath("weight.bin").read_bytes() == before[WEIGHT_FILE]
    assert files(artifact) == before


# What the check must refuse: an edit of the package, and what the error says.
def rename_operator(model: Any) -> None:
    next(op for op in operations(model) if op.type == "softmax").type = "sinh"


def other_gelu(model: Any) -> None:
    gelu = next(op for op in operations(model) if op.type == "gelu")
    mode = next(op for op in operations(model) if op.outputs[0].name == gelu.inputs["mode"].arguments[0].name)
    mode.attributes["val"].immediateValue.tensor.strings.values[:] = ["TANH_APPROXIMATION"]


def swap_colors(model: Any) -> None:
    image = model.description.input[0].type.imageType
    image.colorSpace = image.ColorSpace.BGR


def float_state(model: Any) -> None:
    array = model.description.input[1].type.multiArrayType
    array.dataType = array.ArrayDataType.FLOAT32


def other_size(model: Any) -> None:
    model.description.input[0].type.imageType.width += 1


def rename_output(model: Any) -> None:
    model.description.output[0].name = "probabilities"


def ios18(model: Any) -> None:
    model.specificationVersion = IOS17_SPECIFICATION + 1


def ios18_operators(model: Any) -> None:
    function = model.mlProgram.functions["main"]
    function.block_specializations["CoreML8"].CopyFrom(function.block_specializations["CoreML7"])
    function.opset = "CoreML8"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (rename_operator, "unknown operators sinh"),
        (swap_colors, "BGR image"),
        (float_state, "tokens_0: float32"),
        (other_size, r"image: RGB image \(32, 33\)"),
        (rename_output, "probabilities"),
        (ios18, "specification 9"),
        (ios18_operators, "CoreML8"),
        (lambda model: model.description.output.pop(), "relations_1"),
    ],
)
def test_check_refuses_another_program(exported: Exports, tmp_path: Path, edit: Any, says: str) -> None:
    package = edited(exported("tiny", 1).artifact, tmp_path, edit)
    with pytest.raises(ExportError, match=says) as error:
        coreml_check.check_package(package, stages("tiny")[1])
    assert "\n" not in str(error.value)


def test_check_refuses_what_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no Core ML model"):
        coreml_check.load_model(tmp_path / "absent.mlpackage")
    (tmp_path / MODEL_FILE).parent.mkdir(parents=True)
    (tmp_path / MODEL_FILE).write_bytes(b"not a protobuf")
    with pytest.raises(ExportError, match="no Core ML model"):
        coreml_check.load_model(tmp_path)


def test_interpreter_refuses_what_it_would_get_wrong(exported: Exports, tmp_path: Path) -> None:
    artifact, inputs = exported("tiny", 0).artifact, named_inputs("tiny", 0)
    with pytest.raises(ExportError, match=r"image.*expected.*\(1, 3, 32, 32\)"):
        coreml_check.interpret(artifact, {"image": inputs["image"][:, :, 1:]})
    with pytest.raises(ExportError, match=r"gelu .*TANH_APPROXIMATION"):
        coreml_check.interpret(edited(artifact, tmp_path, other_gelu), inputs)
    (tmp_path / artifact.name / WEIGHT_FILE).unlink()
    with pytest.raises(ExportError, match="cannot be read"):
        Interpreter(tmp_path / artifact.name)


def test_damaged_weights_show_in_the_numbers(exported: Exports, tmp_path: Path) -> None:
    package = Path(shutil.copytree(exported("tiny", 1).artifact, tmp_path / "damaged.mlpackage"))
    data = bytearray((package / WEIGHT_FILE).read_bytes())
    middle = len(data) // 2 // 64 * 64
    data[middle : middle + 512] = bytes(512)
    (package / WEIGHT_FILE).write_bytes(data)
    stage = stages("tiny")[1]
    assert min(coreml_check.compare(package, stage, stage.example_inputs(1)).values()) < 40


# What the exporter must refuse. `convert` is replaced by a copy of a package that is already there, to save time.
def reuse(monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    monkeypatch.setattr(coreml_exporter, "convert", lambda stage, recipe, made: shutil.copytree(package, made))


def test_export_refuses_what_it_cannot_convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stages("tiny")[1]
    with pytest.raises(ExportError, match=r"stage1, target coreml-fp16: .*compresses weights only"):
        export_stage(stage, dataclasses.replace(RECIPE, quantization=Quantization()), no_calibration, tmp_path)
    with pytest.raises(ExportError, match=r"stage1, target coreml-fp16: .*layout 'NHWC'"):
        export_stage(stages("tiny", "NHWC")[1], RECIPE, no_calibration, tmp_path)

    def broken(*args: Any, **options: Any) -> None:
        raise RuntimeError("PyTorch convert function for op 'bessel'\nnot implemented")

    monkeypatch.setattr(coreml_exporter, "convert", broken)
    with pytest.raises(ExportError) as error:
        export_stage(stage, RECIPE, no_calibration, tmp_path)
    assert str(error.value) == (
        "stage1, target coreml-fp16: Core ML conversion failed "
        "(RuntimeError: PyTorch convert function for op 'bessel' not implemented)"
    )


def test_export_holds_the_bound_on_every_output(
    exported: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the first calibration input, and where the program is not finite it is out of any bound."""
    stage = stages("tiny")[1]
    reuse(monkeypatch, exported("tiny", 1).artifact)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ExportError, match=r"stage1, target coreml-fp16: logits has .* dB .* at least 200.0"),
    ):
        patch.setattr(coreml_exporter, "CONVERTED_DB", 200.0)
        export_stage(stage, RECIPE, no_calibration, tmp_path)
    image, tokens, relations = stage.example_inputs(3)
    with pytest.raises(ExportError, match="-inf dB"):
        export_stage(stage, RECIPE, lambda: iter([(image, tokens, relations * 1e6)]), tmp_path)
    tokens_out = next(i for i, t in enumerate(stage.outputs) if t.name == "tokens_1")
    moved = copy.deepcopy(stage)
    moved.register_forward_hook(
        lambda module, args, out: tuple(-y if i == tokens_out else y for i, y in enumerate(out))
    )
    with pytest.raises(ExportError, match="tokens_1 has -"):
        export_stage(moved, RECIPE, no_calibration, tmp_path)
    assert export_stage(stage, RECIPE, no_calibration, tmp_path).artifact.is_dir()


# The engine. Core ML predicts on macOS only, so a stand-in of coremltools' MLModel runs the packages elsewhere.
def named_inputs(name: str, index: int) -> dict[str, Any]:
    stage = stages(name)[index]
    return {t.name: x.numpy() for t, x in zip(stage.inputs, stage.example_inputs(1), strict=True)}


def stage_spec(index: int, artifact: Path) -> StageSpec:
    """As a manifest has it: the runtime's pixels in, whatever the artifact makes of them."""
    stage, pixels = stages("tiny")[index], stages("tiny", "NHWC")[index].inputs[0]
    inputs = (pixels, *stage.inputs[1:])
    return StageSpec(stage.name, artifact.name, stage.grid, 1, 1, inputs, stage.outputs, Operators(1, 0))


class FakeMLModel:
    """Takes what Core ML's predict takes and answers by interpretation, from buffers that it uses again."""

    def __init__(self, path: str, compute_units: str, function_name: str = MAIN) -> None:
        assert compute_units == "all units"
        assert function_name in coreml_check.load_model(Path(path)).mlProgram.functions
        self.interpreter = Interpreter(Path(path), half=False, stage=function_name)
        self.buffers: dict[str, Any] = {}
        self.busy = False

    def predict(self, feed: dict[str, Any]) -> dict[str, Any]:
        assert not self.busy, "two predictions at once"
        self.busy = True
        time.sleep(0.01)
        image = feed["image"]
        assert isinstance(image, Image.Image) and image.mode == "RGB"
        arrays = feed | {"image": np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None]}
        assert all(a.dtype == (np.float32 if name == "image" else np.float16) for name, a in arrays.items())
        for name, y in self.interpreter(arrays).items():
            self.buffers.setdefault(name, np.empty_like(y))[:] = y
        self.busy = False
        return self.buffers


@pytest.fixture
def fake_mac(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    fake = types.ModuleType("coremltools")
    utils = types.SimpleNamespace(load_spec=lambda path: coreml_check.load_model(Path(path)))
    fake.models = types.SimpleNamespace(MLModel=FakeMLModel, utils=utils)  # type: ignore[attr-defined]
    fake.ComputeUnit = types.SimpleNamespace(ALL="all units")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "coremltools", fake)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    return fake


def shared(exported: Exports, folder: Path) -> Path:
    """One package of the three stages of `tiny`, in place of copies of theirs."""
    folder.mkdir()
    packages = [Path(shutil.copytree(a, folder / a.name)) for a in (exported("tiny", k).artifact for k in range(3))]
    coreml_exporter.share(packages, folder / "cascade.mlpackage")
    assert [p.name for p in folder.iterdir()] == ["cascade.mlpackage"]
    return folder / "cascade.mlpackage"


def test_functions_of_one_package_answer_as_packages_of_their_own(exported: Exports, tmp_path: Path) -> None:
    """The same operators, declared alike, to the same bits; and the same bytes each time."""
    package = shared(exported, tmp_path / "a")
    spec = ct.models.MLModel(str(package), skip_model_load=True).get_spec()
    assert spec.specificationVersion == 9 == ct.target.iOS18
    for k, stage in enumerate(stages("tiny")):
        alone, inputs = exported("tiny", k).artifact, named_inputs("tiny", k)
        assert coreml_check.check_package(package, stage) == coreml_check.check_package(alone, stage)
        ours, theirs = Interpreter(package, stage=stage.name)(inputs), Interpreter(alone)(inputs)
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs) and ours.keys() == theirs.keys()
    with pytest.raises(ExportError, match="expected stage7 among them"):
        Interpreter(package, stage="stage7")
    assert files(shared(exported, tmp_path / "b")) == files(package)


@pytest.mark.usefixtures("fake_mac")
def test_engine_runs_the_function_of_the_stage(exported: Exports, tmp_path: Path) -> None:
    package, inputs = shared(exported, tmp_path / "a"), named_inputs("tiny", 1)
    arrays = inputs | {"image": inputs["image"].transpose(0, 2, 3, 1).astype(np.uint8)}
    alone = exported("tiny", 1).artifact
    found, expected = (
        load_stage(Artifact.at(one), stage_spec(1, one), "CoreML", 1)(arrays) for one in (package, alone)
    )
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_engine_elsewhere_says_macos_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = stage_spec(0, tmp_path)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(EngineError, match=r"stage0: .*macOS only and this is Linux.*unverified") as error:
        load_stage(Artifact(tmp_path.name, {}), spec, "CoreML", 1)
    assert "\n" not in str(error.value)
    with pytest.raises(EngineError, match="the bundle says CPUExecutionProvider"):
        load_stage(Artifact(tmp_path.name, {}), spec, "CPUExecutionProvider", 1)


@pytest.mark.usefixtures("fake_mac")
def test_engine_chain_is_the_cascade(exported: Exports) -> None:
    """From the runtime's uint8 pixels through every stage, as PyTorch computes it from the same pixels."""
    pixels = torch.randint(0, 256, (1, 32, 32, 3), generator=torch.Generator().manual_seed(5)).to(torch.uint8)
    pixels[..., 0] //= 4  # so that red and blue cannot be swapped unseen
    arrays: dict[str, Any] = {"image": pixels.numpy()}
    for index, (_, expected) in enumerate(StageChain(stages("tiny", "NHWC")).run(pixels)):
        artifact = exported("tiny", index).artifact
        program = load_stage(Artifact.at(artifact), stage_spec(index, artifact), "CoreML", 1)
        outputs = program(arrays)
        assert outputs.keys() == expected.keys()
        for name, y in expected.items():
            assert coreml_check.sqnr_db(y.numpy(), outputs[name]) > 50
        arrays |= outputs


@pytest.mark.usefixtures("fake_mac")
def test_engine_copies_and_takes_turns(exported: Exports) -> None:
    artifact = exported("tiny", 0).artifact
    program = load_stage(Artifact.at(artifact), stage_spec(0, artifact), "CoreML", 1)
    images = [np.full((1, 32, 32, 3), value, dtype=np.uint8) for value in (0, 80, 160, 240)]
    alone = [program({"image": image})["logits"].copy() for image in images]
    kept: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda i=i: kept.update({i: program({"image": images[i]})["logits"]}))
        for i in range(len(images))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == [0, 1, 2, 3]
    assert all((kept[i] == alone[i]).all() for i in kept)


def test_engine_errors_are_of_one_kind(
    exported: Exports, fake_mac: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    artifact = exported("tiny", 0).artifact
    spec = stage_spec(0, artifact)
    program = load_stage(Artifact.at(artifact), spec, "CoreML", 1)
    for wrong in (np.zeros((1, 3, 32, 32), np.uint8), np.zeros((1, 32, 32, 3), np.float32)):
        with pytest.raises(EngineError, match=r"expected uint8 \(1, 32, 32, 3\)"):
            program({"image": wrong})
    image = {"image": np.zeros((1, 32, 32, 3), np.uint8)}
    monkeypatch.setattr(FakeMLModel, "predict", lambda self, feed: {"logits": np.zeros((1, 10))})
    with pytest.raises(EngineError, match="tokens_0, relations_0 is missing"):
        program(image)

    def fails(*args: Any, **options: Any) -> None:
        raise RuntimeError("error in -7")

    monkeypatch.setattr(FakeMLModel, "predict", fails)
    with pytest.raises(EngineError, match=r"stage0: Core ML did not run it .*-7"):
        program(image)
    monkeypatch.setattr(fake_mac.models, "MLModel", fails)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "private"))
    (tmp_path / "private").mkdir()
    with pytest.raises(EngineError, match=r"stage0: Core ML cannot load stage0.mlpackage .*-7"):
        load_stage(Artifact.at(artifact), spec, "CoreML", 1)
    assert not list((tmp_path / "private").iterdir())
