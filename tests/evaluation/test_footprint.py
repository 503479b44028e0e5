"""What a stage takes: measured in processes of its own, and told in one line where it cannot be."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from dvt_edge import CascadeBundle
from dvt_edge.cli.process import run
from dvt_edge.device.bundle import list_files
from dvt_edge.device.manifest import MANIFEST, to_json
from dvt_edge.errors import EngineError
from dvt_edge.evaluation import footprint


def test_each_stage_is_measured_and_kept_beside_the_bundle(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "LOADS", 1)
    bundle = Path(shutil.copytree(zoo_bundle.folder, tmp_path / "onnx-fp32"))
    assert run(["footprint", str(bundle)]) == 0
    kept = json.loads((tmp_path / "onnx-fp32.footprint.json").read_text())
    assert kept["artifacts_sha256"] == zoo_bundle.artifacts_sha256 and kept["loads"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["onnx-fp32", "onnx-fp32.footprint.json"]
    out = capsys.readouterr().out
    for index, stage in enumerate(kept["stages"]):
        size = (bundle / f"stage{index}.onnx").stat().st_size
        assert stage["artifact_bytes"] == size and f"{size / 1e6:.2f}" in out
        assert 0 < stage["load_ms"] < 60_000 and 0 < stage["first_run_ms"] < 60_000
        assert size / 2 < stage["peak_bytes"] < 2**30  # the weights at least, once


def test_a_stage_that_does_not_load_is_one_line(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(zoo_bundle.folder, tmp_path / "b"))
    (folder / "stage1.onnx").write_bytes(b"no ONNX file")
    manifest = dataclasses.replace(zoo_bundle.manifest, files=list_files(folder))
    (folder / MANIFEST).write_text(to_json(manifest))
    with pytest.raises(EngineError, match=r"^stage1: onnxruntime cannot load stage1\.onnx \(") as told:
        footprint.in_its_own_process(folder, 1, 1)
    assert "\n" not in str(told.value)
