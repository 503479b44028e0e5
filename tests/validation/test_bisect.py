"""Where an error begins: `validate --bisect` names stage and tensor, `--outputs` the first file that is wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.made_up_phone import HEADER
from support.needs import needs

from dvt_edge import CascadeBundle, Runtime
from dvt_edge.cli.app import main
from dvt_edge.data.reading import sample
from dvt_edge.device.device_log import encode
from dvt_edge.device.engines import Arrays, Artifact, StageProgram, engine_for
from dvt_edge.device.manifest import Operators, StageSpec, TensorSpec
from dvt_edge.errors import DataError, EngineError
from dvt_edge.exporting.exporters import in_float32
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import load_cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.stages import StageChain, StageGraph, split
from dvt_edge.validation.bisect import Culprit, Inner, first_tensor
from dvt_edge.validation.bounds import SIDES, Bounds, DeviceBounds
from dvt_edge.validation.compare import ErrorMeter, compare
from dvt_edge.validation.device_validation import LogReport
from dvt_edge.validation.raw_outputs import compare_outputs
from dvt_edge.validation.verdicts import Check


def broken_copy(bundle: CascadeBundle, folder: Path, stage: int) -> tuple[Path, str]:
    """A copy in which the weights of one linear of a stage are three times as large; and that linear's output."""
    onnx = pytest.importorskip("onnx")
    from onnx import numpy_helper

    assert bundle.path is not None
    shutil.copytree(bundle.path, folder)
    name = f"stage{stage}.onnx"
    model = onnx.load(folder / name)
    weights = {w.name: w for w in model.graph.initializer}
    linears = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm") and n.input[1] in weights]
    node = linears[len(linears) // 2]
    weight = weights[node.input[1]]
    weight.CopyFrom(numpy_helper.from_array(3 * numpy_helper.to_array(weight), weight.name))
    onnx.save(model, folder / name)
    content = (folder / name).read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder, node.output[0]


def test_the_stage_and_the_tensor_where_an_error_begins_are_named(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = broken_copy(zoo_bundle, tmp_path / "broken", 1)
    assert main(["validate", str(folder), "zoo:dvt_cifar10", "--bisect", "--limit", "4"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "stage 1 is the first out of its band" in said
    assert f"inside it, {output} of " in said


def test_a_bundle_that_holds_has_no_such_place(zoo_bundle: CascadeBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(zoo_bundle.path), "zoo:dvt_cifar10", "--bisect", "--limit", "2"]) == 0
    assert "every output of every stage is within its band" in capsys.readouterr().out
    assert main(["validate", str(zoo_bundle.path), "--bisect", "--outputs", "x"]) == 2


def test_a_log_that_fails_is_bisected_too(
    zoo_bundle: CascadeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is where one wants to know whether the bundle itself holds here."""
    log = tmp_path / "log.jsonl"
    log.write_bytes(encode(HEADER))
    exits: dict[str, list[object]] = {name: [] for name, _ in SIDES}
    figures = {"log": log.name, "images": 1, "header": dataclasses.asdict(HEADER), "exits": exits, "notes": []}
    failed = LogReport([Check("artifacts", "fail", "a", "b")], [], figures, [])
    monkeypatch.setattr("dvt_edge.validation.device_validation.validate_log", lambda *_: failed)
    arguments = ["validate", str(zoo_bundle.path), "zoo:dvt_cifar10", "--device-log", str(log)]
    assert main(arguments) == 1
    assert "every output" not in capsys.readouterr().out
    assert main([*arguments, "--bisect", "--limit", "2"]) == 1
    said = capsys.readouterr().out
    assert "failed: artifacts" in said and "every output of every stage is within its band" in said


@pytest.fixture
def pulled(zoo_bundle: CascadeBundle, tmp_path: Path) -> Path:
    """What a device whose kernels are a little off made of the golden images, every output."""
    needs("onnxruntime")
    runtime, dice = Runtime(zoo_bundle), np.random.default_rng(0)
    images, _ = zoo_bundle.golden(0)
    made: dict[str, list[np.ndarray]] = {}
    for pixels in images:
        state: dict[str, np.ndarray] = {}
        for k, stage in enumerate(zoo_bundle.manifest.stages):
            given = {t.name: pixels[None] if t.role == "image" else state[t.name] for t in stage.inputs}
            state = runtime.program(k)(given)
            for name, array in state.items():
                made.setdefault(f"stage{k}.{name}.bin", []).append(array[0] + dice.normal(0, 1e-5, array[0].shape))
    for file, rows in made.items():
        (tmp_path / file).write_bytes(np.stack(rows).astype("<f4").tobytes())
    return tmp_path


def test_raw_outputs_are_held_against_the_host(
    zoo_bundle: CascadeBundle, pulled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["validate", str(zoo_bundle.path), "--outputs", str(pulled)]
    assert main(arguments) == 0
    files = sorted(p.name for p in pulled.glob("*.bin"))
    said = capsys.readouterr().out
    assert all(f"pass         {name}" in said for name in files)
    wrong = next(name for name in files if name.startswith("stage1.") and "logits" not in name)
    array = np.frombuffer((pulled / wrong).read_bytes(), "<f4") + np.float32(0.1)
    (pulled / wrong).write_bytes(array.tobytes())
    (pulled / "stage2.logits.bin").write_bytes(b"\0" * (pulled / "stage2.logits.bin").stat().st_size)
    assert main(arguments) == 1
    assert f"failed: 2 of {len(files)}, the first is {wrong}" in capsys.readouterr().out
    for content, words in ((b"\0", "1 bytes; expected"), (None, "no output of dvt_cifar10")):
        name = "stage0.logits.bin" if content else "stage7.logits.bin"
        (pulled / name).write_bytes(content or b"")
        assert main(arguments) == 2
        assert words in capsys.readouterr().err
    assert main(["validate", str(zoo_bundle.path), "--outputs", str(pulled / "none")]) == 2


def with_float16_state(bundle: CascadeBundle) -> Runtime:
    """The bundle's stages as if they handed float16 on, which they then must get."""
    needs("onnxruntime")
    full = {stage.name: stage for stage in bundle.manifest.stages}

    def halved(tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(dataclasses.replace(t, dtype="float16") if t.role == "state" else t for t in tensors)

    def load_stage(artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram:
        program = engine_for("onnxruntime")(artifact, full[stage.name], backend, threads)

        def run(inputs: Arrays) -> Arrays:
            assert {t.name: t.dtype for t in stage.inputs} == {name: a.dtype.name for name, a in inputs.items()}
            found = program({t.name: inputs[t.name].astype(t.dtype) for t in full[stage.name].inputs})
            return {t.name: found[t.name].astype(t.dtype) for t in stage.outputs}

        return run

    stages = tuple(
        dataclasses.replace(s, inputs=halved(s.inputs), outputs=halved(s.outputs)) for s in bundle.manifest.stages
    )
    assert bundle.path is not None
    return Runtime(
        CascadeBundle(bundle.path, dataclasses.replace(bundle.manifest, stages=stages)), load_stage=load_stage
    )


def test_state_in_float16_is_given_and_read_as_the_manifest_says(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    """PyTorch's float32 goes in as float16, and files of a device's state have two bytes a number."""
    runtime = with_float16_state(zoo_bundle)
    comparison = compare(load_cascade("zoo:dvt_cifar10"), runtime, sample("cifar10-test").first(2))
    noise = [meter.sqnr_db for meter in comparison.tensors.values()]
    assert all(db is not None and db > 50 for db in noise)
    images, _ = zoo_bundle.golden(0)
    made: dict[str, list[np.ndarray]] = {}
    for pixels in images:
        state: dict[str, np.ndarray] = {}
        for k, stage in enumerate(runtime.manifest.stages):
            state = runtime.program(k)(
                {t.name: pixels[None] if t.role == "image" else state[t.name] for t in stage.inputs}
            )
            for name, array in state.items():
                made.setdefault(f"stage{k}.{name}.bin", []).append(array[0])
    for file, rows in made.items():
        (tmp_path / file).write_bytes(np.stack(rows).tobytes())
    checks, _ = compare_outputs(runtime, tmp_path, DeviceBounds(1e-6), Bounds(max_abs_error=1e-6))
    assert [c.verdict for c in checks] == ["pass"] * len(made)
    (tmp_path / "stage0.tokens_0.bin").write_bytes(np.stack(made["stage0.tokens_0.bin"]).astype("<f4").tobytes())
    with pytest.raises(DataError, match="float16"):
        compare_outputs(runtime, tmp_path, DeviceBounds(1e-6), Bounds(max_abs_error=1e-6))


def inner(name: str, sources: str, error: float | None) -> Inner:
    return Inner(name, "Op", tuple(sources), None if error is None else ErrorMeter(max_abs_error=error))


def test_the_first_tensor_is_one_whose_error_reaches_the_output() -> None:
    culprit = Culprit(1, "z", "is off")
    tensors = [
        inner("a", "x", 9.0),  # a factor that the next layer takes back: b is within the band
        inner("b", "a", 0.0),
        inner("c", "b", 5.0),
        inner("d", "c", None),  # not in the stage in float32
        inner("e", "bd", 0.5),  # a sum, in which the error is small
        inner("f", "x", 7.0),  # nothing is made of it
        inner("z", "e", 4.0),
    ]
    found = first_tensor(culprit, tensors, Bounds(max_abs_error=1.0))
    assert (found.tensor, found.operator, found.after) == ("c", "Op", "b")
    words = "its output z is off; inside it, c of Op is off by 5 (at most 1), after b"
    assert found.words() == f"stage 1 is the first out of its band: {words}"
    assert first_tensor(culprit, tensors, Bounds(max_abs_error=10.0)) == culprit


@pytest.fixture(scope="module")
def second() -> tuple[StageGraph, dict[str, torch.Tensor]]:
    """The second stage of dvt_tiny, and inputs of it."""
    needs("executorch")
    torch.manual_seed(0)
    stages = split(Cascade(PRESETS["dvt_tiny"]).eval())
    pixels = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    return stages[1], StageChain(stages).run(pixels, last=1)[1][0]


@pytest.fixture(scope="module")
def reference(second: tuple[StageGraph, dict[str, torch.Tensor]]) -> bytes:
    return in_float32(second[0], "executorch")


@pytest.mark.parametrize("recipe", ["int8", "int8-dynamic"])
def test_the_layer_inside_an_xnnpack_stage_is_named(
    second: tuple[StageGraph, dict[str, torch.Tensor]], reference: bytes, recipe: str, tmp_path: Path
) -> None:
    from executorch.exir._serialize._program import serialize_pte_binary

    from dvt_edge.exporting.executorch_exporter import export_stage
    from dvt_edge.validation.inside_xnnpack import PayloadGraph, compare_inside

    stage, given = second
    made = export_stage(
        stage, recipe_for(f"executorch-xnnpack-{recipe}"), lambda: iter([tuple(given.values())]), tmp_path
    )
    names = stage.name, made.artifact.name
    spec = StageSpec(*names, stage.grid, 1, 1, stage.inputs, stage.outputs, made.operators)
    content, arrays = made.artifact.read_bytes(), {name: tensor.numpy() for name, tensor in given.items()}
    bounds, culprit = Bounds(min_sqnr_db=20.0), Culprit(1, "logits", "is off")
    whole = compare_inside(content, reference, stage, spec, [arrays])
    assert {t.name for t in spec.outputs} <= {t.name for t in whole}
    assert first_tensor(culprit, whole, bounds) == culprit
    graph = PayloadGraph(content, spec)
    layer = next(o for o, t in zip(graph.operators, whole, strict=True) if t.operator.endswith("blocks.1.fc1.weight"))
    place = graph.file.named_data.pte_data[layer.weights].buffer_index
    weights = np.frombuffer(graph.file.named_data.buffers[place], np.int8)
    graph.file.named_data.buffers[place] = (-weights).tobytes()
    broken = compare_inside(bytes(serialize_pte_binary(graph.file)), reference, stage, spec, [arrays])
    found = first_tensor(culprit, broken, bounds)
    assert (found.tensor, found.operator) == (layer.name, "FullyConnected blocks.1.fc1.weight")


def test_an_xnnpack_stage_of_another_network_is_told(
    second: tuple[StageGraph, dict[str, torch.Tensor]], reference: bytes
) -> None:
    from dvt_edge.validation.inside_xnnpack import compare_inside

    stage, given = second
    spec = StageSpec(stage.name, "stage1.pte", stage.grid, 1, 1, stage.inputs, stage.outputs, Operators(1, 0))
    deeper = split(Cascade(dataclasses.replace(PRESETS["dvt_tiny"], depth=PRESETS["dvt_tiny"].depth + 1)).eval())[1]
    with pytest.raises(EngineError, match=r"stage1\.pte has other operators than this executorch makes of the stage"):
        arrays = [{n: t.numpy() for n, t in given.items()}]
        compare_inside(reference, in_float32(deeper, "executorch"), stage, spec, arrays)
