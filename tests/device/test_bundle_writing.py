"""Nothing that happens while a bundle is written loses one, leaves a torn one, or leaves anything behind."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from support.fake_bundle import write_bundle
from support.kill_test import kill_all
from support.make_bundle_golden import format_1, good

from dvt_edge import atomic
from dvt_edge.atomic import new_folder, write_bytes
from dvt_edge.cli.app import main
from dvt_edge.device.bundle import CascadeBundle, list_files, set_policy, why_not_replaceable
from dvt_edge.device.manifest import MANIFEST, to_json
from dvt_edge.device.power_policy import PowerPolicy
from dvt_edge.errors import BundleError, ChangedFileError, MissingFileError

ROOT = Path(__file__).parents[2]
POLICY = PowerPolicy("full", allow_uncertified=True)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


WRITER = """
import shutil, sys
from pathlib import Path
from dvt_edge.atomic import new_folder
from dvt_edge.device.bundle import CascadeBundle, set_policy
from dvt_edge.device.power_policy import PowerPolicy

base, target, what, times = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for _ in range(times):
    if what == "export":
        with new_folder(target) as folder:
            shutil.copytree(base, folder, dirs_exist_ok=True)
    else:
        set_policy(CascadeBundle.open(target), PowerPolicy("full", allow_uncertified=True))
"""


def test_no_kill_tears_a_bundle_or_leaves_anything(tmp_path: Path) -> None:
    """Twenty kills of writers in a loop; of the real commands: python tests/support/kill_test.py"""
    base = write_bundle(tmp_path / "base").path
    (tmp_path / "work").mkdir()
    bundle = tmp_path / "work/bundle"
    commands = {
        f"{what} {times}": [sys.executable, "-c", WRITER, str(base), str(bundle), what, str(times)]
        for what, times in (("export", 1), ("export", 300), ("policy", 300), ("policy", 30))
    }
    outcome = kill_all(bundle, commands, 20, 0, lambda line: None, early=(0.1, 0.2))
    assert not outcome.wrong and outcome.kills.total() >= 20 and outcome.opens["opens"] > 50


def test_a_temporary_file_of_an_old_version_locks_nobody_out_and_goes(tmp_path: Path) -> None:
    """dvt-edge 0.1.0 left .manifest.json.xxxx inside a bundle when it was killed."""
    bundle = write_bundle(tmp_path / "bundle")
    (bundle.path / ".manifest.json.k3_x9abc").write_bytes(b"{")
    set_policy(CascadeBundle.open(bundle.path), POLICY)
    assert not [name for name in names(bundle.path) if name.startswith(".")]
    for other in (".manifest.json.tooo_long", ".manifest.json", "manifest.json.k3_x9abc", ".manifest.json.k3.x9abc"):
        (bundle.path / other).write_bytes(b"{")
        with pytest.raises(MissingFileError):
            CascadeBundle.open(bundle.path)
        (bundle.path / other).unlink()
    (bundle.path / "golden/.manifest.json.k3_x9abc").write_bytes(b"{")
    with pytest.raises(MissingFileError):
        CascadeBundle.open(bundle.path)


def test_what_a_dead_writer_left_is_swept_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    dead_folder, dead_file = tmp_path / ".b.abcdefgh.partial", tmp_path / ".b.12345678.partial"
    dead_folder.mkdir()
    (dead_folder / "half").write_text("half")
    dead_file.write_text("half")
    foreign = [".b.abc.partial", ".other.abcdefgh.partial", ".b.abcdefgh.partial.txt", "b.abcdefgh.partial"]
    for name in foreign:
        (tmp_path / name).write_text("mine")
    with new_folder(tmp_path / "b") as living:
        (living / "x").write_text("x")
        atomic.sweep(tmp_path / "b")
        assert names(tmp_path) == {living.name, *foreign}
    assert names(tmp_path) == {"b", *foreign}


@pytest.mark.parametrize("fails", ["exchange", "first", "second"])
def test_a_stop_while_a_folder_is_replaced_leaves_one_of_both(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C before, between and after the two renames of a system without an exchange."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b/old").write_text("old")
    monkeypatch.setattr(atomic, "exchange_at_once", lambda new, old: atomic.exchange_by_renames(new, old))
    rename, calls = Path.rename, []

    def stopping(self: Path, target: Path) -> Path:
        calls.append(self)
        if fails == "first" and len(calls) == 1:
            raise KeyboardInterrupt
        done = rename(self, target)
        if fails == "second" and len(calls) == 1:
            raise KeyboardInterrupt
        return done

    if fails != "exchange":
        monkeypatch.setattr(Path, "rename", stopping)
        with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "b") as folder:
            (folder / "new").write_text("new")
        assert names(tmp_path / "b") == {"old"}
    else:
        with new_folder(tmp_path / "b") as folder:
            (folder / "new").write_text("new")
        assert names(tmp_path / "b") == {"new"}
    assert names(tmp_path) == {"b"}


def test_a_kill_between_two_renames_is_put_right_by_the_next_writer(tmp_path: Path) -> None:
    (tmp_path / ".b.abcdefghx.partial").mkdir()
    (tmp_path / ".b.abcdefghx.partial/old").write_text("old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "b"):
        raise RuntimeError
    assert names(tmp_path) == {"b"} and names(tmp_path / "b") == {"old"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_a_command_like_ctrl_c(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from dvt_edge.atomic import new_folder\n"
        "from dvt_edge.cli import app, process\n"
        "def main(args):\n"
        "    with new_folder(Path(sys.argv[1])):\n"
        "        print('writing', flush=True); time.sleep(60)\n"
        "app.main = main; process.entry()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "b")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() and names(tmp_path)
    process.send_signal(number)
    assert process.wait(30) == 130 and not names(tmp_path)
    process.stdout.close()


def test_only_a_bundle_that_holds_nothing_else_is_replaced(tmp_path: Path) -> None:
    """A web app has a manifest.json, too; a bundle may hold somebody's notes."""
    bundle = write_bundle(tmp_path / "bundle").path
    assert why_not_replaceable(bundle) is None and why_not_replaceable(tmp_path / "nothing") is None
    (bundle / "stage0.bin").write_bytes(b"damaged")  # still nothing but a bundle
    assert why_not_replaceable(bundle) is None
    (tmp_path / "app").mkdir()
    assert why_not_replaceable(tmp_path / "app") is None
    (tmp_path / "app" / MANIFEST).write_text(json.dumps({"name": "a web app", "icons": []}))
    (tmp_path / "link").symlink_to(bundle)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("a file")
    for name, why in {"app": "not a bundle", "link": "link", "dangling": "link", "file": "a file"}.items():
        assert why in (why_not_replaceable(tmp_path / name) or "")
    (bundle / "golden/notes.txt").write_text("mine")
    assert "golden/notes.txt" in (why_not_replaceable(bundle) or "")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


def test_a_replaced_bundle_is_never_mixed_with_the_one_that_was_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "bundle", tmp_path / "b.zip"):
        opened = write_bundle(tmp_path / f"of-{path.name}")
        if path.suffix:
            opened.save_zip(path)
        else:
            opened.path.rename(path)
        first = CascadeBundle.open(path)
        assert first.artifact(0) == {"stage0.bin": bytes(100)}
        other = write_bundle(tmp_path / f"other-{path.name}")
        (other.path / "stage1.bin").write_bytes(b"another")
        if path.suffix:
            with zipfile.ZipFile(path, "w") as archive:
                for file in ("manifest.json", "stage0.bin", "stage1.bin"):
                    archive.write(other.path / file, file)
        else:
            (path / "stage1.bin").write_bytes(b"another")
        with pytest.raises(ChangedFileError, match=r"stage1\.bin"):
            first.artifact(1)


def test_a_zip_survives_forks_copies_and_pickles(tmp_path: Path) -> None:
    """Nothing is unpacked, so nobody deletes it."""
    before = names(Path(os.environ.get("TMPDIR", "/tmp")))
    path = write_bundle(tmp_path / "bundle").save_zip(tmp_path / "b.zip")
    bundle = CascadeBundle.open(path)
    if (child := os.fork()) == 0:
        bundle.labels  # noqa: B018
        os._exit(0)
    os.waitpid(child, 0)
    for other in (bundle, copy.copy(bundle), copy.deepcopy(bundle), pickle.loads(pickle.dumps(bundle))):  # noqa: S301
        assert other.labels == ("cat", "dog", "ship") and other.read("stage2.bin") == bytes([2]) * 100
    assert not [n for n in names(Path(os.environ.get("TMPDIR", "/tmp"))) - before if n.startswith("dvt-edge")]


def test_an_upgrade_rewrites_folders_and_zips_of_format_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = good(tmp_path / "bundle")
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    old = format_1({MANIFEST: (bundle.path / MANIFEST).read_bytes(), **files})
    (bundle.path / MANIFEST).write_bytes(old[MANIFEST])
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for name, content in old.items():
            archive.writestr(name, content)
    for path in (bundle.path, tmp_path / "b.zip"):
        before = CascadeBundle.open(path)
        why = "format 1 does not bind a certificate to its thresholds"
        assert before.manifest.format == 1 and before.uncertified("full") == why
        assert main(["upgrade", str(path)]) == 0 and "format 1, rewritten as format 2" in capsys.readouterr().out
        after = CascadeBundle.open(path)
        assert after.manifest == dataclasses.replace(before.manifest, format=2)
        assert after.uncertified("full") == "no certificate" and after.artifacts_sha256 == bundle.artifacts_sha256
        assert main(["upgrade", str(path)]) == 0 and "already format 2" in capsys.readouterr().out


@pytest.mark.timed
def test_verifying_takes_linear_time(tmp_path: Path) -> None:
    """9,000 files in one folder and 400 files 31 folders down, each with its own check of links and names."""
    bundle = write_bundle(tmp_path / "bundle")
    (bundle.path / "many").mkdir()
    deep = bundle.path / "/".join(["d"] * 31)
    deep.mkdir(parents=True)
    for k in range(9000):
        (bundle.path / f"many/{k}").touch()
    for k in range(400):
        (deep / str(k)).touch()
    manifest = dataclasses.replace(bundle.manifest, files=list_files(bundle.path))
    (bundle.path / MANIFEST).write_text(to_json(manifest))
    begun = time.process_time()
    CascadeBundle.open(bundle.path)
    CascadeBundle.open(bundle.path).save_zip(tmp_path / "b.zip")
    CascadeBundle.open(tmp_path / "b.zip")
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "/" + "y/" * 3000])
def test_paths_that_no_system_takes_are_missing(path: str) -> None:
    with pytest.raises(BundleError):
        CascadeBundle.open(path)


def test_pipes_and_devices_are_no_bundles(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(BundleError, match="neither"):
            CascadeBundle.open(path)
