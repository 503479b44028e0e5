"""One image that cannot be read: `run` says why and answers the others; what measures names it and measures nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dvt_edge import CascadeBundle
from dvt_edge.cli.app import main
from dvt_edge.data.cifar import CIFAR10_CLASSES
from dvt_edge.data.reading import sample


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 images in their classes' folders, one of them cut short."""
    images = sample("cifar10-test")
    assert images.labels is not None
    for index in range(60):
        place = tmp_path / "images" / images.classes[images.labels[index]]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index]).save(place / f"{index:02}.png")
    damaged = next((tmp_path / "images").rglob("30.png"))
    damaged.write_bytes(damaged.read_bytes()[:200])
    return tmp_path / "images"


def test_run_answers_the_others_and_says_which_it_could_not(
    zoo_bundle: CascadeBundle, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(zoo_bundle.folder), str(folder), "--point", "full"]) == 1
    out, err = capsys.readouterr()
    reason, count = err.splitlines()
    assert "59 images: exits 0 / 0 / 59" in out and float(out.split("top-1 ")[1].split("%")[0]) > 70
    assert reason.startswith("error: ") and "30.png: not a readable image" in reason and reason.count("30.png") == 1
    assert count == "no answer for 1 of 60 images"


def test_run_on_nothing_but_damaged_images(
    zoo_bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"none")
    assert main(["run", str(zoo_bundle.folder), str(tmp_path / "a.png")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "a.png: not a readable image" in err
    assert main(["run", str(zoo_bundle.folder), str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("no answer for 2 of 2 images\n")


@pytest.mark.parametrize(
    "words",
    [
        "validate BUNDLE zoo:dvt_cifar10 --data FOLDER",
        "calibrate BUNDLE --data FOLDER --cache CACHE",
        "eval zoo:dvt_cifar10 --data FOLDER --out CACHE",
        "simulate BUNDLE --data FOLDER --cache CACHE",
        "fleet BUNDLE mixed OUT --data FOLDER --cache CACHE",
        "export zoo:dvt_cifar10 OUT --calibration FOLDER",
    ],
)
def test_what_measures_names_the_file(
    zoo_bundle: CascadeBundle, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    known = {"BUNDLE": zoo_bundle.folder, "FOLDER": folder, "CACHE": tmp_path / "cache", "OUT": tmp_path / "out"}
    before = (zoo_bundle.folder / "manifest.json").read_bytes()
    assert main([str(known.get(word, word)) for word in words.split()]) == 2
    err = capsys.readouterr().err
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and "30.png: not a readable image" in line and "Traceback" not in err
    assert (zoo_bundle.folder / "manifest.json").read_bytes() == before and not any((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize("workers", [0, 2])
def test_train_names_the_file_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in CIFAR10_CLASSES[:2]:
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(12):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{index}.png")
    for damaged in (tmp_path / "data" / "train" / "automobile").glob("*.png"):
        damaged.write_bytes(damaged.read_bytes()[:100])
    options = ["--model", "dvt_tiny", "--epochs", "1", "--batch-size", "8", "--holdout", "4", "--workers", str(workers)]
    assert main(["train", str(tmp_path / "data"), str(tmp_path / "out"), *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and len(err) < 400 and "Traceback" not in err and "worker" not in err
    assert err.startswith(f"error: {tmp_path / 'data' / 'train' / 'automobile'}") and "not a readable image" in err
