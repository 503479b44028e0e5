"""Where an error begins: `validate --bisect` names stage and tensor, `--outputs` the first file that is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.needs import needs

from dvt_edge import CascadeBundle, Runtime
from dvt_edge.cli.app import main


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
