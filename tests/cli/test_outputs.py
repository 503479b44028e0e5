"""An output that cannot be written is one line that names the place; what was there stays as it was."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dvt_edge import CascadeBundle
from dvt_edge.cli.app import main, of_system

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
