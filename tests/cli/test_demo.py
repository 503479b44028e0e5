"""The demo: summary.json and report.html hold the same measured figures; a second run exports nothing anew."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.needs import needs

from dvt_edge import CascadeBundle
from dvt_edge.cli import demo
from dvt_edge.cli.app import main
from dvt_edge.data.reading import sample
from dvt_edge.errors import DataError
from dvt_edge.exporting import pipeline
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.report import demo_page
from dvt_edge.validation.bounds import Bounds


def test_demo_measures_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("onnxruntime")
    needs("matplotlib")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
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
    assert demo.run_demo("zoo:dvt_cifar10", tmp_path, lambda *_: None)["targets"][0]["ran"]


def test_demo_takes_a_user_s_own_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They calibrate and are shown; the page has what the cascade saw of them, not the files."""
    needs("onnxruntime")
    needs("matplotlib")
    monkeypatch.setattr(demo, "RECIPES", (recipe_for("onnx-fp32"),))
    given = sample("cifar10-test").first(60)
    for index in range(60):
        folder = tmp_path / "photos" / given.classes[given.labels[index]]  # type: ignore[index]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(given[index])).resize((80, 60)).save(folder / f"{index}.png")
    summary = demo.run_demo("zoo:dvt_cifar10", tmp_path / "out", lambda *_: None, str(tmp_path / "photos"))
    assert summary["images"] == 60 and summary["data"].endswith("photos") and summary["targets"][0]["ran"]
    assert "photos" in CascadeBundle.open(tmp_path / "out/onnx-fp32").manifest.verification.data
    assert (tmp_path / "out/report.html").read_text().count("data:image/png") >= 8

    loose = tmp_path / "loose"
    loose.mkdir()
    Image.fromarray(np.asarray(given[0])).save(loose / "a.png")
    Image.fromarray(np.asarray(given[1])).save(loose / "b.png")
    with pytest.raises(DataError, match="no labels"):
        demo.run_demo("zoo:dvt_cifar10", tmp_path / "none", lambda *_: None, str(loose))


def test_a_target_that_its_export_refuses_is_a_line_and_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code is 1: a demo of the shipped cascade may refuse none."""
    needs("onnxruntime")
    needs("matplotlib")
    strict = replace(recipe_for("onnx-fp32"), bounds=Bounds(max_abs_error=0.0))
    monkeypatch.setattr(demo, "RECIPES", (strict, recipe_for("onnx-w8")))
    monkeypatch.setattr(pipeline, "recipe_for", lambda name: strict if name == "onnx-fp32" else recipe_for(name))
    assert main(["demo", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    refused, shown = json.loads((tmp_path / "summary.json").read_text())["targets"]
    assert (refused["ran"], refused["refused"], shown["ran"]) == (False, True, True)
    assert "onnx-fp32 did not run here: target onnx-fp32 disagrees with PyTorch" in said.out + said.err
    assert not (tmp_path / "onnx-fp32").exists() and "disagrees" in (tmp_path / "report.html").read_text()


def test_larger_images_are_thumbnails_and_small_ones_show_their_pixels() -> None:
    small, large = np.zeros((2, 2, 3), np.uint8), np.zeros((224, 224, 3), np.uint8)
    small[0, 0] = 255
    assert len(np.unique(np.asarray(demo_page.shown(small)))) == 2  # no pixel mixed
    assert demo_page.shown(large).size == (96, 96)
