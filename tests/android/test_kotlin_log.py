"""A loop over two languages: what the Kotlin core logged of a real run, read back and held against this runtime.

`android_demo/check.sh` writes the logs (LoggedRunTest.kt); without it these tests are skipped, and fail in CI.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from support.log_fuzzer import mutated, outcome_of, read_whole
from support.needs import needs

from dvt_edge import CascadeBundle, Runtime
from dvt_edge.cli.process import run
from dvt_edge.device.device_log import ImageRecord, StateRecord, encode
from dvt_edge.device.log_reader import LogReader
from dvt_edge.simulation.device_profile import open_profile

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build/android"


def written(name: str) -> Path:
    path = BUILD / f"logs/{name}.jsonl"
    if not path.is_file():
        words = f"no {path.name} of Kotlin's: android_demo/check.sh writes it"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    return path


@pytest.fixture(params=["onnx-int8", "onnx-fp32"])
def target(request: pytest.FixtureRequest) -> str:
    needs("onnxruntime")
    return written(request.param).stem


def test_what_kotlin_logged_is_what_python_computes(target: str) -> None:
    """Every record is read; pixels, exits and labels are the same, and logits as close as the golden files ask."""
    bundle = CascadeBundle.open(BUILD / "bundles" / target)
    tolerance = json.loads((ROOT / f"tests/golden/runs/{target}.json").read_text())["tolerance"]
    reader = LogReader(BUILD / f"logs/{target}.jsonl")
    records = list(reader)
    header = reader.header
    assert reader.notes.words() == []
    assert header.artifact_sha256 == bundle.artifacts_sha256
    assert header.bundle_sha256 == hashlib.sha256((bundle.path / "manifest.json").read_bytes()).hexdigest()
    assert header.backends == (bundle.manifest.backend,) * 3 and header.classes == len(bundle.labels)

    images = [record for record in records if isinstance(record, ImageRecord)]
    pixels = np.fromfile(BUILD / "logs" / str(header.pixels), np.uint8).reshape(len(images), 32, 32, 3)
    runtime = Runtime(bundle)
    assert len(images) == 32
    for record, image in zip(images, pixels, strict=True):
        assert record.pixels_sha256 == hashlib.sha256(image.tobytes()).hexdigest()
        found, logits = runtime.run(image), runtime.logits(image)
        assert (record.exit, record.label, record.label_name) == (found.exit, found.label, found.label_name)
        assert (record.point, record.degraded, record.uncertified) == (
            found.operating_point,
            found.degraded,
            found.uncertified,
        )
        assert np.abs(np.stack(record.logits) - np.stack(logits)).max() <= tolerance
        assert record.total_ms >= record.preprocess_ms + sum(record.stage_ms) - 0.01

    others = [record for record in records if not isinstance(record, ImageRecord)]
    assert [(type(record), record.event) for record in others] == [(StateRecord, "idle"), (StateRecord, "state")]


def test_validate_passes_it(target: str) -> None:
    """What a user does with a phone's log: `dvt-edge validate BUNDLE --device-log LOG`."""
    assert run(["validate", str(BUILD / "bundles" / target), "--device-log", str(BUILD / f"logs/{target}.jsonl")]) == 0


def test_python_writes_the_same_bytes(target: str) -> None:
    """What was read, written again."""
    path = BUILD / f"logs/{target}.jsonl"
    reader = LogReader(path)
    assert b"".join(map(encode, [reader.header, *reader])) == path.read_bytes()


def test_a_log_that_was_changed_is_read_or_refused(target: str, tmp_path: Path) -> None:
    """500 mutations of each of both logs: an error of our own in one line, and nothing is lost silently."""
    content = (BUILD / f"logs/{target}.jsonl").read_bytes()
    path, outcomes = tmp_path / "log.jsonl", set()
    for number in range(500):
        path.write_bytes(mutated(random.Random(f"kotlin {number}"), content))
        said, problem = outcome_of(read_whole, path)
        assert not problem, f"{number}: {problem}"
        outcomes.add(said)
    assert "SchemaError" in outcomes


def test_profile_takes_a_benchmarks_log(tmp_path: Path) -> None:
    """What a user does with it: `dvt-edge profile LOG OUT`. The made-up phone of BenchmarkTest.kt draws 1.17 W more."""
    log, out = written("benchmark"), tmp_path / "profile.json"
    assert run(["profile", str(log), str(out), "--base", "phone-cpu"]) == 0
    profile = open_profile(out)
    assert profile.power.idle_w + profile.power.screen_w == pytest.approx(0.39, rel=1e-3)
    (measured,) = profile.measured
    assert len(measured.stage_ms) == 3 and min(measured.stage_ms) > 5
    joules = [mj / ms for mj, ms in zip(measured.stage_mj, measured.stage_ms, strict=True)]
    assert min(joules) > 0.9 * 1.17
