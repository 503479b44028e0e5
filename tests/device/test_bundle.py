"""A bundle is opened only when it is whole, unchanged, inside its folder and of a known format."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_bundle import write_bundle

from dvt_edge.device.bundle import CascadeBundle, list_files
from dvt_edge.device.manifest import FileSpec, json_schema, parse_manifest, to_json
from dvt_edge.errors import (
    ArchiveError,
    BundleError,
    ChangedFileError,
    ManifestError,
    MissingFileError,
    NewerFormatError,
    UnsafePathError,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "dvt_edge/device/manifest.schema.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle").folder


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def refused(path: Path, error: type[BundleError], words: str = "") -> str:
    with pytest.raises(error) as caught:
        CascadeBundle.open(path)
    message = str(caught.value)
    assert type(caught.value) is error and "\n" not in message and words in message, message
    return message


def test_a_whole_bundle_opens_and_gives_its_parts(folder: Path) -> None:
    bundle = CascadeBundle.open(folder)
    images, logits = bundle.golden()
    assert bundle.labels == ("cat", "dog", "ship")
    assert images.shape == (1, 4, 4, 3) and [z.shape for z in logits] == [(1, 3)] * 3
    assert bundle.manifest.macs == (1000, 3000, 6000)


@pytest.mark.parametrize("name", ["golden/image.bin", "golden/stage1.bin"])
def test_golden_files_of_another_length_are_refused(name: str, folder: Path) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    edit(folder, lambda m: m["files"].update({name: json_like(list_files(folder)[name])}))
    bundle = CascadeBundle.open(folder)
    with pytest.raises(ManifestError, match=rf"{name}: \d+ bytes; expected"):
        bundle.golden()


def test_writing_and_reading_a_manifest_loses_nothing(folder: Path) -> None:
    manifest = CascadeBundle.open(folder).manifest
    assert parse_manifest(to_json(manifest)) == manifest


def test_the_hash_of_the_artifacts_is_the_golden_one(folder: Path) -> None:
    """tests/golden/artifacts_sha256.json is for the other languages."""
    golden = json.loads((Path(__file__).parents[1] / "golden/artifacts_sha256.json").read_text())
    manifest = CascadeBundle.open(folder).manifest
    named = zip(manifest.stages, golden["artifacts"], strict=True)
    manifest = dataclasses.replace(
        manifest,
        stages=tuple(dataclasses.replace(stage, artifact=artifact) for stage, artifact in named),
        files={path: FileSpec(sha256, 1) for path, sha256 in golden["files"].items()},
    )
    assert CascadeBundle(folder, manifest).artifacts_sha256 == golden["artifacts_sha256"]
    assert hashlib.sha256("".join(golden["hashed"]).encode()).hexdigest() == golden["artifacts_sha256"]


def test_any_changed_byte_is_found(folder: Path) -> None:
    for name in ("stage1.bin", "labels.json", "golden/stage0.bin"):
        file = folder / name
        before = file.read_bytes()
        file.write_bytes(bytes([before[0] ^ 1]) + before[1:])
        refused(folder, ChangedFileError, name)
        file.write_bytes(before + b"x")
        refused(folder, ChangedFileError, name)
        file.write_bytes(before)
    CascadeBundle.open(folder)


def test_missing_and_unlisted_files_are_found(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"")
    refused(folder, MissingFileError, "extra.bin")
    (folder / "extra.bin").unlink()
    (folder / "stage2.bin").unlink()
    refused(folder, MissingFileError, "stage2.bin")
    refused(folder / "nowhere", MissingFileError)
    (folder / "manifest.json").unlink()
    refused(folder, ManifestError, "manifest.json")


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "a/../../b", "a//b", "./a", "a\\..\\b", "C:x", "", "manifest.json"]
)
def test_paths_that_leave_the_folder_are_refused(folder: Path, path: str) -> None:
    def add(m: dict[str, Any]) -> None:
        m["files"][path] = {"sha256": "0" * 64, "size": 0}

    edit(folder, add)
    refused(folder, UnsafePathError)


def test_links_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    for name in ("stage0.bin", "golden"):
        real = tmp_path / "outside" / name
        (folder / name).rename(real)
        (folder / name).symlink_to(real)
        refused(folder, UnsafePathError)
        (folder / name).unlink()
        real.rename(folder / name)
    (folder / "more").symlink_to(tmp_path / "outside")  # a folder that the manifest does not name
    refused(folder, MissingFileError, "more")


def test_a_newer_format_and_an_unknown_one_are_told_apart(folder: Path) -> None:
    edit(folder, lambda m: m.update(format=99, something_new=[]))
    assert "update" in refused(folder, NewerFormatError, "99")
    edit(folder, lambda m: m.update(format=0))
    refused(folder, ManifestError, "format 0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("engine"), "engine"),
        (lambda m: m.update(engine="tflite"), "tflite"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m["stages"][0].update(macs="many"), "stages[0].macs"),
        (lambda m: m["stages"][0].update(macs=True), "stages[0].macs"),
        (lambda m: m["stages"][1]["inputs"].pop(0), "roles"),
        (lambda m: m["stages"][0]["inputs"][0].update(name="picture"), "expected the image"),
        (lambda m: m["stages"][1]["inputs"][1].update(name="tokens_9"), "tokens_9"),
        (lambda m: m["stages"][1]["inputs"][1].update(shape=[1, 6, 2]), "tokens_0"),
        (lambda m: m["stages"][0]["inputs"][0].update(shape=[0]), "shape"),
        (lambda m: m["stages"][1]["inputs"][1].update(dtype="uint8"), "tokens_0"),
        (lambda m: m["stages"][2]["inputs"].append(m["stages"][1]["inputs"][1]), "stage before"),
        (lambda m: m["stages"][0].update(macs=0), "macs 0"),
        (lambda m: m["stages"][0].update(macs=-5), "macs -5"),
        (lambda m: m["model"].update(classes=5), "logits"),
        (lambda m: m["preprocessing"].update(size=-3), "size -3"),
        (lambda m: m["preprocessing"].update(resize=2), "resize 2"),
        (lambda m: m["preprocessing"].update(resize=10**15), "resize 1000"),
        (lambda m: m["preprocessing"].update(resize=10**30), "2^53"),
        (lambda m: m["preprocessing"].update(size=5, resize=5), "image"),
        (lambda m: m["golden"]["logits"].pop(), "golden logits"),
        (lambda m: m["operating_points"][0].update(mean_macs=10**400), "2^53"),
        (lambda m: m.update(stages=[]), "stages"),
        (lambda m: m["confidence"].update(temperature=[1.0]), "temperature"),
        (lambda m: m["confidence"].update(temperature=[1.0, 0.0, 1.0]), "temperature"),
        (lambda m: m.update(operating_points=[]), "operating points"),
        (lambda m: m.update(default_operating_point="none"), "none"),
        (lambda m: m["operating_points"][0].update(thresholds=[0.5]), "threshold"),
        (lambda m: m["operating_points"][0].update(name="full"), "two of one name"),
        (lambda m: m["files"]["labels.json"].update(sha256="xyz"), "sha256"),
        (lambda m: m["files"].pop("labels.json"), "labels.json"),
        (lambda m: m.update(labels="elsewhere.json"), "elsewhere.json"),
    ],
)
def test_a_manifest_that_breaks_the_rules_is_refused(folder: Path, change: Any, words: str) -> None:
    edit(folder, change)
    refused(folder, ManifestError, words)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": NaN}', "[" * 100_000, "\x00"])
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    refused(folder, ManifestError)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_reader_and_schema_agree_on_damaged_manifests(folder: Path, data: st.DataObject) -> None:
    """What the reader takes, the JSON Schema takes; the reader alone checks rules across fields."""
    manifest = json.loads((folder / "manifest.json").read_text())
    place: Any = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if isinstance(place, dict) and data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(json_values)
    try:
        parse_manifest(json.dumps(manifest))
    except BundleError as error:
        assert "\n" not in str(error)
        return
    jsonschema.validate(manifest, SCHEMA)


def test_the_schema_in_the_package_is_the_classes(folder: Path) -> None:
    assert json_schema() == SCHEMA
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads((folder / "manifest.json").read_text()), SCHEMA)


def test_zip_round_trip_is_the_same_bytes_twice(folder: Path, tmp_path: Path) -> None:
    bundle = CascadeBundle.open(folder)
    first, second = bundle.save_zip(tmp_path / "a.zip"), bundle.save_zip(tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()
    opened = CascadeBundle.open(first)
    assert opened.manifest == bundle.manifest
    assert opened.read("stage1.bin") == bundle.read("stage1.bin") and opened.labels == bundle.labels


def pack(path: Path, folder: Path, **extra: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
        for name, content in extra.items():
            archive.writestr(name, content)
    return path


def test_zips_that_leave_the_folder_or_hold_links_are_refused(folder: Path, tmp_path: Path) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())
    refused(pack(tmp_path / "up.zip", folder, **{"../escaped": b"x"}), UnsafePathError)
    refused(pack(tmp_path / "root.zip", folder, **{"/escaped": b"x"}), UnsafePathError)
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(tmp_path / "link.zip", UnsafePathError)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "up.zip", "root.zip", "link.zip"])


def test_zip_bombs_are_refused_before_they_fill_the_disk(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b"0" * 50_000_000)
    refused(tmp_path / "bomb.zip", ArchiveError)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for n in range(10_001):
            archive.writestr(f"{n}", b"")
    refused(tmp_path / "many.zip", ArchiveError)


def test_a_zip_that_lies_about_sizes_is_refused(folder: Path, tmp_path: Path) -> None:
    path = pack(tmp_path / "b.zip", folder)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the last entry of the central directory declares one byte less
    size = int.from_bytes(content[at + 24 : at + 28], "little")
    content[at + 24 : at + 28] = (size - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BundleError):
        CascadeBundle.open(path)


def test_a_zip_with_a_flipped_byte_is_a_bundle_or_refused(folder: Path, tmp_path: Path) -> None:
    """Whatever a decompressor says of it."""
    with (folder / "labels.json").open("a") as file:
        file.write(" " * 3000)
    edit(folder, lambda m: m["files"].update({"labels.json": json_like(list_files(folder)["labels.json"])}))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "whole.zip", "w", method) as archive:
            for name in ("manifest.json", *list_files(folder)):
                archive.write(folder / name, name)
        whole = (tmp_path / "whole.zip").read_bytes()
        CascadeBundle.open(tmp_path / "whole.zip")
        for at in range(0, len(whole), max(1, len(whole) // 60)):
            (tmp_path / "x.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            with contextlib.suppress(BundleError):
                CascadeBundle.open(tmp_path / "x.zip")


def json_like(spec: FileSpec) -> dict[str, Any]:
    return dataclasses.asdict(spec)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip at all"])
def test_damaged_zips_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", ArchiveError)


def test_a_zip_cut_short_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = pack(tmp_path / "b.zip", folder).read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        refused(tmp_path / "cut.zip", ArchiveError)


def test_an_entry_that_reaches_beyond_the_file_is_refused(folder: Path, tmp_path: Path) -> None:
    """Deflate ends by itself, so that a packed size that is too large could go unseen."""
    content = bytearray(pack(tmp_path / "b.zip", folder).read_bytes())
    at = content.rindex(b"PK\x01\x02") + 20
    content[at : at + 4] = (len(content) + 1).to_bytes(4, "little")
    (tmp_path / "long.zip").write_bytes(content)
    refused(tmp_path / "long.zip", ArchiveError)


def test_the_same_name_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("manifest.json", b"{}")
        archive.writestr("manifest.json", b"{}")
    (tmp_path / "twice.zip").write_bytes(buffer.getvalue())
    refused(tmp_path / "twice.zip", ArchiveError, "twice")


def test_a_killed_write_leaves_what_was_there(tmp_path: Path) -> None:
    """SIGKILL in the middle of a folder's writing: the old folder stands, whole."""
    script = (
        "import os, pathlib, sys\n"
        "from dvt_edge.atomic import new_folder\n"
        "target = pathlib.Path(sys.argv[1])\n"
        "with new_folder(target) as folder:\n"
        "    (folder / 'half').write_text('new')\n"
        "    if sys.argv[2] == 'die': os.kill(os.getpid(), 9)\n"
    )
    target = tmp_path / "bundle"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    for how, expected in (("die", None), ("live", "new"), ("die", "new")):
        if how == "die" and target.exists():
            (target / "half").write_text("old")
            expected = "old"
        subprocess.run([sys.executable, "-c", script, str(target), how], env=environment, check=False)
        assert (target / "half").read_text() == expected if expected else not target.exists()


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    from dvt_edge.atomic import new_folder, write_bytes

    with pytest.raises(RuntimeError), new_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("x")
        raise RuntimeError
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError):
        write_bytes(tmp_path / "b", b"a file cannot replace a folder")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
