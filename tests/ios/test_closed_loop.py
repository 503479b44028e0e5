"""A log that Swift writes of a real run is one that Python reads, with the answers of the golden run in it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.log_fuzzer import mutated, outcome_of, read_whole

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.device_log import ImageRecord, StateRecord
from dvt_edge.device.log_reader import LogReader

ROOT = Path(__file__).parents[2]
BUILD, RUNS = ROOT / "build/ios", ROOT / "tests/golden/runs"


def test_a_log_of_a_real_run(tmp_path: Path, swift_tool: list[str]) -> None:
    log = tmp_path / "log.jsonl"
    environment = os.environ | {"DVT_EDGE_ONNXRUNTIME": str(BUILD / "libonnxruntime.so")}
    command = [*swift_tool, "log", str(BUILD / "onnx-int8"), str(RUNS / "images.bin"), str(log)]
    subprocess.run(command, check=True, env=environment, timeout=300)

    bundle, golden = CascadeBundle.open(BUILD / "onnx-int8"), json.loads((RUNS / "onnx-int8.json").read_text())
    reader = LogReader(log)
    idle, *images = reader
    header = reader.header
    assert not reader.notes.words()
    assert header.artifact_sha256 == bundle.artifacts_sha256
    assert header.bundle_sha256 == hashlib.sha256((BUILD / "onnx-int8/manifest.json").read_bytes()).hexdigest()
    assert header.engine.startswith("onnxruntime ") and header.backends == ("CPUExecutionProvider",) * header.stages
    assert isinstance(idle, StateRecord) and idle.event == "idle"

    point = bundle.manifest.default_operating_point
    content, size = (RUNS / "images.bin").read_bytes(), bundle.manifest.image_size(0).size
    assert header.pixels and (tmp_path / header.pixels).read_bytes() == content
    answers = golden["points"][point]["answers"]
    assert len(images) == len(answers)
    for number, (record, answer) in enumerate(zip(images, answers, strict=True)):
        assert isinstance(record, ImageRecord)
        assert (record.exit, record.label, record.point) == (answer["exit"], answer["label"], point)
        assert record.confidence[record.exit] == pytest.approx(answer["confidence"], abs=golden["tolerance"] / 2)
        each = size * size * 3
        assert record.pixels_sha256 == hashlib.sha256(content[number * each : (number + 1) * each]).hexdigest()
        for found, expected in zip(record.logits, golden["logits"][number], strict=False):
            np.testing.assert_allclose(found, expected, atol=golden["tolerance"])
        assert sum(record.stage_ms) + record.preprocess_ms <= record.total_ms + 0.01

    content, outcomes = log.read_bytes(), set()
    for number in range(1000):  # changed, it is read or refused by an error of our own, and nothing is lost silently
        log.write_bytes(mutated(random.Random(f"swift {number}"), content))
        said, problem = outcome_of(read_whole, log)
        assert not problem, f"{number}: {problem}"
        outcomes.add(said)
    assert "SchemaError" in outcomes
