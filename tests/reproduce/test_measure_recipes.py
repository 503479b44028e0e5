"""The table of recipes: figures by other arithmetic than the script's, a row for each exit, work that is kept."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer

from dvt_edge import CascadeBundle, Runtime
from dvt_edge.calibration.exit_logits import BundleSource
from dvt_edge.data.reading import sample
from dvt_edge.errors import DataError

SCRIPTS = Path(__file__).parents[2] / "export_scripts/reproduce"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("coremltools")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import measure_recipes

    return measure_recipes


def test_figures_and_page(script: ModuleType, zoo_bundle: CascadeBundle) -> None:
    """A quarter of the images answered otherwise at the last exit: as much less agreement, right ones turned wrong."""
    images = sample("cifar10-test").first(8)
    truth = np.asarray(images.labels)
    reference = np.tile(10 * np.eye(10, dtype=np.float32)[truth][:, None], (1, 3, 1))
    found = reference.copy()
    found[:2, 2] = np.roll(found[:2, 2], 1, axis=-1)
    row = script.figures(zoo_bundle, found, reference, images)
    first, _, last = row["exits"]
    assert (first["top1"], first["agreement"], first["sqnr_db"]) == (1, 1, None)
    assert (last["top1"], last["float_top1"], last["agreement"]) == (0.75, 1, 0.75)
    assert last["change"][0] < -0.25 < last["change"][1] <= 0
    assert last["sqnr_db"] == pytest.approx(10 * np.log10(8 / (2 * 2)))
    assert row["exit_agreement"] == 1 and row["delegated"] == 1
    assert [e["bytes"] for e in row["exits"]] == [zoo_bundle.artifact_size(k) for k in range(3)]
    assert row["refused"] is None and row["arm"] == [1, 1, 1]
    about = {"checkpoint": "zoo:dvt_cifar10", "data": "eight images", "machine": "a desk"}
    lines = script.page(about | {"recipes": [row | {"latency": [1, 1, 0.5], "refused": "too far"}]}).splitlines()
    assert sum(line.startswith("| `onnx-fp32`") for line in lines) == 2
    assert any(line.startswith("|  | 2 | 8 | 75.00 | -25.00 (") and line.endswith("| 0.50 | 1.00 |") for line in lines)
    assert "- `onnx-fp32`: too far" in lines
    lines = script.page(about | {"recipes": [row | {"latency": None, "arm": None}]}).splitlines()
    assert not any("ARM" in line or "too far" in line or "Rows of" in line for line in lines)
    fewer = [row | {"latency": None, "images": n, "proof": p} for n, p in ((8, "run"), (2, "simulated"), (4, "run"))]
    assert "Rows of 4 or 2 images: drawn at random, simulated." in script.page(about | {"recipes": fewer}).splitlines()
    int8 = [row | {"latency": None, "target": "onnx-int8", "range_images": n} for n in (128, 48)]
    said = [line for line in script.page(about | {"recipes": int8}).splitlines() if "Ranges of" in line]
    assert said == ["Ranges of `onnx-int8`: of 48 images, not 128."]


def test_some_recipes_measured_anew_leave_the_others_of_the_page(script: ModuleType) -> None:
    about = {"checkpoint_sha256": "a", "data": "images", "machine": "a desk"}
    before = about | {"recipes": [{"target": name, "run": 1} for name in ("onnx-fp32", "onnx-int8", "coreml-w8")]}
    now = about | {"recipes": [{"target": name, "run": 2} for name in ("executorch-xnnpack-int8", "onnx-int8")]}
    found = [(row["target"], row["run"]) for row in script.merged(before, now)]
    assert found == [("onnx-fp32", 1), ("onnx-int8", 2), ("executorch-xnnpack-int8", 2), ("coreml-w8", 1)]
    for key in about:
        with pytest.raises(typer.BadParameter, match=f"{key} is another"):
            script.merged(before, now | {key: "b"})


def test_logits_are_kept(script: ModuleType, tmp_path: Path, zoo_bundle: CascadeBundle) -> None:
    """For an artifact and these images: as many others are refused."""
    calls, images = [], sample("cifar10-test")
    source = BundleSource(Runtime(zoo_bundle))
    plain = source.logits
    source.logits = lambda pixels: calls.append(1) or plain(pixels)
    for _ in range(2):
        assert script.kept_logits(source, images.first(2), tmp_path / "a", lambda *_: None).shape == (2, 3, 10)
    assert calls == [1] and len(list((tmp_path / "a").iterdir())) == 1
    with pytest.raises(DataError, match="not of these images"):
        script.kept_logits(source, images.take([5, 6]), tmp_path / "a", lambda *_: None)
