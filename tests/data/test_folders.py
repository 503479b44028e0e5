"""docs/data.md: what a set of images is, what is passed over, and which images these are."""

from __future__ import annotations

import ntpath
import os
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dvt_edge.cli.tables import short_names
from dvt_edge.data import identity
from dvt_edge.data.folders import common_folder, walk
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images
from dvt_edge.errors import DataError, DataWarning


def write(path: Path, seed: int = 0, size: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two images."""
    for index, name in enumerate(("cat/a.png", "cat/b.png", "dog/a.png", "dog/deep/er/b.PNG")):
        write(tmp_path / "set" / name, index)
    return tmp_path / "set"


def counts(images: LabelledImages) -> dict[str, int]:
    assert images.labels is not None
    return {name: images.labels.count(index) for index, name in enumerate(images.classes)}


def test_hidden_files_and_folders_count_at_no_level(folder: Path) -> None:
    """200 copies in .ipynb_checkpoints below a class turned a refused certificate into a granted one."""
    for copy in range(5):
        for place in ("cat/.ipynb_checkpoints", ".git", "dog/deep/.hidden", "__MACOSX", "dog/__MACOSX/deep"):
            write(folder / place / f"{copy}.png", copy)
    write(folder / "cat/._a.png")
    (folder / "cat/Thumbs.db").write_bytes(b"")
    with pytest.warns(DataWarning, match=f"^{re.escape(str(folder))}: passed over 7 hidden$"):
        images = open_images(folder)
    assert counts(images) == {"cat": 2, "dog": 2}


def test_what_is_no_image_of_ours_is_counted_and_said(folder: Path) -> None:
    for name in ("a.heic", "b.AVIF", "c.avif", "d.jp2", "notes", "e.txt"):
        (folder / "cat" / name).write_bytes(b"")
    (folder / "cat/gone.png").symlink_to(folder / "nowhere.png")
    (folder / "cat/self.png").symlink_to("self.png")
    os.mkfifo(folder / "cat/pipe.png")
    with pytest.warns(DataWarning, match="passed over .*2 .avif"):
        images = open_images(folder)
    assert counts(images) == {"cat": 2, "dog": 2}
    passed = walk(folder / "cat").passed
    assert passed == {
        ".heic": 1, ".avif": 2, ".jp2": 1, "without a suffix": 1, ".txt": 1,
        "broken links": 1, "links that lead nowhere": 1, "neither files nor folders": 1,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".jfif", ".pgm", ".JPG", ".Tif"])
def test_every_suffix_that_is_read_is_an_image(suffix: str, folder: Path) -> None:
    kind = {".jfif": "JPEG", ".pgm": "PPM", ".JPG": "JPEG", ".Tif": "TIFF"}[suffix]
    Image.new("L", (4, 4)).save(folder / f"cat/x{suffix}", format=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        assert counts(open_images(folder)) == {"cat": 3, "dog": 2}


def test_an_empty_class_is_refused_with_what_lies_in_it(folder: Path) -> None:
    (folder / "bird").mkdir()
    with pytest.raises(DataError, match="bird: a class without images"):
        open_images(folder)
    (folder / "bird/photo.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"passed over: 1 \.heic"):
        open_images(folder)


def test_links_are_followed_and_loops_are_not(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "dog", tmp_path / "dogs")
    (folder / "dog").symlink_to(tmp_path / "dogs")
    (tmp_path / "dogs/again").symlink_to(folder)
    (tmp_path / "dogs/c.png").symlink_to(folder / "cat/a.png")
    images = open_images(folder)
    assert images.classes == ("cat", "dog")
    assert counts(images)["cat"] == 2 and len([n for n in images.names or () if n.endswith("dog/c.png")]) == 1
    assert walk(folder / "dog").passed["links to a folder that they lie in"] >= 1


def test_no_folder_is_walked_twice(tmp_path: Path) -> None:
    """Folders that all link to each other have some e * n! paths; each is walked once, where it comes first."""
    names = [f"{k:02}" for k in range(12)]
    for name in names:
        write(tmp_path / "real" / name / "a.png")
        for other in names:
            (tmp_path / "real" / name / f"to-{other}").symlink_to(tmp_path / "real" / other)
    found = walk(tmp_path / "real")
    assert len(found.files) == 12 and found.files[0] == tmp_path / "real/00/a.png"
    assert found.files == sorted(found.files) == walk(tmp_path / "real").files
    assert found.passed.total() == 12 * 12 and all("folder" in kind for kind in found.passed)


def test_of_a_folder_and_a_link_to_it_the_first_by_name_counts(tmp_path: Path) -> None:
    write(tmp_path / "set/b/deep/x.png")
    (tmp_path / "set/a").symlink_to("b")
    (tmp_path / "set/c").symlink_to("b")
    (tmp_path / "set/d.png").symlink_to("b/deep/x.png")
    found = walk(tmp_path / "set")
    assert found.files == [tmp_path / "set/a/deep/x.png", tmp_path / "set/d.png"]
    assert found.note() == "2 folders that were walked already"


def test_a_class_named_as_a_split_beside_a_hidden_folder(tmp_path: Path) -> None:
    for name in ("train/engine.png", "car/a.png", ".cache/deep/x.png"):
        write(tmp_path / "set" / name, len(name))
    assert open_images(tmp_path / "set").classes == ("car", "train")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(folder: Path) -> None:
    (folder / "dog/deep").chmod(0)
    try:
        with pytest.raises(DataError, match="deep: a folder that may not be read"):
            open_images(folder)
    finally:
        (folder / "dog/deep").chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="names there are bytes")
def test_names_that_are_no_utf_8(folder: Path) -> None:
    write(folder / "cat/x.png").rename(os.fsdecode(bytes(folder / "cat") + b"/caf\xe9.png"))
    images = open_images(folder)
    assert any("caf\\xe9.png" in name for name in images.names or ()) and counts(images)["cat"] == 3
    (folder / "bird").mkdir()
    (folder / "dog").rename(os.fsdecode(bytes(folder / "dog") + b"\xff"))
    with pytest.raises(DataError, match="not UTF-8"):
        open_images(folder)


# -- which images these are --------------------------------------------------------------------------------------------


def test_identity_is_content_and_not_the_ends_of_files(tmp_path: Path) -> None:
    """Letterboxed frames that were rewritten under the same names gave the old logits."""

    def frame(value: int) -> str:
        pixels = np.zeros((64, 64, 3), dtype=np.uint8)
        pixels[24:40] = value  # the first and the last 4 kB are black
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "frames/1.bmp")
        return open_images(tmp_path / "frames").fingerprint

    first, second = frame(10), frame(200)
    assert first != second and frame(10) == first


def test_identity_does_not_depend_on_where_one_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data .` inside train/ passed the guard that `--data train` meets."""
    whole = open_images(folder).fingerprint
    monkeypatch.chdir(folder)
    assert open_images(".").fingerprint == whole
    moved = shutil.copytree(folder, folder.parent / "elsewhere/other")
    assert open_images(moved).fingerprint == whole
    monkeypatch.chdir(folder.parent)
    assert open_images(folder.name).fingerprint == whole and whole.startswith(identity.FILES)


def test_labels_order_and_bytes_are_part_of_it(folder: Path) -> None:
    images = open_images(folder)
    prints = {images.fingerprint, images.take([1, 0, 2, 3]).fingerprint, images.first(3).fingerprint}
    other = LabelledImages(images.read, len(images), (0, 0, 0, 1), images.classes, "x")
    assert len(prints | {other.fingerprint}) == 4


def test_a_file_changed_in_place_with_its_times_put_back_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inode's own time of change cannot be put back."""
    monkeypatch.setattr(identity, "RACY_NS", 0)
    file = folder / "cat/a.png"
    before = open_images(folder).fingerprint
    times, size = file.stat(), file.stat().st_size
    content = bytearray(file.read_bytes())
    content[size // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert open_images(folder).fingerprint != before


def test_hashes_are_kept_outside_the_data(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "RACY_NS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = sorted(p.name for p in folder.rglob("*"))
    first = open_images(folder).fingerprint
    assert sorted(p.name for p in folder.rglob("*")) == before and list((tmp_path / "cache").rglob("*.json"))
    monkeypatch.setattr(identity, "hash_file", lambda path: pytest.fail(f"{path} was read again"))
    assert open_images(folder).fingerprint == first
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cat"))  # inside: then nothing is kept
    open_images(folder / "cat").fingerprint  # noqa: B018
    assert not (folder / "cat/dvt-edge").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": [[1], "zz"]}', "[" * 99999])
def test_a_damaged_cache_is_no_more_than_a_slow_one(
    content: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "RACY_NS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = open_images(folder).fingerprint
    (file,) = (tmp_path / "cache").rglob("*.json")
    file.write_text(content)
    assert open_images(folder).fingerprint == first


def test_arrays_keep_the_fingerprint_that_the_shipped_checkpoint_names() -> None:
    from dvt_edge.data.reading import sample

    assert not sample("cifar10-test").fingerprint.startswith(identity.FILES)
    images = sample("cifar10-test").first(2)
    import hashlib

    digest = hashlib.sha256(np.array(images.labels, dtype=np.int64).tobytes())
    for image in images:
        digest.update(np.ascontiguousarray(image).data)
    assert images.fingerprint == digest.hexdigest()


@pytest.mark.parametrize("kind", [np.uint64, np.int64])
def test_labels_of_arrays_are_in_the_range_of_a_fingerprint(kind: type, tmp_path: Path) -> None:
    images, largest = np.zeros((2, 4, 4, 3), np.uint8), 2**63 - 1
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([0, largest], kind))
    assert open_images(tmp_path / "a.npz").fingerprint
    if kind is np.uint64:
        np.savez(tmp_path / "a.npz", images=images, labels=np.array([0, 2**63], kind))
        with pytest.raises(DataError, match=rf"a\.npz: label {2**63}; expected at most {largest}$"):
            open_images(tmp_path / "a.npz")


def test_files_on_two_drives_have_no_folder_in_common(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""`run C:\a.jpg D:\b.jpg`: no cache, and names as they are."""
    monkeypatch.setattr(identity, "RACY_NS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = open_images(folder).fingerprint
    shutil.rmtree(tmp_path / "cache")
    names = ["C:\\a.jpg", "D:\\b.jpg", "sample:cifar10-test[3]"]
    with monkeypatch.context() as windows:
        windows.setattr(os.path, "commonpath", ntpath.commonpath)
        assert common_folder(names[:1]) == "C:\\a.jpg" and common_folder(names[:2]) is None

    def two_drives(paths: list[str]) -> str:
        return ntpath.commonpath([f"{'CD'[k % 2]}:{path}" for k, path in enumerate(paths)])

    monkeypatch.setattr(os.path, "commonpath", two_drives)
    assert open_images(folder).fingerprint == before and not (tmp_path / "cache").exists()
    assert short_names(names) == names
