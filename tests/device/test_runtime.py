"""The runtime: stages in order, later ones neither run nor loaded, state by name, several threads."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.fake_bundle import FakeEngine, write_bundle
from support.needs import needs

from dvt_edge.device import runtime as runtime_module
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.device_state import DeviceState
from dvt_edge.device.engines import Artifact
from dvt_edge.device.exit_rule import confidence
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.runtime import Runtime
from dvt_edge.errors import DataError, EngineError, ManifestError, NotFiniteError

EASY, HARD, OTHER = [9.0, 0.0, 0.0], [0.2, 0.1, 0.0], [0.0, 7.0, 0.0]
IMAGE = np.zeros((4, 4, 3), np.uint8)
ROOT = Path(__file__).parents[2]


def runtime_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logits: list[list[float]], **options
) -> tuple[Runtime, FakeEngine]:
    engine = FakeEngine(logits)
    monkeypatch.setattr(runtime_module, "engine_for", lambda name: engine.load_stage)
    return Runtime(write_bundle(tmp_path / "bundle"), **options), engine


def test_an_easy_image_runs_and_loads_the_first_stage_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, engine = runtime_of(tmp_path, monkeypatch, [EASY, EASY, OTHER])
    result = runtime.run(IMAGE)
    assert (result.exit, result.label_name, result.skipped) == (0, "cat", ("stage1", "stage2"))
    assert engine.loads == engine.runs == [0] and runtime.loaded == (True, False, False)
    assert len(result.stage_ms) == len(result.confidences) == 1 and result.operating_point == "accurate"
    assert result.total_ms >= sum(result.stage_ms) and result.glue_ms >= 0


def test_a_hard_image_runs_every_stage_in_order_with_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, engine = runtime_of(tmp_path, monkeypatch, [HARD, HARD, OTHER])
    assert (runtime.run(IMAGE).exit, runtime.run(IMAGE).label) == (2, 1)
    assert engine.runs == [0, 1, 2, 0, 1, 2] and engine.loads == [0, 1, 2]


def test_points_thresholds_and_caps_move_the_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, _ = runtime_of(tmp_path, monkeypatch, [EASY, EASY, OTHER])
    assert runtime.run(IMAGE, operating_point="full").exit == 2
    assert runtime.run(IMAGE, DeviceState(max_stage=1), operating_point="full").exit == 1
    custom = Runtime(runtime.bundle, thresholds=(2.0, 0.5, 0.0))
    assert (custom.run(IMAGE).exit, custom.run(IMAGE).operating_point) == (1, "custom")
    with pytest.raises(ManifestError, match="eager, accurate, full"):
        runtime.run(IMAGE, operating_point="best")
    with pytest.raises(ManifestError, match="3 exits"):
        Runtime(runtime.bundle, thresholds=(0.5,))


def test_the_manifests_measure_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes at even odds, a third ruled out: enough for max_softmax and entropy here, not for the margin."""
    close = [5.0, 4.9, -9.0]
    monkeypatch.setattr(runtime_module, "engine_for", lambda name: FakeEngine([close, EASY, OTHER]).load_stage)
    bundle = write_bundle(tmp_path / "bundle")
    exits = {}
    for measure in ("max_softmax", "margin", "entropy"):
        manifest = dataclasses.replace(bundle.manifest, confidence=ConfidenceSpec(measure, (1.0, 1.0, 1.0)))
        result = Runtime(CascadeBundle(bundle.folder, manifest), thresholds=(0.2, 0.2, 0.0)).run(IMAGE)
        assert result.confidences[0] == confidence(np.array(close, np.float32), 1.0, measure)
        exits[measure] = result.exit
    assert exits == {"max_softmax": 0, "margin": 1, "entropy": 0}


def test_a_last_stage_that_is_not_finite_gives_the_one_before_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, _ = runtime_of(tmp_path, monkeypatch, [HARD, OTHER, [math.nan, 0, 0]])
    result = runtime.run(IMAGE, operating_point="full")
    assert (result.exit, result.degraded, len(result.stage_ms)) == (1, True, 3)
    runtime._programs = [
        FakeEngine([[math.nan] * 3] * 3).load_stage(Artifact("", {}), s, "", 1) for s in runtime.manifest.stages
    ]
    with pytest.raises(NotFiniteError):
        runtime.run(IMAGE)


def test_prewarm_loads_every_stage_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, engine = runtime_of(tmp_path, monkeypatch, [EASY, EASY, OTHER])
    runtime.prewarm()
    runtime.prewarm()
    assert engine.loads == [0, 1, 2] and all(runtime.loaded)


def test_several_threads_load_once_and_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, engine = runtime_of(tmp_path, monkeypatch, [HARD, HARD, OTHER])
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: runtime.run(IMAGE), range(200)))
    assert {(r.exit, r.label) for r in results} == {(2, 1)} and sorted(engine.loads) == [0, 1, 2]


def test_bad_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, engine = runtime_of(tmp_path, monkeypatch, [EASY, EASY, OTHER])
    with pytest.raises(DataError):
        runtime.run(np.zeros((4, 4), np.uint8))
    assert not engine.runs


# -- with ONNX Runtime ---------------------------------------------------------------------------------------------


def test_the_real_engine_repeats_its_golden_logits(zoo_bundle: CascadeBundle) -> None:
    runtime = Runtime(zoo_bundle)
    images, logits = zoo_bundle.golden()
    for k, image in enumerate(images):
        for found, expected in zip(runtime.logits(image), logits, strict=True):
            assert np.abs(found - expected[k]).max() <= zoo_bundle.manifest.golden.tolerance


def test_real_threads_agree_with_one(zoo_bundle: CascadeBundle) -> None:
    runtime = Runtime(zoo_bundle)
    images = list(zoo_bundle.golden()[0]) * 8
    alone = [(r.exit, r.label, r.confidence) for r in map(runtime.run, images)]
    with ThreadPoolExecutor(4) as pool:
        assert [(r.exit, r.label, r.confidence) for r in pool.map(runtime.run, images)] == alone


def test_an_absent_provider_is_an_error_not_a_fallback(zoo_bundle: CascadeBundle) -> None:
    from dvt_edge.device.engines.onnxruntime_engine import load_stage

    stage = zoo_bundle.manifest.stages[0]
    artifact = Artifact(stage.artifact, zoo_bundle.artifact(0))
    with pytest.raises(EngineError, match="QNNExecutionProvider"):
        load_stage(artifact, stage, "QNNExecutionProvider", 1)
    with pytest.raises(EngineError, match="manifest says"):
        other = zoo_bundle.manifest.stages[1]
        load_stage(artifact, other, "CPUExecutionProvider", 1)


PHONE_SIDE_TESTER = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):  # what a tester with onnxruntime and numpy alone lacks
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "timm", "pydantic", "PIL", "rich", "typer", "onnx", "safetensors"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing())
import dvt_edge
bundle = dvt_edge.CascadeBundle.open(sys.argv[1])
images, logits = bundle.golden()
result = dvt_edge.Runtime(bundle).run(images[0])
print(result.label_name, result.exit)
"""


def test_a_bundle_runs_with_onnxruntime_and_numpy_alone(zoo_bundle: CascadeBundle) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PHONE_SIDE_TESTER, str(zoo_bundle.folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = Runtime(zoo_bundle).run(zoo_bundle.golden()[0][0])
    assert done.stdout.split() == [expected.label_name, str(expected.exit)]


def test_importing_dvt_edge_brings_neither_torch_nor_an_engine() -> None:
    heavy = {"torch", "onnxruntime", "pydantic", "PIL"}
    code = f"import sys, dvt_edge, dvt_edge.device.runtime; print(sorted({heavy} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from dvt_edge.device import engines
    from dvt_edge.errors import MissingPackageError

    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    monkeypatch.setattr(engines, "import_module", absent)
    with pytest.raises(MissingPackageError, match=r"dvt-edge\[onnx\]"):
        engines.engine_for("onnxruntime")


def test_needs_fails_on_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is skipped for a user is a failure on CI."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        needs("a_package_that_does_not_exist")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        needs("a_package_that_does_not_exist")
