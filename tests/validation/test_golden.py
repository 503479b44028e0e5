"""`dvt-edge golden`: Python reproduces what is committed, and a change of a byte is seen (docs/golden.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.log_fuzzer import fuzz_golden

from dvt_edge import CascadeBundle, Runtime
from dvt_edge.cli.app import main
from dvt_edge.validation.golden import check_golden, make_golden, run_differs, run_of

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED = sorted(
    p.relative_to(GOLDEN).as_posix()
    for p in (
        *(p for folder in ("preprocess", "camera") for p in (GOLDEN / folder).iterdir() if p.name != "cases.json"),
        GOLDEN / "device_log.jsonl",
    )
    if p.suffix in (".rgb", ".expected", ".jsonl")
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def test_python_reproduces_what_is_committed_in_at_most_5_mb() -> None:
    assert check_golden(GOLDEN, None) == []
    assert sum(p.stat().st_size for p in GOLDEN.rglob("*") if p.is_file()) <= 5e6


def test_a_changed_byte_in_any_expectation_is_named(copy: Path) -> None:
    assert len(EXPECTED) > 70
    for name in EXPECTED:
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
    problems = check_golden(copy, None)
    assert [p.split(":")[0] for p in problems] == sorted(EXPECTED, key=[p.split(":")[0] for p in problems].index)
    assert len(problems) == len(EXPECTED)
    (copy / EXPECTED[0]).unlink()
    assert f"{EXPECTED[0]}: missing" in check_golden(copy, None)
    assert sorted(make_golden(copy, None)) == EXPECTED
    assert check_golden(copy, None) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e.update(exit=e["exit"] + 1), ".exit is"),
        (lambda e: e.update(label=e["label"] + 1), ".label is"),
        (lambda e: e.update(confidence=e["confidence"] + 2e-5), ".confidence is"),
        (lambda e: e.update(degraded=not e["degraded"]), ".degraded is"),
        (lambda e: e.pop("degraded"), "has the fields"),
    ],
)
def test_a_changed_answer_of_the_exit_rule_is_named(copy: Path, change: Any, words: str) -> None:
    golden = json.loads((copy / "exit_rule.json").read_text())
    place = next(k for k, case in enumerate(golden["cases"]) if case["expected"] != "error")
    change(golden["cases"][place]["expected"])
    (copy / "exit_rule.json").write_text(json.dumps(golden))
    (problem,) = check_golden(copy, None)
    assert problem.startswith(f"exit_rule.json: .cases[{place}].expected") and words in problem


def test_the_command_says_what_differs_and_with_what_code_it_ends(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["golden", str(copy), "--check", "--no-runs"]
    assert main(arguments) == 0
    (copy / "camera/nv12.rgb").write_bytes(b"")
    assert main(arguments) == 1
    assert "camera/nv12.rgb: other bytes" in capsys.readouterr().err
    (copy / "camera/nv12.yuv").unlink()
    assert main(arguments) == 2
    assert "nv12.yuv: cannot be read" in capsys.readouterr().err


def test_damaged_golden_files_are_our_own_errors(copy: Path) -> None:
    """A share; all: python tests/support/log_fuzzer.py"""
    outcomes, wrong = fuzz_golden(150, 0, copy)
    assert not wrong
    assert outcomes["DataError"] and outcomes["SchemaError"] and outcomes["differs"]


# -- whole runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden_run() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / "runs/onnx-fp32.json").read_text())
    return found


def test_the_shipped_cascade_gives_its_golden_run(zoo_bundle: CascadeBundle, golden_run: dict[str, Any]) -> None:
    """Logits, and by the runtime itself exit and label at every point, wherever no confidence is near its threshold."""
    files = run_of("onnx-fp32", lambda _: zoo_bundle, golden_run["tolerance"])(GOLDEN)
    assert files["runs/images.bin"] == (GOLDEN / "runs/images.bin").read_bytes()
    assert run_differs(golden_run, json.loads(files["runs/onnx-fp32.json"])) is None
    size = zoo_bundle.manifest.preprocessing.size
    images = np.frombuffer(files["runs/images.bin"], np.uint8).reshape(-1, size, size, 3)
    assert len(images) == 32
    for name, point in golden_run["points"].items():
        runtime = Runtime(zoo_bundle, thresholds=point["thresholds"])
        answers = [runtime.run(image) for image in images]
        found = [(a.exit, a.label) for a in answers]
        assert found == [(a["exit"], a["label"]) for a in point["answers"]], name


@pytest.mark.parametrize("target", ["onnx-fp32", "onnx-int8"])
def test_of_another_processor_are_kernels_and_thresholds_but_no_answers(target: str) -> None:
    """int8 kernels with dot products of their own (VNNI, ARM) move logits, and with them calibrated thresholds."""
    golden = json.loads((GOLDEN / f"runs/{target}.json").read_text())
    there = json.loads(json.dumps(golden))
    there["machine"], there["artifact_sha256"] = "another", "0" * 64
    dice = np.random.default_rng(0)
    logits = np.array(golden["logits"])
    there["logits"] = (logits + dice.uniform(-0.6, 0.6, logits.shape) * golden["tolerance"]).tolist()
    for point in there["points"].values():
        point["thresholds"] = [t * 0.99 for t in point["thresholds"]]
        point["answers"] = []
    assert run_differs(golden, there) is None
    there["logits"][3][1][2] = golden["logits"][3][1][2] + 1.01 * golden["tolerance"]
    assert "logits[3][1][2] is" in str(run_differs(golden, there))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.update(artifact_sha256="0" * 64), "artifact_sha256 is"),
        (lambda g: g.update(tolerance=9.0), "tolerance is"),
        (lambda g: g["points"].pop("fast"), "points are"),
        (lambda g: g["points"]["fast"]["answers"][5].update(exit=7), "points.fast.answers[5].exit is"),
        (lambda g: g["points"]["fast"]["answers"].pop(), "points.fast.answers is"),
        (lambda g: g["points"]["fast"].update(thresholds=[2.0, 2.0, 0.0]), "points.fast.answers"),
        (lambda g: g["logits"].pop(), "logits is"),
        (lambda g: g.pop("tools"), "has the fields"),
    ],
)
def test_a_changed_run_is_named(golden_run: dict[str, Any], change: Any, words: str) -> None:
    changed = json.loads(json.dumps(golden_run))
    change(changed)
    assert words in str(run_differs(changed, golden_run))
