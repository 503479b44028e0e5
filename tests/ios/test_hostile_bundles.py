"""The Swift package opens what Python opens, and refuses the rest: with an error of its own, mostly the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import zipfile
from collections import Counter
from pathlib import Path

from support.hostile_opener import hold_against_python


def test_a_thousand_hostile_bundles(tmp_path: Path, swift_tool: list[str]) -> None:
    hold_against_python([*swift_tool, "open"], tmp_path)


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
