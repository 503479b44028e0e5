"""The golden cases of docs/bundle.md and docs/manifest.md, which Kotlin and Swift read too: the same errors here."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dvt_edge import errors
from dvt_edge.device.bundle import CascadeBundle, check_path, tree_of
from dvt_edge.device.manifest import MANIFEST
from dvt_edge.device.schema import parse_json
from dvt_edge.errors import SchemaError, UnsafePathError

GOLDEN = Path(__file__).parents[1] / "golden"


def index(name: str) -> dict[str, Any]:
    found = json.loads((GOLDEN / name).read_text())
    assert isinstance(found, dict)
    return found


def test_the_corpus_is_small_and_every_file_of_it_is_a_case() -> None:
    for folder in ("manifests", "bundles"):
        listed = {case["file"] for case in index(f"{folder}/index.json")["cases"]} | {"index.json", "paths.json"}
        assert {path.name for path in (GOLDEN / folder).iterdir()} <= listed
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) <= 5 * 2**20


def content_of(case: dict[str, Any]) -> bytes:
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    if "text" in case:
        return case["text"].encode()
    return "".join(text * times for text, times in case["pieces"]).encode()


@pytest.mark.parametrize("case", index("json/index.json")["cases"], ids=lambda case: case["name"])
def test_json(case: dict[str, Any]) -> None:
    """One dialect, whatever a language's own parser takes."""
    if not case["accepted"]:
        with pytest.raises(SchemaError) as caught:
            parse_json(content_of(case), "x")
        assert "\n" not in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 300
        return
    value = parse_json(content_of(case), "x")
    if "value" in case:
        assert value == case["value"] and type(value) is type(case["value"])


def test_paths() -> None:
    golden = index("manifests/paths.json")
    for path in golden["plain"]:
        check_path(path)
    for path in golden["not_plain"]:
        with pytest.raises(UnsafePathError):
            check_path(path)
    for case in golden["together"]:
        for paths in (case["paths"], case["paths"][::-1]):
            if case["accepted"]:
                tree_of(paths)
            else:
                with pytest.raises(UnsafePathError):
                    tree_of(paths)


def opened(path: Path, error: str | None) -> CascadeBundle | None:
    """The bundle, or None after exactly that error in one printable line that names the path."""
    if error is None:
        return CascadeBundle.open(path)
    with pytest.raises(errors.BundleError) as caught:
        CascadeBundle.open(path)
    message = str(caught.value)
    assert type(caught.value).__name__ == error, message
    assert message.isprintable() and str(path) in message and len(message) < 500, message
    return None


@pytest.mark.parametrize("case", index("manifests/index.json")["cases"], ids=lambda case: case["file"])
def test_manifests(case: dict[str, Any], tmp_path: Path) -> None:
    """What the manifest alone says, before any file is looked at."""
    (tmp_path / MANIFEST).write_bytes((GOLDEN / "manifests" / case["file"]).read_bytes())
    opened(tmp_path, case["error"])
    if "uncertified" in case or "artifacts_sha256" in case:
        from dvt_edge.device.manifest import parse_manifest

        manifest = parse_manifest((tmp_path / MANIFEST).read_bytes())
        for point, reason in case.get("uncertified", {}).items():
            assert manifest.uncertified(point) == reason
            held = next(p for p in manifest.proved_points if p.name == point).certificate
            assert (held is None) == (reason is not None)
        assert case.get("artifacts_sha256", manifest.artifacts_sha256) == manifest.artifacts_sha256


BUNDLES = index("bundles/index.json")


@pytest.mark.parametrize("case", BUNDLES["cases"], ids=lambda case: case["file"])
def test_zips(case: dict[str, Any]) -> None:
    old = case["error"] == "OldFormatError"  # of the phones; Python reads it
    bundle = opened(GOLDEN / "bundles" / case["file"], None if old else case["error"])
    if bundle:
        why = "format 1 does not bind a certificate to its thresholds"
        for point, reason in BUNDLES["uncertified"].items():
            assert bundle.uncertified(point) == (why if old else reason)
        assert bundle.labels == ("cat", "dog", "ship") and bundle.golden()[0].shape == (1, 4, 4, 3)


@pytest.mark.parametrize("recipe", BUNDLES["recipes"], ids=lambda recipe: recipe["name"])
def test_zips_by_recipe(recipe: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    methods = {"deflate": zipfile.ZIP_DEFLATED, "store": zipfile.ZIP_STORED}
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        for entry in recipe.get("entries", ()):
            archive.writestr(entry["name"], bytes([entry["byte"]]) * entry["times"], methods[entry["method"]])
        for number in range(recipe.get("empty_entries", 0)):
            archive.writestr(str(number), b"")
    opened(path, "ArchiveError")


def test_the_corpus_is_what_its_script_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No golden case is edited by hand."""
    from support import make_bundle_golden

    monkeypatch.setattr(make_bundle_golden, "GOLDEN", tmp_path)
    make_bundle_golden.main()
    for folder in ("json", "manifests", "bundles"):
        for made in (tmp_path / folder).iterdir():
            if made.suffix != ".zip":  # what deflate makes of the same bytes depends on the zlib
                assert made.read_bytes() == (GOLDEN / folder / made.name).read_bytes(), made.name
