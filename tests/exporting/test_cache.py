"""Earlier exports: the same again is a copy, anything else is made anew, and the cache is no more than a cache."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.fake_bundle import write_bundle

from dvt_edge import CascadeBundle, export
from dvt_edge.data.images import LabelledImages, from_arrays
from dvt_edge.exporting import cache, pipeline
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS


class Exports:
    """Counts the exports that are really made; each gives the shipped cascade's bundle."""

    def __init__(self, bundle: CascadeBundle) -> None:
        self.bundle, self.count = bundle, 0
        torch.manual_seed(0)
        self.cascade = Cascade(PRESETS["dvt_tiny"]).eval()

    def run(self, out: Path) -> CascadeBundle:
        self.count += 1
        shutil.rmtree(out, ignore_errors=True)
        return CascadeBundle.open(shutil.copytree(self.bundle.folder, out))

    def __call__(self, out: Path, **changed: Any) -> bool:
        """Whether an export was made for it."""
        before = self.count
        options: dict[str, Any] = {"calibration": pictures(), "cached": True}
        export(self.cascade, changed.pop("target", "onnx-fp32"), out, **options | changed)
        return self.count > before


@pytest.fixture
def made(zoo_bundle: CascadeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exports:
    exports = Exports(zoo_bundle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline.Export, "run", lambda self, out: exports.run(out))
    return exports


def pictures(seed: int = 0) -> LabelledImages:
    images = np.random.default_rng(seed).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    return from_arrays(images, None, (), "noise")


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_again_is_a_copy_wherever_it_goes(made: Exports, tmp_path: Path) -> None:
    assert made(tmp_path / "a") and not made(tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b") == content(made.bundle.folder)
    (tmp_path / "b/stage0.onnx").write_bytes(b"a user's own")  # a copy: the kept one is not changed
    assert not made(tmp_path / "b") and content(tmp_path / "b") == content(tmp_path / "a")
    assert made(tmp_path / "c", cached=False)


@pytest.mark.parametrize("cached", [True, False])
def test_calibrations_of_the_same_artifacts_stay_counted(made: Exports, tmp_path: Path, cached: bool) -> None:
    """An export in their place does not undo them; of other artifacts nothing was tried."""
    made(tmp_path / "a", cached=cached)
    bundle = CascadeBundle.open(tmp_path / "a")
    own = bundle.manifest.attempts
    bundle.rewrite(lambda now: dataclasses.replace(now, attempts={**dict.fromkeys(own, 3), "f" * 64: 2}))
    made(tmp_path / "a", cached=cached)
    assert CascadeBundle.open(tmp_path / "a").manifest.attempts == {**dict.fromkeys(own, 3), "f" * 64: 2}
    again = content(tmp_path / "a")
    made(tmp_path / "a", cached=cached)
    assert content(tmp_path / "a") == again
    made(tmp_path / "b", cached=cached)
    assert CascadeBundle.open(tmp_path / "b").manifest.attempts == own
    made.bundle = write_bundle(tmp_path / "other")
    made(tmp_path / "a", cached=False)
    assert CascadeBundle.open(tmp_path / "a").manifest.attempts == made.bundle.manifest.attempts


def test_anything_else_is_made_anew(made: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "a")
    others: tuple[dict[str, Any], ...] = (
        {"calibration": pictures(1)},
        {"name": "other"},
        {"checkpoint_sha256": "0" * 64},
        {"limit": 6},
        {"target": "onnx-int8"},
        {"target": "onnx-int8", "keep_float": ["stage0.head"]},
        {"target": "onnx-int8", "smooth": 0.5},
    )
    for changed in others:
        assert made(tmp_path / "b", **changed) and not made(tmp_path / "b", **changed), changed
    with monkeypatch.context() as patch:
        patch.setattr(cache, "code_sha256", lambda: "other code")
        assert made(tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "installed", lambda package: "0")
        assert made(tmp_path / "b")
    with torch.no_grad():
        next(iter(made.cascade.parameters())).view(-1)[0] += 1
    assert made(tmp_path / "b") and not made(tmp_path / "b")


def test_a_degraded_export_is_for_those_who_accept_it(made: Exports, tmp_path: Path) -> None:
    """One that kept its bounds is for all."""
    assert made(tmp_path / "a") and not made(tmp_path / "b", accept_degraded=True)
    shutil.rmtree(tmp_path / "cache")
    manifest = made.bundle.manifest
    said = dataclasses.replace(manifest.verification, verified=False, reason="degraded and accepted: 3 dB")
    copy = CascadeBundle.open(shutil.copytree(made.bundle.folder, tmp_path / "copy"))
    made.bundle = copy.rewrite(lambda now: dataclasses.replace(now, verification=said))
    assert made(tmp_path / "a", accept_degraded=True) and not made(tmp_path / "b", accept_degraded=True)
    assert made(tmp_path / "b")


def test_a_damaged_or_unwritable_cache_is_as_if_there_were_none(made: Exports, tmp_path: Path) -> None:
    made(tmp_path / "a")
    (kept,) = (tmp_path / "cache/dvt-edge/bundles").iterdir()
    (kept / "stage0.onnx").write_bytes(b"damaged")
    assert made(tmp_path / "b") and content(tmp_path / "b") == content(tmp_path / "a") == content(kept)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert made(tmp_path / "c") and content(tmp_path / "c") == content(tmp_path / "a")


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGEST", 250)
    for age, name in enumerate(("new", "used", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"0" * 100)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    cache.make_room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "used"]
    monkeypatch.setattr(cache, "LARGEST", 50)
    cache.make_room(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]  # however large
