"""Earlier exports: the same again is a copy, anything else is made anew, and the cache is no more than a cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.needs import needs

from dvt_edge import CascadeBundle, export
from dvt_edge.data.images import LabelledImages, from_arrays
from dvt_edge.exporting import cache, pipeline
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS

TINY = PRESETS["dvt_tiny"]


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("onnxruntime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def cascade() -> Cascade:
    torch.manual_seed(0)
    return Cascade(TINY).eval()


def pictures(seed: int = 0) -> LabelledImages:
    images = np.random.default_rng(seed).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    return from_arrays(images, None, (), "noise")


def made(cascade: Cascade, out: Path, **changed: Any) -> tuple[CascadeBundle, bool]:
    """A bundle, and whether a stage was converted for it."""
    said: list[str] = []
    options: dict[str, Any] = {"calibration": pictures(), "cached": True, "report": lambda what, *_: said.append(what)}
    bundle = export(cascade, "onnx-fp32", out, **options | changed)
    return bundle, any("converting" in what for what in said)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_again_is_a_copy_wherever_it_goes(cascade: Cascade, tmp_path: Path) -> None:
    first, converted = made(cascade, tmp_path / "a")
    second, again = made(cascade, tmp_path / "b")
    assert (converted, again) == (True, False) and content(first.folder) == content(second.folder)
    (second.folder / "stage0.onnx").write_bytes(b"a user's own")  # a copy: the kept one is not changed
    third, again = made(cascade, tmp_path / "b")
    assert not again and content(third.folder) == content(first.folder)
    assert made(cascade, tmp_path / "c", cached=False)[1]


def test_anything_else_is_made_anew(cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(cascade, tmp_path / "a")
    others = ({"calibration": pictures(1)}, {"name": "other"}, {"checkpoint_sha256": "0" * 64}, {"limit": 6})
    for number, changed in enumerate(others):
        assert made(cascade, tmp_path / str(number), **changed)[1], changed
    for name, value in (("code_sha256", "other code"),):
        with monkeypatch.context() as patch:
            patch.setattr(cache, name, lambda value=value: value)
            assert made(cascade, tmp_path / name)[1]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "tool_versions", lambda engine: {"onnxruntime": "0"})
        assert made(cascade, tmp_path / "tools")[1]
    with torch.no_grad():
        next(iter(cascade.parameters())).view(-1)[0] += 1
    assert made(cascade, tmp_path / "weights")[1]
    assert not made(cascade, tmp_path / "weights again")[1]


def test_a_damaged_or_unwritable_cache_is_as_if_there_were_none(cascade: Cascade, tmp_path: Path) -> None:
    made(cascade, tmp_path / "a")
    (kept,) = (tmp_path / "cache/dvt-edge/bundles").iterdir()
    (kept / "stage0.onnx").write_bytes(b"damaged")
    bundle, again = made(cascade, tmp_path / "b")
    assert again and content(bundle.folder) == content(tmp_path / "a") == content(kept)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert made(cascade, tmp_path / "c")[1] and content(tmp_path / "c") == content(tmp_path / "a")


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
