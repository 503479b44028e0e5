"""LiteRT: its engine on a file that the converter made, the driving code on a stand-in, the converter where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.needs import needs

from dvt_edge.device.engines import Artifact, engine_for, load
from dvt_edge.device.manifest import Operators, StageSpec
from dvt_edge.errors import EngineError, ExportError
from dvt_edge.exporting.own_environment import LITERT
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.stages import StageGraph, split

ROOT = Path(__file__).parents[1]
RECIPE = recipe_for("litert-fp32")
SECOND = ROOT / "golden/litert/stage1.tflite"  # what the converter made of `second()`


@pytest.fixture(autouse=True)
def package() -> None:
    needs("ai_edge_litert")


@pytest.fixture(params=["stand-in", "converter"])
def environment(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "stand-in":
        monkeypatch.setenv("DVT_EDGE_LITERT", str(tmp_path / "environment"))
        monkeypatch.setenv("LITERT_STAND_IN", str(SECOND))
        LITERT.site_packages.mkdir(parents=True)
        shutil.copy(ROOT / "support/litert_stand_in.py", LITERT.site_packages / "sitecustomize.py")
    elif why := LITERT.why_not():
        pytest.skip(f"needs {why}")
    return request.param


def second() -> StageGraph:
    """A stage that takes state and hands some on, with seeded weights."""
    torch.manual_seed(0)
    return split(Cascade(PRESETS["dvt_tiny"].replace(depth=2)))[1]


def spec(stage: StageGraph, artifact: Path) -> StageSpec:
    return StageSpec(stage.name, artifact.name, stage.grid, 1, 1, stage.inputs, stage.outputs, Operators(1, 0))


def test_an_exported_stage_computes_what_pytorch_does(environment: str, tmp_path: Path) -> None:
    from dvt_edge.exporting.litert_exporter import export_stage

    stage = second()
    made = export_stage(stage, RECIPE, lambda: iter(()), tmp_path)
    assert made.artifact == tmp_path / "stage1.tflite" and made.operators.delegated > 50
    program = load(engine_for("litert"), Artifact.at(made.artifact), spec(stage, made.artifact), "XNNPACK", 1)
    inputs = stage.example_inputs(1)
    named = {t.name: x.numpy() for t, x in zip(stage.inputs, inputs, strict=True)}
    found, again = program(named), program(named)
    with torch.inference_mode():
        expected = stage(*inputs)
    for tensor, y in zip(stage.outputs, expected, strict=True):
        assert np.abs(found[tensor.name] - y.numpy()).max() < 1e-4
        assert found[tensor.name] is not again[tensor.name]


def test_what_is_no_such_stage_is_refused_in_one_line(tmp_path: Path) -> None:
    stage, engine = second(), engine_for("litert")
    own = Artifact.at(SECOND)
    for artifact, backend, words in (
        (own, "CPU", "runs the backend XNNPACK here; the bundle says CPU"),
        (Artifact(own.name, {own.name: b"TFL3" * 9}), "XNNPACK", "LiteRT cannot load stage1.tflite"),
        (Artifact(own.name, {own.name: own.content[:1000]}), "XNNPACK", "LiteRT cannot load stage1.tflite"),
    ):
        with pytest.raises(EngineError, match=words) as caught:
            load(engine, artifact, spec(stage, SECOND), backend, 1)
        assert "\n" not in str(caught.value)
    other = split(Cascade(PRESETS["dvt_tiny"].replace(depth=3)))[1]
    with pytest.raises(EngineError, match=r"stage1.tflite has the tensors .*; the manifest says"):
        load(engine, own, spec(other, SECOND), "XNNPACK", 1)


def test_what_the_converter_says_last_is_the_error(
    environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvt_edge.exporting.litert_exporter import export_stage

    if environment == "stand-in":
        torch.manual_seed(0)
        first = split(Cascade(PRESETS["dvt_tiny"].replace(depth=2)))[0]
        with pytest.raises(
            ExportError, match=r"^stage0: target litert-fp32 failed \(AssertionError: expected the second"
        ):
            export_stage(first, RECIPE, lambda: iter(()), tmp_path)
    monkeypatch.setenv("DVT_EDGE_LITERT", str(tmp_path / "none"))
    with pytest.raises(ExportError, match="needs Google's converter to LiteRT in an environment of its own"):
        export_stage(second(), RECIPE, lambda: iter(()), tmp_path)
