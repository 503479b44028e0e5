"""Hostile bundles held before a phone's runtime and this one: both open the same, and refuse the rest alike."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

from support.bundle_fuzzer import bundles

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.errors import BundleError

COUNT = 1000
# Where two rules are broken, or what cannot be read has no rule, languages may find one or the other first.
NEAR = 0.99
MAX_SECONDS = 5.0  # for one of them
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


def hold_against_python(command: list[str], folder: Path) -> None:
    """`command` reads a path a line from stdin, in JSON, and answers ["opens", ""] or an error's name and message.

    Seeded. The process that opens them all never traps: it answers once for each.
    """
    same, differ, outcomes = 0, Counter[tuple[str, str, str]](), set()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as opener:
        assert opener.stdin and opener.stdout
        for kind, path in bundles(COUNT, 0, folder):
            start = time.perf_counter()
            opener.stdin.write(json.dumps(str(path)) + "\n")
            opener.stdin.flush()
            line = opener.stdout.readline()
            assert line, f"it trapped at {kind} {path.name}"
            assert time.perf_counter() - start < MAX_SECONDS, f"{kind} {path.name}"
            theirs, message = json.loads(line)
            python = python_says(path)
            assert theirs in NAMES, (kind, path, theirs, message)
            assert theirs == "opens" or (message.isprintable() and str(path) in message and len(message) < 1000), (
                message
            )
            # Python reads format 1 too.
            opens = theirs in ("opens", "OldFormatError")
            assert opens == (python == "opens") or theirs == "OldFormatError", (kind, path, theirs, message, python)
            same += theirs == python
            differ[kind, theirs, python] += theirs != python
            outcomes.add(theirs)
        opener.stdin.close()
    assert opener.returncode == 0
    assert same >= NEAR * COUNT, +differ
    assert outcomes >= NAMES - {"OldFormatError", "NewerFormatError", "BundleError"}
