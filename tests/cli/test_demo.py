"""The demo: summary.json and report.html hold the same measured figures; a second run reuses whole bundles."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from support.needs import needs

from dvt_edge import CascadeBundle, load_cascade
from dvt_edge.cli import demo
from dvt_edge.device.manifest import MANIFEST
from dvt_edge.exporting.recipes import recipe_for


def test_demo_measures_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("onnxruntime")
    needs("matplotlib")
    monkeypatch.setattr(demo, "RECIPES", (recipe_for("onnx-fp32"),))
    said: list[str] = []
    summary = demo.run_demo("zoo:dvt_cifar10", tmp_path, lambda what, done, total: said.append(what))
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    (target,) = summary["targets"]
    assert target["ran"] and not target["broken_bounds"] and summary["images"] == 256
    assert sum(target["exit_shares"]) == pytest.approx(1)
    macs, shares = target["macs"], target["exit_shares"]
    assert target["mean_macs"] == pytest.approx(sum(m * s for m, s in zip(macs, shares, strict=True)))
    assert target["top1"] > 0.4 and target["top1_per_exit"][2] > 0.4  # a trained cascade, on ten classes
    html = (tmp_path / "report.html").read_text()
    assert "http" not in re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html).replace("http-equiv", "")
    assert f"{100 * target['top1']:.1f} %" in html and html.count("data:image/png") > 10
    assert any("converting" in s for s in said)

    said.clear()
    demo.run_demo("zoo:dvt_cifar10", tmp_path, lambda what, done, total: said.append(what))
    assert not any("converting" in s for s in said)
    (tmp_path / "onnx-fp32/stage0.onnx").write_bytes(b"damaged")
    demo.run_demo("zoo:dvt_cifar10", tmp_path, lambda what, done, total: said.append(what))
    assert any("converting" in s for s in said)


def test_a_bundle_is_kept_unless_the_code_is_newer(
    zoo_bundle: CascadeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(zoo_bundle.folder, tmp_path / "bundle")
    recipe, digest = recipe_for(zoo_bundle.manifest.target), zoo_bundle.manifest.model.checkpoint_sha256
    made: list[Path] = []
    monkeypatch.setattr(demo, "export", lambda cascade, target, folder, **options: made.append(folder))

    def ask() -> None:
        demo.exported(recipe, load_cascade("zoo:dvt_cifar10"), digest, folder, lambda *args: None)

    ask()
    assert made == []
    os.utime(folder / MANIFEST, (0, 0))
    ask()
    assert made == [folder]
