"""An option that nothing would read is refused in one line, or said: nobody takes its figures for what they are not."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import refusal
from support.fake_cifar import write_cifar10

from dvt_edge import CascadeBundle
from dvt_edge.cli.app import main

ROOT = Path(__file__).parents[2]
IMAGES = "sample:cifar10-test"
SIMULATE, VALIDATE, RUN = ["simulate", "BUNDLE"], ["validate", "BUNDLE"], ["run", "BUNDLE", IMAGES]
EVAL = ["eval", "zoo:dvt_cifar10", "--data", IMAGES, "--out", "out"]
TRAIN = ["train", "CIFAR", "out", "--model", "dvt_tiny"]
FLEET = ["fleet", "BUNDLE", "mixed", "out"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([*SIMULATE, "--logits", "L", "--data", "absent"], "--data: not read with --logits"),
        ([*SIMULATE, "--logits", "L", "--cache", "C", "--data", "D"], "--data, --cache: not read with --logits"),
        ([*FLEET, "--logits", "L", "--data", "absent"], "--data: not read with --logits"),
        ([*FLEET, "--logits", "L", "--cache", "absent"], "--cache: not read with --logits"),
        ([*SIMULATE, "--shift-strength", "3"], "--shift-strength: not read without --shift"),
        ([*SIMULATE, "--workload", "a.csv", "--rate", "20"], "--rate: not read with a trace"),
        ([*VALIDATE, "--outputs", "x", "--data", IMAGES], "--data: not read with --outputs"),
        ([*VALIDATE, "--outputs", "x", "--limit", "64"], "--limit: not read with --outputs"),
        ([*VALIDATE, "zoo:dvt_cifar10", "--outputs", "x"], "--outputs stands alone"),
        ([*VALIDATE, "--device-log", "x", "--limit", "64"], "--limit: not read with --device-log"),
        ([*VALIDATE, "zoo:dvt_cifar10", "--device-log", "x", "--limit", "9"], "--limit: not read with --device-log"),
        ([*VALIDATE, "--device-log", "x", "--model", "dvt_tiny"], "--model: not read without a checkpoint"),
        ([*RUN, "--point", "full", "--battery", "0.01"], "--battery: not read with --point"),
        ([*RUN, "--threshold", "0,0,0", "--low-power", "--charging"], "--charging, --low-power: not read with --thre"),
        ([*RUN, "--point", "full", "--thermal", "nominal"], "--thermal: not read with --point"),
        ([*EVAL, "--tolerance", "0.01"], "--tolerance: not read without --static"),
        ([*EVAL, "--holdout", "9"], "--holdout: not read without a training split"),
        (["bench", "random:dvt_tiny", "--model", "dvt_tiny"], "--model: not read with random"),
        ([*TRAIN, "--teacher-weight", "1", "--temperature", "2"], "--teacher-weight, --temperature: not read without"),
        ([*TRAIN, "--crop-area", "0.3"], "--crop-area: not read without --augment batch"),
        (
            [*TRAIN, "--augment", "batch", "--erasing", "0", "--workers", "0"],
            "--erasing: not read with --augment",
        ),
        (
            [*TRAIN, "--mixup", "0", "--cutmix", "0", "--mix-probability", "1"],
            "--mix-probability: not read with",
        ),
    ],
)
def test_an_option_that_nothing_reads_is_refused(
    zoo_bundle: CascadeBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    words: str,
) -> None:
    """Also where it has the value of its default, and before anything else is looked for."""
    monkeypatch.chdir(tmp_path)
    known = {"BUNDLE": str(zoo_bundle.folder), "CIFAR": str(tmp_path / "cifar")}
    if "CIFAR" in args:
        write_cifar10(tmp_path / "cifar")
    assert words in refusal(capsys, *(known.get(a, a) for a in args))
    assert not (tmp_path / "out").exists()


def test_a_device_state_that_no_policy_reads_is_said(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answers are what a device in that state gives: a bundle without a policy has them the same."""
    run = ["run", str(zoo_bundle.folder), IMAGES, "--limit", "1", "--max-stage", "0"]
    assert main([*run, "--battery", "0.01", "--thermal", "critical"]) == 0
    note = f"note: {zoo_bundle.folder} has no power policy: nothing reads --battery, --thermal\n"
    assert capsys.readouterr().err == note
    copy = tmp_path / "bundle"
    shutil.copytree(zoo_bundle.folder, copy)
    (tmp_path / "mine.json").write_text(json.dumps({"otherwise": "full", "allow_uncertified": True}))
    assert main(["policy", str(copy), "--set", str(tmp_path / "mine.json")]) == 0
    for words in (run, ["run", str(copy), *run[2:], "--battery", "0.01"]):
        assert main(words) == 0
        assert capsys.readouterr().err == ""


# -- the scripts -------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what a script asks of `dvt-edge export` is written; the apps that it fills stand beside."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "asked.json"


def script(name: str, asked: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script whose export writes a .zip of each target into its folder, and nothing else."""
    code = f"""
import json, runpy, sys
from pathlib import Path
from dvt_edge.cli import process
def export(words=None):
    words = list(words)
    Path({str(asked)!r}).write_text(json.dumps(words))
    for before, word in zip(words, words[1:]):
        if before in ("-t", "--target") and Path(words[2]).is_dir():
            Path(words[2], word + ".zip").write_text(word)
    return 0
process.run = export
script = Path({str(asked.parent)!r}) / "repository/export_scripts" / {name!r}
sys.path.insert(0, str(script.parent))
sys.argv[0] = str(script)
runpy.run_path(str(script), run_name="__main__")
"""
    repository = asked.parent / "repository"
    if not repository.exists():
        shutil.copytree(ROOT / "export_scripts", repository / "export_scripts", ignore=shutil.ignore_patterns("repro*"))
        (repository / "android_demo/app/src/main/assets").mkdir(parents=True)
        (repository / "ios_demo/App/DvtEdgeDemo").mkdir(parents=True)
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def targets_in(asked: Path) -> list[str]:
    words = json.loads(asked.read_text())
    return [word for before, word in itertools.pairwise(words) if before in ("-t", "--target")]


@pytest.mark.parametrize("form", [["-t", "onnx-w8"], ["-tonnx-w8"], ["--target", "onnx-w8"], ["--target=onnx-w8"]])
def test_the_android_script_exports_the_targets_that_are_given(asked: Path, form: list[str]) -> None:
    assert script("export_android.py", asked, "zoo:x", "--limit", "40", *form).returncode == 0
    assert targets_in(asked) == ["onnx-w8"] and json.loads(asked.read_text())[-2:] == ["--limit", "40"]
    bundles = asked.parent / "repository/android_demo/app/src/main/assets/bundles"
    assert [path.name for path in bundles.iterdir()] == ["onnx-w8.zip"]
    assert script("export_android.py", asked, "zoo:x").returncode == 0
    assert targets_in(asked) == ["onnx-int8", "onnx-fp32"]


@pytest.mark.parametrize("form", [["-t", "coreml-w8"], ["-tcoreml-w8"], ["--target=coreml-w8"]])
def test_the_ios_script_exports_the_target_that_is_given(asked: Path, form: list[str]) -> None:
    resource = asked.parent / "repository/ios_demo/App/DvtEdgeDemo/bundle.zip"
    assert script("export_ios.py", asked, "zoo:x").returncode == 0
    assert targets_in(asked) == ["coreml-fp16"] and resource.read_text() == "coreml-fp16"
    assert script("export_ios.py", asked, "zoo:x", *form, "--limit", "40").returncode == 0
    assert targets_in(asked) == ["coreml-w8"] and resource.read_text() == "coreml-w8"
    ended = script("export_ios.py", asked, "zoo:x", *form, "-t", "coreml-fp16")
    assert ended.returncode == 2 and ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1
    ended = script("export_ios.py", asked, "zoo:x", "-t", "onnx-int8")
    assert ended.returncode == 2 and "error: target onnx-int8: the app runs Core ML" in ended.stderr
    assert resource.read_text() == "coreml-w8"


def test_the_script_of_an_engine_exports_the_targets_that_are_given(asked: Path) -> None:
    assert script("export_coreml.py", asked, "zoo:x", "out").returncode == 0
    assert targets_in(asked) == ["coreml-fp16", "coreml-w8"]
    assert script("export_coreml.py", asked, "zoo:x", "out", "--target=coreml-w8").returncode == 0
    assert targets_in(asked) == ["coreml-w8"]
    ended = script("export_coreml.py", asked, "zoo:x", "out", "-t", "onnx-int8")
    assert ended.returncode == 2 and ended.stderr == "error: target onnx-int8: of onnxruntime, not of coreml\n"
