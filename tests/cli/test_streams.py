"""What a terminal, a pipe and a signal see: no traceback, nothing that steers a terminal, one word for Ctrl-C."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from dvt_edge import CascadeBundle
from dvt_edge.cli import app, options
from dvt_edge.cli.app import main

ROOT = Path(__file__).parents[2]
HOSTILE = "cat\x1b[2J\x1b]0;owned\x07\u202egnp.exe\u009b31m\rx"


def command(*words: object, **changes: str) -> tuple[list[bytes], dict[str, str]]:
    """The words of a process, and its environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "LANG", "PYTHONUTF8", "PYTHONIOENCODING")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | changes
    return [os.fsencode(w) for w in (sys.executable, "-m", "dvt_edge", *map(os.fspath, words))], environment  # type: ignore[call-overload]


def process(*words: object, stdin: str = "", **changes: str) -> subprocess.CompletedProcess[bytes]:
    arguments, environment = command(*words, **changes)
    return subprocess.run(arguments, env=environment, capture_output=True, timeout=120)


def pictures(folder: Path, *names: str | bytes) -> Path:
    folder.mkdir()
    for name in names:
        Image.new("RGB", (40, 32)).save(folder / os.fsdecode(name))
    return folder


@pytest.fixture
def named(zoo_bundle: CascadeBundle, tmp_path: Path) -> Path:
    """A bundle whose manifest calls itself and its classes what no terminal should see."""
    folder = shutil.copytree(zoo_bundle.folder, tmp_path / "named")
    labels = json.dumps([HOSTILE + str(k) for k in range(10)]).encode()
    (folder / "labels.json").write_bytes(labels)
    manifest = json.loads((folder / "manifest.json").read_text())
    import hashlib

    manifest["files"]["labels.json"] = {"sha256": hashlib.sha256(labels).hexdigest(), "size": len(labels)}
    manifest["name"] = HOSTILE
    manifest["verification"]["reason"] = HOSTILE + "\nall is well"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def test_names_cannot_steer_the_terminal(
    named: Path, zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "p", HOSTILE + ".png", "two\nlines.png")
    for words in (("inspect", named), ("run", named, folder), ("run", named, folder / "no\x1b[1m.png")):
        main(list(map(str, words)))
        out, err = capsys.readouterr()
        assert harmless(out) and harmless(err), words
        assert "\\x1b" in out + err
    main(["inspect", str(named)])
    assert "\nall is well" not in capsys.readouterr().out  # a name forges no line
    assert main(["run", str(zoo_bundle.folder), str(folder), "--point", "\x1b[31mred"]) == 2
    assert harmless(capsys.readouterr().err)


def test_json_and_progress_are_shown_alike(capsys: pytest.CaptureFixture[str]) -> None:
    options.console.print_json(data={"name": HOSTILE})
    with options.progress() as report:
        report(HOSTILE + "[red]", 1, 2)
    out, err = capsys.readouterr()
    assert harmless(out) and harmless(err) and "[red]" in err and out.count("\n") == 3


def test_codes_of_emoji_and_markup_stay_what_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    options.console.print("a:heart:b [bold]c[/bold].png")
    assert capsys.readouterr().out == "a:heart:b [bold]c[/bold].png\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_a_stream_that_cannot_print_a_name_shows_it_escaped(
    zoo_bundle: CascadeBundle, tmp_path: Path, changes: dict[str, str]
) -> None:
    folder = pictures(tmp_path / "p", "näme→日.png")
    done = process("run", zoo_bundle.folder, folder, **changes)
    assert done.returncode == 0 and done.stderr == b"" and re.search(rb"n(\xe4|\\xe4|\\udcc3)\S*m", done.stdout)
    done = process("run", zoo_bundle.folder, folder / "日.png", **changes)
    assert done.returncode == 2 and done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1


def test_names_that_are_not_utf8(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    try:
        folder = pictures(tmp_path / "p", b"caf\xe9.png")
    except OSError:
        pytest.skip("this file system holds no such names")
    done = process("run", zoo_bundle.folder, folder)
    assert done.returncode == 0 and done.stderr == b"" and b"caf\\xe9.png" in done.stdout
    words = ("simulate", zoo_bundle.folder, "--data", folder, "--hours", "0.1", "--cache", tmp_path / "logits")
    done = process(*words, "--report", tmp_path / os.fsdecode(b"d\xe9.html"))
    assert done.returncode in (0, 2) and b"bug" not in done.stderr
    done = process("run", zoo_bundle.folder, tmp_path / os.fsdecode(b"none\xe9.png"))
    assert done.returncode == 2 and b"none\\xe9.png" in done.stderr and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", ["inspect BUNDLE", "run BUNDLE sample:cifar10-test", "--help", "train --help"])
def test_a_closed_pipe_ends_quietly(zoo_bundle: CascadeBundle, words: str) -> None:
    given, environment = command(*(str(zoo_bundle.folder) if w == "BUNDLE" else w for w in words.split()))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(given, env=environment, stdout=writer, stderr=subprocess.PIPE, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_output_that_is_full_or_closed(zoo_bundle: CascadeBundle) -> None:
    given, environment = command("inspect", zoo_bundle.folder)
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(given, env=environment, stdout=full, stderr=subprocess.PIPE, timeout=120)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"No space left" in done.stderr
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command("inspect", "nowhere")[0], env=environment, stderr=full, timeout=120)
        assert done.returncode == 2
    closed = ["/bin/sh", "-c", '"$@" >&-', "sh", *given]
    done = subprocess.run(closed, env=environment, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == 0 and done.stderr == b""


def test_ctrl_c_in_a_fleet_ends_its_processes_too(
    zoo_bundle: CascadeBundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal sends it to all of them: one answers, and no process is waited for or left."""
    words = ["fleet", zoo_bundle.folder, "mixed", tmp_path / "out", "--cache", tmp_path / "logits", "--workers", "2"]
    given, environment = command(*words)
    running = subprocess.Popen(
        given, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    assert running.stderr is not None
    while b"logits" not in (line := running.stderr.readline()):
        assert line, "the fleet ended"
    time.sleep(6)  # its processes are starting, or at work
    os.killpg(running.pid, signal.SIGINT)
    try:
        _, err = running.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        raise
    assert (running.returncode, err.splitlines()[-1:]) == (130, [b"stopped"]) and b"Traceback" not in err
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # what they leave behind takes a moment to go
            os.killpg(running.pid, 0)
            time.sleep(0.1)


@pytest.mark.parametrize("seed", range(6))
def test_ctrl_c_is_one_word_wherever_it_falls(zoo_bundle: CascadeBundle, tmp_path: Path, seed: int) -> None:
    """In the imports, in an export, in a run. Before Python reads its first line nobody can answer."""
    chance = random.Random(seed)
    words = (
        ["export", "zoo:dvt_cifar10", tmp_path / "out", "-t", "onnx-int8"],
        ["run", zoo_bundle.folder, *["sample:cifar10-test"] * 400],
        ["bench", "zoo:dvt_cifar10", "--rounds", "1000"],
    )[seed % 3]
    given, environment = command(*words, PYTHONPROFILEIMPORTTIME="1")
    running = subprocess.Popen(given, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert running.stderr is not None
    for line in running.stderr:  # the imports are told one by one: ours have begun
        if b"dvt_edge.cli" in line:
            break
    time.sleep(chance.uniform(0, 3))
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    said = [line for line in err.decode().splitlines() if not line.startswith("import time:")]
    assert (running.returncode, said[-1:]) == (130, ["stopped"]) and "Traceback" not in err.decode(), said


def test_a_bug_is_one_line_that_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("one\ntwo \x1b[1m")

    monkeypatch.setattr(app, "app", broken)
    assert main(["inspect", "x"]) == 70
    line = (
        "this is a bug in dvt-edge: ZeroDivisionError: one two \\x1b[1m (set DVT_EDGE_TRACEBACK=1 for the traceback)\n"
    )
    assert capsys.readouterr().err == line
    monkeypatch.setenv("DVT_EDGE_TRACEBACK", "1")
    assert main(["inspect", "x"]) == 70
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.endswith(line)


def test_memory_that_is_not_there_is_no_bug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 7 EiB")

    monkeypatch.setattr(app, "app", greedy)
    assert main(["inspect", "x"]) == 2
    assert capsys.readouterr().err == "error: out of memory: Unable to allocate 7 EiB\n"


def test_what_was_passed_over_is_said_once(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", "a.png")
    (folder / "b.heic").write_bytes(b"")
    done = process("run", zoo_bundle.folder, folder, folder)
    assert (done.returncode, done.stderr.decode()) == (0, f"note: {folder}: passed over 1 .heic\n")
