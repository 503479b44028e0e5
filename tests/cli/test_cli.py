"""The command line: what users see, errors in one line with exit code 2, help that matches the README."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.commands import ok, refusal
from support.fake_cifar import write_cifar10
from support.needs import needs

from dvt_edge import CascadeBundle
from dvt_edge.cli.app import main
from dvt_edge.data.reading import sample


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    images = sample("cifar10-test")
    for k in range(3):
        Image.fromarray(images[k]).resize((80, 64)).save(tmp_path / f"picture{k}.png")
    return tmp_path


def test_inspect_shows_stages_points_and_what_was_proved(
    zoo_bundle: CascadeBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ok(capsys, "inspect", zoo_bundle.folder)
    for words in ("onnx-fp32", "CPUExecutionProvider", "verified", "stage2", "tokens_0", "accurate", "SQNR"):
        assert words in out


def test_run_on_image_files_and_on_a_sample(
    zoo_bundle: CascadeBundle, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ok(capsys, "run", zoo_bundle.folder, pictures, pictures / "picture0.png", "--point", "full")
    assert "picture2.png" in out and "4 images: exits 0 / 0 / 4" in out
    out = ok(capsys, "run", zoo_bundle.folder, "sample:cifar10-test", "--limit", "50", "--max-stage", "0")
    assert "50 images: exits 50 / 0 / 0" in out and "top-1" in out
    out = ok(capsys, "run", zoo_bundle.folder, "sample:cifar10-test", "--limit", "5", "--threshold", "2,0,0")
    assert "exits 0 / 5 / 0" in out


def test_images_are_named_by_what_tells_them_apart(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/0.png", "b/0.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    out = ok(capsys, "run", zoo_bundle.folder, tmp_path / "a", "b/0.png", "sample:cifar10-test", "--limit", 3)
    assert "a/0.png" in out and "b/0.png" in out and str(tmp_path) not in out and "sample:cifar10-test[0]" in out


def test_the_packages_images_stand_in_for_no_other_task(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(zoo_bundle.folder, copy)
    labels = json.dumps([f"animal{i}" for i in range(10)]).encode()
    (copy / "labels.json").write_bytes(labels)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["labels.json"] = {"sha256": hashlib.sha256(labels).hexdigest(), "size": len(labels)}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    for words in (("validate", copy, "zoo:dvt_cifar10"), ("simulate", copy), ("fleet", copy, "mixed", tmp_path / "f")):
        assert main(list(map(str, words))) == 2
        assert "give some of its own (--data)" in capsys.readouterr().err


def test_bundles_have_the_name_that_one_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ok(capsys, "export", "zoo:dvt_cifar10", tmp_path, "-t", "onnx-fp32", "--name", "mine", "--limit", 40)
    assert CascadeBundle.open(tmp_path / "onnx-fp32").manifest.name == "mine"


def test_validate_prints_the_table_and_fails_for_another_cascade(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from dvt_edge import load_cascade, save_cascade

    out = ok(capsys, "validate", zoo_bundle.folder, "zoo:dvt_cifar10", "--limit", "8")
    assert "stage1.relations_1" in out and "same exit as PyTorch" in out
    cascade = load_cascade("zoo:dvt_cifar10")
    with torch.no_grad():
        cascade.stages[2].head.weight *= 1.5
    save_cascade(cascade, tmp_path / "other.safetensors")
    assert main(["validate", str(zoo_bundle.folder), str(tmp_path / "other.safetensors"), "--limit", "8"]) == 1
    assert "bounds of onnx-fp32 broken" in " ".join(capsys.readouterr().err.split())


def test_validate_record_makes_a_bundle_verified(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(zoo_bundle.folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["verification"] = {"verified": False, "reason": "x", "images": 0, "data": "x", "machine": "x"}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    ok(capsys, "validate", copy, "zoo:dvt_cifar10", "--limit", "4", "--record")
    after = CascadeBundle.open(copy).manifest.verification
    assert after.verified and after.images == 4


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["inspect", "nowhere"], "no such bundle"),
        (["run", "nowhere", "x.png"], "x.png"),
        (["run", "BUNDLE", "README.txt"], "README.txt"),
        (["run", "BUNDLE", "sample:none"], "cifar10-test"),
        (["run", "BUNDLE", "sample:cifar10-test", "--point", "best"], "accurate"),
        (["run", "BUNDLE", "sample:cifar10-test", "--threshold", "0.5"], "3 exits"),
        (["run", "BUNDLE", "sample:cifar10-test", "--threshold", "high"], "numbers"),
        (["run", "BUNDLE", "sample:cifar10-test", "--threshold", "nan,nan,0"], "expected finite ones"),
        (["run", "BUNDLE", "sample:cifar10-test", "--threshold", "0,0,0", "--point", "full"], "give one of them"),
        (["run", "BUNDLE", "sample:cifar10-test", "--battery", "50"], "--battery"),
        (["run", "BUNDLE", "two"], "2 classes (kitten, puppy); dvt_cifar10 has 10 classes (airplane"),
        (["validate", "BUNDLE", "zoo:dvt_cifar10", "--data", "two"], "2 classes"),
        (["calibrate", "BUNDLE", "--data", "two"], "2 classes"),
        (["calibrate", "BUNDLE", "--data", "sample:cifar10-test", "--seed", "-1"], "--seed"),
        (
            ["calibrate", "BUNDLE", "--data", "sample:cifar10-test", "--split", "zzz"],
            "expected test, train or held-out",
        ),
        (["calibrate", "BUNDLE", "--data", "CIFAR", "--split", "held-out"], "other images than those that dvt_cifar10"),
        (["calibrate", "BUNDLE", "--logits", "two", "--skip", "9"], "--skip: not read with --logits"),
        (["calibrate", "BUNDLE", "--logits", "two", "--cache", "c"], "--cache: not read with --logits"),
        (["bench", "random:dvt_tiny", "--stage", "7"], "stage 7; dvt_tiny has 0 to 2"),
        (["train", "CIFAR", "out", "--holdout", "16", "--optimizer", "nosuch"], "timm has: "),
        (["train", "CIFAR", "out", "--epochs", "0"], "--epochs"),
        (["train", "CIFAR", "out", "--holdout", "100000"], "images to hold out of"),
        (["export", "zoo:none", "out"], "dvt_cifar10"),
        (["export", "zoo:dvt_cifar10", "out", "--target", "tflite"], "onnx-int8"),
        (["export", "absent.pth.tar", "out"], "absent.pth.tar"),
        (["validate", "BUNDLE", "absent.safetensors"], "absent.safetensors"),
        (["train", "nowhere", "out"], "nowhere"),
        (["bench", "random:nothing"], "unknown model"),
        (["run", "--nonsense"], "--nonsense"),
        (["fly"], "fly"),
        (["targets", "--install", "x"], "--install 'x': expected qnn"),
        (["export", "zoo:dvt_cifar10", "out", "--limit", "1"], "one image; target onnx-int8 needs two at least"),
        (["export", "zoo:dvt_cifar10", "out", "--name", "\udcff"], "expected characters that can be printed"),
        (["export", "zoo:dvt_cifar10", "out", "--keep-float", "nope"], "keep_float 'nope': no layer of that name"),
        (["export", "zoo:dvt_cifar10", "out", "--keep-float", "stage3.head"], "no layer of that name"),
        (["sensitivity", "zoo:dvt_cifar10", "--plot", "out.txt"], "--plot out.txt: expected .png or .svg"),
        (["profile", "log.jsonl", "out", "--base", "phone-cpu", "--spread", "0"], "--spread"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    zoo_bundle: CascadeBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.txt").write_text("no image")
    for name in ("two/kitten", "two/puppy"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name / "a.png")
    if "CIFAR" in args:
        write_cifar10(tmp_path)
    known = {"BUNDLE": str(zoo_bundle.folder), "CIFAR": str(tmp_path)}
    before = (zoo_bundle.folder / "manifest.json").read_bytes()
    assert words in refusal(capsys, *(known.get(a, a) for a in args))
    assert not (tmp_path / "out").exists() and (zoo_bundle.folder / "manifest.json").read_bytes() == before


def test_too_few_images_find_no_points(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would all become the last exit's."""
    words = ["calibrate", str(zoo_bundle.folder), "--data", "sample:cifar10-test", "--cache", str(tmp_path)]
    before = (zoo_bundle.folder / "manifest.json").read_bytes()
    assert main([*words, "--limit", "1"]) == 2
    assert "1 images, none left to search on; give more" in capsys.readouterr().err
    assert (zoo_bundle.folder / "manifest.json").read_bytes() == before


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML predicts there")
def test_bench_says_that_core_ml_needs_a_mac(capsys: pytest.CaptureFixture[str]) -> None:
    """Of stage 0 too, whose image is no array there."""
    needs("coremltools")
    assert main(["bench", "random:dvt_tiny", "-t", "coreml-fp16", "--stage", "0", "--rounds", "3"]) == 2
    assert "Core ML predicts on macOS only" in capsys.readouterr().err.splitlines()[-1]


def test_brackets_in_names_are_shown(
    zoo_bundle: CascadeBundle, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("photo [edited].png", "a[/b]c.png"):
        (pictures / "picture0.png").rename(pictures / name.replace("/", "-"))
        assert name.replace("/", "-") in ok(capsys, "run", zoo_bundle.folder, pictures)
        (pictures / name.replace("/", "-")).rename(pictures / "picture0.png")


def test_folders_named_as_classes_are_those_classes(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sample("cifar10-test")
    assert images.labels is not None
    kept = [i for i in range(256) if images.classes[images.labels[i]] in ("cat", "ship")][:20]
    for i in kept:
        folder = tmp_path / "some" / images.classes[images.labels[i]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(folder / f"{i}.png")
    out = ok(capsys, "run", zoo_bundle.folder, tmp_path / "some", "--point", "full")
    right = float(out.split("top-1 ")[1].split("%")[0])
    assert "20 images" in out and right >= 70


def test_every_command_has_help_and_stands_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for command in ("train", "export", "calibrate", "inspect", "run", "validate", "bench", "footprint", "demo"):
        assert "Usage: dvt-edge " + command in ok(capsys, command, "--help")
        assert f"dvt-edge {command}" in readme


def test_bench_prints_ratios_of_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, "bench", "random:dvt_tiny", "-t", "onnx-fp32", "--rounds", "3", "--stage", "1")
    assert "stage1" in out and "stage0" not in out and out.count("1.000") >= 2
