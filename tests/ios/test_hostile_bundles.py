"""The Swift package opens what Python opens, and refuses the rest: with an error of its own, mostly the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import zipfile
from collections import Counter
from pathlib import Path

from support.bundle_fuzzer import bundles

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.errors import BundleError

COUNT = 1000
# Where two rules are broken, or what cannot be read has no rule, languages may find one or the other first.
NEAR = 0.99
NAMES = {"opens", "OldFormatError"} | {error.__name__ for error in (BundleError, *BundleError.__subclasses__())}


def python_says(path: Path) -> str:
    try:
        bundle = CascadeBundle.open(path)
        _ = bundle.labels
        for stage in range(len(bundle.manifest.stages)):
            if bundle.manifest.golden.images:
                bundle.golden(stage)
            bundle.artifact(stage)
    except BundleError as error:
        return type(error).__name__
    return "opens"


def test_a_thousand_hostile_bundles(tmp_path: Path, swift_tool: list[str]) -> None:
    """Seeded. The process that opens them all never traps: it answers once for each."""
    same, differ, outcomes = 0, Counter[tuple[str, str, str]](), set()
    with subprocess.Popen([*swift_tool, "open"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as opener:
        assert opener.stdin and opener.stdout
        for kind, path in bundles(COUNT, 0, tmp_path):
            opener.stdin.write(json.dumps(str(path)) + "\n")
            opener.stdin.flush()
            line = opener.stdout.readline()
            assert line, f"it trapped at {kind} {path.name}"
            swift, message = json.loads(line)
            python = python_says(path)
            assert swift in NAMES, (kind, path, swift, message)
            assert swift == "opens" or (message.isprintable() and str(path) in message and len(message) < 1000), message
            # Python reads format 1 too.
            opens = swift in ("opens", "OldFormatError")
            assert opens == (python == "opens") or swift == "OldFormatError", (kind, path, swift, message, python)
            same += swift == python
            differ[kind, swift, python] += swift != python
            outcomes.add(swift)
        opener.stdin.close()
    assert opener.returncode == 0
    assert same >= NEAR * COUNT, +differ
    assert outcomes >= NAMES - {"OldFormatError", "NewerFormatError", "BundleError"}


def test_one_that_is_replaced_meanwhile(tmp_path: Path, swift_tool: list[str]) -> None:
    """It is opened all the same, by a second try; what is read afterwards may be a changed file, and nothing else."""
    place = tmp_path / "bundle"

    def put(number: int) -> None:
        (tmp_path / "next").symlink_to(folders[number])
        (tmp_path / "next").replace(place)
        if number > 1:
            shutil.rmtree(folders[number - 2])

    folders = [tmp_path / f"v{number}" for number in range(200)]
    with zipfile.ZipFile(Path(__file__).parents[1] / "golden/bundles/good-stored.zip") as archive:
        for folder in folders:
            archive.extractall(folder)
    put(0)
    replacing = threading.Thread(target=lambda: [put(number) for number in range(1, len(folders))])
    found = Counter[str]()
    with subprocess.Popen([*swift_tool, "open"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as opener:
        assert opener.stdin and opener.stdout
        replacing.start()
        while replacing.is_alive():
            opener.stdin.write(json.dumps(str(place)) + "\n")
            opener.stdin.flush()
            found[json.loads(opener.stdout.readline())[0]] += 1
        opener.stdin.close()
    assert found["opens"] > 1 and found.keys() <= {"opens", "ChangedFileError"}, found
