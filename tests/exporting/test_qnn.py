"""Snapdragon's NPU: the driving code on a stand-in; Qualcomm's own simulator where its environment was made."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.needs import needs

from dvt_edge import CascadeBundle, Runtime, export
from dvt_edge.data.reading import sample
from dvt_edge.errors import EngineError, ExportError
from dvt_edge.exporting import qnn_simulator
from dvt_edge.exporting.own_environment import QNN
from dvt_edge.exporting.qnn_chips import CHIPS, chip_of, for_chips
from dvt_edge.exporting.qnn_worker import receive, send
from dvt_edge.exporting.recipes import RECIPES, recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS

RECIPES_OF_QNN = tuple(recipe for recipe in RECIPES if recipe.backend == "QNNExecutionProvider")
STAND_IN = Path(__file__).parents[1] / "support/qnn_stand_in.py"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose Python runs the worker on the CPU."""
    needs("onnxruntime")
    python = tmp_path / "environment/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$2"\n')  # $1 is -I
    python.chmod(0o755)
    monkeypatch.setenv("DVT_EDGE_QNN", str(tmp_path / "environment"))
    return python


@pytest.fixture(params=["stand-in", "simulator"])
def environment(request: pytest.FixtureRequest) -> str:
    if request.param == "stand-in":
        request.getfixturevalue("stand_in")
    elif why := QNN.why_not():
        pytest.skip(f"needs {why}")
    return request.param


def tiny() -> Cascade:
    """dvt_tiny with weights large enough that logits differ between images."""
    torch.manual_seed(0)
    cascade = Cascade(PRESETS["dvt_tiny"]).eval()
    with torch.no_grad():
        for parameter in cascade.parameters():
            if parameter.ndim == 2:
                parameter.mul_(1 / (parameter.std() * parameter.shape[1] ** 0.5))
    return cascade


def made(target: str, out: Path, **more: object) -> CascadeBundle:
    return export(tiny(), target, out, calibration=sample("cifar10-test").first(16), **more)


@pytest.mark.parametrize("target", ["onnx-qnn-fp16", "onnx-qnn-a16w8"])
def test_a_bundle_holds_what_was_compiled_and_says_where_it_ran(target: str, environment: str, tmp_path: Path) -> None:
    quantized = target == "onnx-qnn-a16w8"  # of made-up weights, which keep no bound
    bundle = made(target, tmp_path / "b", socs=["sm8550", "sm8650"], accept_degraded=quantized)
    manifest = bundle.manifest
    for k, stage in enumerate(manifest.stages):
        assert [(c.soc, c.backend) for c in stage.compiled] == [(s, manifest.backend) for s in ("sm8550", "sm8650")]
        assert set(stage.files) == set(manifest.files_of(k)) and len(stage.files) == 3
    assert quantized or manifest.verification.reason.endswith("Qualcomm's simulator of sm8550 and no phone")
    assert manifest.golden.source == "artifact" and manifest.tools["onnxruntime-qnn"] == "2.7.0"
    least = 15 if quantized else 40
    assert all(q.sqnr_db is None or q.sqnr_db > least for q in manifest.verification.exits)


def test_one_export_and_another_give_the_same_bytes(environment: str, tmp_path: Path) -> None:
    """But for what Qualcomm's compiler makes: on a busy machine some of its own bytes differ from run to run."""
    first, second = (made("onnx-qnn-fp16", tmp_path / name) for name in "ab")
    for stage in first.manifest.stages:
        artifact, *compiled = stage.files
        assert (first.path / artifact).read_bytes() == (second.path / artifact).read_bytes()
        for name in compiled:
            sizes = [(b.path / name).stat().st_size for b in (first, second)]
            assert sizes[0] == sizes[1] > 0
    assert environment == "simulator" or first.artifacts_sha256 == second.artifacts_sha256


def test_without_the_provider_a_bundle_is_refused_in_one_line(stand_in: Path, tmp_path: Path) -> None:
    bundle = made("onnx-qnn-fp16", tmp_path / "b")
    with pytest.raises(EngineError, match="stage0: this onnxruntime lacks the provider QNNExecutionProvider; it has"):
        Runtime(bundle).run(np.zeros((32, 32, 3), np.uint8))


def test_a_node_beside_qnns_fails_the_export(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QNN_STAND_IN", "split")
    with pytest.raises(ExportError, match=r"stage0: target onnx-qnn-fp16, sm8550: compiled to .*'Identity': 1"):
        made("onnx-qnn-fp16", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_simulator_that_ends_is_one_line_with_its_last_words(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QNN_STAND_IN", "die")
    with pytest.raises(EngineError, match=r"Qualcomm's simulator ended \(the simulator gave up\)"):
        made("onnx-qnn-fp16", tmp_path / "b")


def test_a_compilers_refusal_names_stage_target_and_chip(stand_in: Path) -> None:
    with pytest.raises(EngineError, match="Failed to finalize QNN graph"):
        qnn_simulator.compile_context(b"", "sm8350", half=True)


def test_chips_too_old_unknown_or_out_of_place_are_refused() -> None:
    for target, soc, words in (
        ("onnx-qnn-a16w8", "sm8450", r"needs Snapdragon 8 Gen 2 \(sm8550\) or later; sm8450 is Snapdragon 8 Gen 1"),
        ("onnx-qnn-fp16", "sm8350", r"needs Snapdragon 8 Gen 1 \(sm8450\) or later; sm8350 is Snapdragon 888"),
        ("onnx-qnn-a8w8", "sm1", "unknown chip 'sm1'; known: sm8350"),
        ("onnx-int8", "sm8550", "compiled for no chip; leave sm8550 out"),
    ):
        with pytest.raises(ExportError, match=words):
            for_chips(recipe_for(target), [soc])
    for recipe in RECIPES_OF_QNN:
        assert recipe.proof == "simulated" and for_chips(recipe, recipe.socs) == recipe
    assert chip_of("sm8550") in CHIPS


def test_without_the_environment_one_line_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVT_EDGE_QNN", str(tmp_path / "none"))
    if sys.platform == "linux":
        with pytest.raises(EngineError, match=f"an environment of its own: {QNN.command}"):
            qnn_simulator.Simulator()


def test_messages_come_through_whole_or_not_at_all() -> None:
    arrays = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "empty": np.zeros((0, 2), np.uint8)}
    stream = io.BytesIO()
    send(stream, {"do": "run"}, arrays)
    message, found = receive(io.BytesIO(stream.getvalue()))
    assert message == {"do": "run"} and found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    with pytest.raises(EOFError):
        receive(io.BytesIO(stream.getvalue()[:-1]))
