"""An output that cannot be written is one line that names the place; what was there stays as it was."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.device_logs import log_lines, write_log

from dvt_edge import CascadeBundle
from dvt_edge.atomic import new_file, new_folder, write_text
from dvt_edge.cli.app import main, of_system
from dvt_edge.simulation.device_profile import open_profile

ROOT = Path(__file__).parents[2]
WRITING = [
    "export zoo:dvt_cifar10 OUT -t onnx-fp32 --limit 40",
    "train data OUT --epochs 1 --holdout 16 --batch-size 16 --model dvt_tiny",
    "demo --out OUT",
    "eval zoo:dvt_cifar10 --data sample:cifar10-test --out OUT",
    "simulate BUNDLE --hours 0.1 --json OUT",
    "simulate BUNDLE --hours 0.1 --report OUT",
    "simulate BUNDLE --hours 0.1 --cache OUT",
    "calibrate BUNDLE --data sample:cifar10-test --cache OUT",
    "fleet BUNDLE mixed OUT --devices 1 --days 1",
]


def words_of(text: str, bundle: Path, out: Path, data: Path) -> list[str]:
    known = {"BUNDLE": bundle, "OUT": out, "data": data}
    return [str(known.get(word, word)) for word in text.split()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.fake_cifar import write_cifar10

    return write_cifar10(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("text", WRITING)
@pytest.mark.parametrize("where", ["below a file", "nowhere that can be made", "the other kind"])
def test_places_that_cannot_be_written_to(
    zoo_bundle: CascadeBundle, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], text: str, where: str
) -> None:
    out = tmp_path / "file"
    file = "--json" in text or "--report" in text
    if where == "the other kind" and file:
        out.mkdir()
    else:
        out.write_bytes(b"mine")
    if where == "below a file" or (where == "the other kind" and "--cache" in text):
        out = out / "deeper" / "still"
    elif where == "nowhere that can be made":
        out = Path("/proc/none/here")  # refused to root too
    assert main(words_of(text, zoo_bundle.folder, out, data)) == 2
    err = capsys.readouterr().err
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and "Traceback" not in err
    assert ("/proc" if out.is_relative_to("/proc") else str(tmp_path / "file")) in line
    assert (tmp_path / "file").is_dir() or (tmp_path / "file").read_bytes() == b"mine"


def test_missing_parents_are_made(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "out.json"
    assert main(["simulate", str(zoo_bundle.folder), "--hours", "0.1", "--json", str(out)]) == 0
    assert out.is_file()


@pytest.mark.parametrize("text", [WRITING[0], WRITING[4]])
def test_a_disk_that_is_full(zoo_bundle: CascadeBundle, tmp_path: Path, data: Path, text: str) -> None:
    """A limit on file sizes stands for it: writes fail in the middle of a file."""
    out = tmp_path / "out"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    words = [sys.executable, "-m", "dvt_edge", *words_of(text, zoo_bundle.folder, out, data)]
    if "simulate" in text:  # its logits are there already
        assert main(words[3:]) == 0
        out.unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, env=environment, preexec_fn=limit, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and "File too large" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "logits" not in str(path)]


def test_the_systems_words_without_its_numbers() -> None:
    assert of_system(PermissionError(13, "Permission denied", "/a/b")) == "/a/b: Permission denied"
    assert of_system(OSError(28, "No space left on device")) == "No space left on device"
    assert of_system(OSError("odd")) == "OSError: odd"


@pytest.fixture
def own_bundle(zoo_bundle: CascadeBundle, tmp_path: Path) -> Path:
    """A copy that may be harmed."""
    return Path(shutil.copytree(zoo_bundle.folder, tmp_path / "own"))


LOSING = [
    ("profile LOG LOG --base phone-cpu", "OUT {LOG}: is what the command reads"),
    ("profile LOG BASE --base BASE", "OUT {BASE}: is what the command reads"),
    ("simulate BUNDLE --profile BASE --json BASE", "--json {BASE}: is what the command reads"),
    ("simulate BUNDLE --json BUNDLE/manifest.json", "--json {BUNDLE}/manifest.json: lies inside a bundle"),
    ("simulate BUNDLE --report BUNDLE/new/page.html", "lies inside a bundle"),
    ("simulate BUNDLE --cache BUNDLE/logits", "--cache {BUNDLE}/logits: lies inside a bundle"),
    ("simulate BUNDLE --json s.json --report s.json", "--report s.json: is that of --json, too"),
    ("simulate BUNDLE --policy BASE --report LINK", "--report {LINK}: is what the command reads"),
    ("validate BUNDLE --device-log LOG --json LOG", "--json {LOG}: is what the command reads"),
    ("validate BUNDLE --device-log LOG --report BUNDLE/labels.json", "lies inside a bundle"),
    ("validate BUNDLE --device-log LOG --cache BUNDLE/runs", "--cache {BUNDLE}/runs: lies inside a bundle"),
    ("validate BUNDLE --device-log LOG --data PHOTOS --cache PHOTOS/runs", "lies among the images"),
    ("sensitivity zoo:dvt_cifar10 --json s.json --plot s.json", "--plot s.json: is that of --json, too"),
    ("eval zoo:dvt_cifar10 --data sample:cifar10-test --out BUNDLE", "lies inside a bundle"),
    ("export zoo:dvt_cifar10 BUNDLE -t onnx-fp32", "lies inside a bundle"),
    ("calibrate BUNDLE --data sample:cifar10-test --cache BUNDLE/logits", "lies inside a bundle"),
    ("fleet BUNDLE mixed BUNDLE/fleet", "lies inside a bundle"),
    ("train DATA BUNDLE/run", "lies inside a bundle"),
    ("demo --out BUNDLE", "lies inside a bundle"),
    ("calibrate BUNDLE --data PHOTOS --cache PHOTOS/kept", "--cache {PHOTOS}/kept: lies among the images of {PHOTOS}"),
    ("simulate BUNDLE --data PHOTOS --json PHOTOS/cat/s.json", "lies among the images"),
    ("fleet BUNDLE mixed PHOTOS/fleet --data PHOTOS", "lies among the images"),
    ("eval zoo:dvt_cifar10 --data PHOTOS --out PHOTOS/out", "lies among the images"),
    (
        "export zoo:dvt_cifar10 PHOTOS -t onnx-fp32 --calibration PHOTOS",
        "OUT {PHOTOS}/onnx-fp32: lies among the images",
    ),
    ("sensitivity zoo:dvt_cifar10 --data PHOTOS --json PHOTOS/s.json", "lies among the images"),
    ("validate BUNDLE --device-log LOG --data PHOTOS --json PHOTOS/s.json", "lies among the images"),
    ("demo --data PHOTOS --out PHOTOS/demo", "lies among the images"),
    ("train PHOTOS PHOTOS/run", "OUT {PHOTOS}/run/result.json: lies among the images"),
    ("train DATA FULL --epochs 1 --holdout 16 --batch-size 16 --model dvt_tiny", "is not empty and holds no run"),
    ("export zoo:dvt_cifar10 FULL -t onnx-fp32 --zip", "onnx-fp32.zip: it is not a bundle"),
    ("export zoo:dvt_cifar10 FULL -t onnx-int8 --zip", "onnx-int8.zip: it is a folder, not a .zip"),
]


@pytest.mark.parametrize(("text", "said"), LOSING, ids=[text for text, _ in LOSING])
def test_nothing_of_the_users_is_replaced(
    own_bundle: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    """Not what a command reads, not a bundle's files, not another output, not what is no output of ours."""
    log, base, full = tmp_path / "log.jsonl", tmp_path / "base.json", tmp_path / "full"
    write_log(log, log_lines())
    base.write_text(open_profile("phone-cpu").to_json())
    link = tmp_path / "link"
    link.symlink_to(base)
    (full / "onnx-int8.zip").mkdir(parents=True)
    (full / "cascade.safetensors").write_text("years of work")
    (full / "onnx-fp32.zip").write_text("mine")
    photos = tmp_path / "photos"
    for name in ("cat", "dog"):
        (photos / name).mkdir(parents=True)
        (photos / name / "0.png").write_bytes(b"")
    known = {"PHOTOS": photos, "LOG": log, "BASE": base, "FULL": full, "LINK": link, "BUNDLE": own_bundle, "DATA": data}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([re.sub("^[A-Z]+", lambda m: str(known[m[0]]), word) for word in text.split()]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and said.format(**known) in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_pipes_and_devices_are_written_to(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    pipe, device, found = tmp_path / "pipe", Path("/dev/null"), []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    assert main(["simulate", str(zoo_bundle.folder), "--hours", "0.1", "--json", str(pipe)]) == 0
    reader.join(60)
    assert json.loads(found[0])["outcomes"] and stat.S_ISFIFO(pipe.stat().st_mode)
    write_text(device, "nowhere")
    assert stat.S_ISCHR(device.stat().st_mode)


def test_what_is_written_may_be_read_by_those_who_might_before(tmp_path: Path) -> None:
    """The umask rules what is new; a file or folder that is replaced leaves its permissions, and is never wider."""
    path, folder, during = tmp_path / "out.json", tmp_path / "folder", []
    before = os.umask(0o027)
    try:
        for of_file, of_folder in ((0o640, 0o750), (0o600, 0o700), (0o664, 0o775)):
            if path.exists():
                path.chmod(of_file)
                folder.chmod(of_folder)
            with new_file(path) as file:
                during.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            with new_folder(folder):
                pass
            assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(folder.stat().st_mode)) == (of_file, of_folder)
    finally:
        os.umask(before)
    assert during == [0o640, 0o600, 0o640]
    path.chmod(0o600)
    with new_file(path, beside=folder) as file:  # which all may read
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


def test_a_device_that_is_full_is_named() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write_text(Path("/dev/full"), "{}")


def test_an_error_names_what_was_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the temporary file, and not nothing, as of a disk that is full."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_text(tmp_path / "out.json", "{}")
    assert error.value.filename == str(tmp_path / "out.json") and not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError) as missing:
        write_text(Path("/proc/out.json"), "{}")
    assert missing.value.filename == "/proc/out.json"
    with pytest.raises(FileNotFoundError) as other, new_folder(tmp_path / "folder"):
        (tmp_path / "none").read_bytes()
    assert other.value.filename == str(tmp_path / "none")


def test_figures_that_cannot_be_kept_are_printed(
    zoo_bundle: CascadeBundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle may lie where nothing can be written."""
    from dvt_edge import atomic
    from dvt_edge.evaluation import footprint

    def refused(path: Path, content: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(footprint, "footprints", lambda opened, threads, report: [])
    monkeypatch.setattr(atomic, "write_text", refused)
    assert main(["footprint", str(zoo_bundle.folder)]) == 0
    assert "note: not kept: " in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_names_the_option(
    zoo_bundle: CascadeBundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dvt_edge.calibration import recalibrate

    def refused(*given: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "somewhere")

    monkeypatch.setattr(recalibrate, "compute", refused)
    assert main(["simulate", str(zoo_bundle.folder), "--hours", "0.1"]) == 2
    err = capsys.readouterr().err
    assert ".logits: logits cannot be kept there (Read-only file system); --cache says where else" in err
