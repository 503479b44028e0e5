"""Images and labels come from wherever they lie, and what is not images and labels is refused in one line."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.fake_cifar import CLASSES, draw, write_cifar10, write_pickle

from dvt_edge.data.classes import in_classes
from dvt_edge.data.dealing import open_training_data
from dvt_edge.data.images import Coarse, LabelledImages, from_arrays
from dvt_edge.data.reading import has_training_split, open_images
from dvt_edge.errors import DataError


def refused(*arguments: Any, read: Any = open_images) -> str:
    with pytest.raises(DataError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def picture(path: Path, colour: tuple[int, int, int] = (10, 20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), colour).save(path)
    return path


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("inside", [True, False])
def test_cifar10_is_read_from_its_folder_or_the_one_above(inside: bool, tmp_path: Path) -> None:
    """Pixels, label order and class names are those of the five batches, in order; pixels become (H, W, 3)."""
    root = write_cifar10(tmp_path)
    path = root if inside else tmp_path
    train, test = open_images(path, "train"), open_images(path)
    for images, seed, count in ((train, 1, 64), (test, 2, 32)):
        pixels, labels = draw(count, seed)
        assert len(images) == count and images.labels == tuple(labels) and images.classes == CLASSES
        assert all(
            np.array_equal(found, wanted.transpose(1, 2, 0)) for found, wanted in zip(images, pixels, strict=True)
        )
    assert (test.source, test.name(3)) == ("cifar-10-batches-py/test", "cifar-10-batches-py/test[3]")


def test_cifar100_gives_its_fine_labels(tmp_path: Path) -> None:
    root = tmp_path / "cifar-100-python"
    root.mkdir()
    names = [f"fine{i}".encode() for i in range(100)]
    write_pickle(root / "meta", {b"fine_label_names": names, b"coarse_label_names": [b"coarse"]})
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [99, 3], b"coarse_labels": [0, 0]}
    for split in ("train", "test"):
        write_pickle(root / split, batch)
    images = open_images(tmp_path, "train")
    assert images.labels == (99, 3) and images.classes[99] == "fine99" and len(images.classes) == 100


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("name", ["test_batch", "batches.meta"])
def test_a_cifar_batch_that_runs_code_is_refused_and_does_not_run(name: str, tmp_path: Path) -> None:
    """Batches are pickles; only numpy arrays come out of them."""
    root = write_cifar10(tmp_path)
    write_pickle(root / name, {b"data": Bomb(tmp_path / "owned"), b"labels": [0]})
    assert name in refused(tmp_path)
    assert not (tmp_path / "owned").exists()
    pickle.loads(pickle.dumps(Bomb(tmp_path / "owned")))  # noqa: S301
    assert (tmp_path / "owned").exists(), "the bomb itself is a dud"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a letter",
        pickle.dumps(3),
        pickle.dumps([b"data"]),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8)}, protocol=2),
        pickle.dumps({b"data": np.zeros((2, 7), np.uint8), b"labels": [0, 0]}, protocol=2),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, protocol=2),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}, protocol=2),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [-1, 0]}, protocol=2),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [b"a", b"b"]}, protocol=2),
        pickle.dumps({b"data": None, b"labels": None}, protocol=2),
        pickle.dumps({b"data": [[300] * 3072], b"labels": [0]}, protocol=2),
    ],
)
def test_a_damaged_cifar_batch_is_refused(content: bytes, tmp_path: Path) -> None:
    (write_cifar10(tmp_path) / "test_batch").write_bytes(content)
    refused(tmp_path)


@pytest.mark.parametrize("names", [3, None, [b"\xff"], {b"a": 1}])
def test_damaged_class_names_are_refused(names: Any, tmp_path: Path) -> None:
    write_pickle(write_cifar10(tmp_path) / "batches.meta", {b"label_names": names})
    refused(tmp_path)


def test_an_incomplete_cifar_names_the_missing_file(tmp_path: Path) -> None:
    root = write_cifar10(tmp_path)
    (root / "data_batch_4").unlink()
    assert "data_batch_4" in refused(tmp_path, "train")
    assert len(open_images(tmp_path)) == 32


@pytest.mark.parametrize("split_name", ["val", "validation", "test", None])
def test_an_image_folder_has_its_classes_in_alphabetical_order(split_name: str | None, tmp_path: Path) -> None:
    """Labels are the folders' places by name, as torchvision has them; train/ is another split."""
    folder = tmp_path / split_name if split_name else tmp_path
    files = [
        picture(folder / "cat" / "b.png"),
        picture(folder / "cat" / "deep" / "a.JPG"),
        picture(folder / "ant" / "z.bmp"),
    ]
    (folder / "cat" / "notes.txt").write_text("not an image")
    picture(folder / ".hidden" / "x.png")
    if split_name:
        picture(tmp_path / "train" / "ant" / "t.png")
    images = open_images(tmp_path)
    assert images.classes == ("ant", "cat") and images.labels == (0, 1, 1)
    assert list(images) == [files[2], files[0], files[1]] and images.name(0) == str(files[2])
    assert list(open_images(tmp_path, "train")) == (
        [tmp_path / "train" / "ant" / "t.png"] if split_name else list(images)
    )


def test_beside_a_test_folder_validation_belongs_to_training(tmp_path: Path) -> None:
    """As with lists; a validation folder may miss a class, and may not have another."""
    for name in ("train/ant/a.png", "train/cat/b.png", "val/cat/c.png", "test/ant/d.png", "test/cat/e.png"):
        picture(tmp_path / name)
    train = open_images(tmp_path, "train")
    assert [str(path.relative_to(tmp_path)) for path in train] == [
        "train/ant/a.png",
        "train/cat/b.png",
        "val/cat/c.png",
    ]
    assert train.labels == (0, 1, 1) and train.name(2).endswith("val/cat/c.png")
    assert list(open_images(tmp_path)) == [tmp_path / "test/ant/d.png", tmp_path / "test/cat/e.png"]
    kept, held_out, test, dealt = open_training_data(tmp_path, 1, 0)
    assert (len(kept), len(held_out), len(test)) == (2, 1, 2) and dealt.source.endswith("/train+val")
    picture(tmp_path / "val/dog/f.png")
    with pytest.raises(DataError, match="2 classes"):
        open_images(tmp_path, "train")


def test_a_cifar_is_found_from_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar10(tmp_path)
    monkeypatch.chdir(folder)
    assert open_images(".").fingerprint == open_images(tmp_path).fingerprint


def test_coarse_classes_go_with_the_fine_ones() -> None:
    images = dataclasses.replace(
        from_arrays(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), ("ant", "oak"), "mine"),
        coarse=Coarse((0, 1), ("animal", "plant")),
    )
    moved = in_classes(images, ("oak", "ant"), "m")
    assert moved.labels == (1, 0) and moved.coarse == Coarse((1, 0), ("animal", "plant"))
    assert in_classes(images, ("oak", "ant", "elm"), "m").coarse is None


def test_a_flat_folder_has_images_and_no_labels(tmp_path: Path) -> None:
    files = [picture(tmp_path / name) for name in ("a.png", "b.webp")]
    (tmp_path / "readme.md").write_text("no image")
    images = open_images(tmp_path)
    assert list(images) == files and images.labels is None and images.classes == ()


def test_images_beside_folders_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "thumbs" / "a.png")
    with pytest.raises(DataError, match=r"a\.png, thumbs/"):
        open_images(tmp_path)


def test_labels_go_by_the_names_of_classes_where_these_are_known() -> None:
    pixels, wanted = np.zeros((3, 4, 4, 3), np.uint8), ("bird", "cat", "dog")

    def labelled(labels: list[int], classes: tuple[str, ...]) -> LabelledImages:
        return from_arrays(pixels, np.array(labels), classes, "mine")

    assert in_classes(labelled([0, 1, 0], ("cat", "dog")), wanted, "m").labels == (1, 2, 1)
    assert in_classes(labelled([0, 1, 2], ("dog", "cat", "bird")), wanted, "m").labels == (2, 1, 0)
    assert in_classes(labelled([0, 1, 2], ("0", "1", "2")), wanted, "m").labels == (0, 1, 2)  # numbers: in order
    assert in_classes(labelled([2, 1, 0], wanted), ("0", "1", "2"), "m").labels == (2, 1, 0)
    assert in_classes(labelled([0, 2, 2], ()), wanted, "m").labels == (0, 2, 2)
    for classes in (("0", "1", "2"), ()):
        assert in_classes(labelled([0, 1, 2], classes), wanted, "m").classes == wanted
    unlabelled = from_arrays(pixels, None, (), "mine")
    assert in_classes(unlabelled, wanted, "m") is unlabelled
    renamed = ("0_bird", "1_cat", "2_dog")  # as many, in an order that may be another
    for labels, classes in (([0, 1, 1], ("kitten", "dog")), ([0, 1, 2], renamed), ([0, 1, 3], ()), ([-1, 0, 0], ())):
        with pytest.raises(DataError, match=r"mine: .*; m has 3 classes \(bird, cat, dog\)"):
            in_classes(labelled(labels, classes), wanted, "m")


def test_classes_may_be_named_as_splits_are(tmp_path: Path) -> None:
    for folder in (
        "car/",
        "train/",
        "vehicles/train/car",
        "vehicles/train/train",
        "vehicles/val/car",
        "only/train/car",
    ):
        picture(tmp_path / ("" if "/" in folder[:-1] else "plain") / folder / "a.png")
    plain = open_images(tmp_path / "plain")
    assert plain.classes == ("car", "train") and plain.labels == (0, 1) and not has_training_split(tmp_path / "plain")
    assert open_images(tmp_path / "vehicles", "train").classes == ("car", "train")
    assert has_training_split(tmp_path / "vehicles") and has_training_split(tmp_path / "only")
    assert "no test images apart from train/; expected val/ or" in refused(tmp_path / "only")


def test_other_content_has_another_fingerprint(tmp_path: Path) -> None:
    """Of the same names and sizes, as uncompressed images are."""
    for name in ("a", "b", "c"):
        folder = tmp_path / name / "all/set"
        folder.mkdir(parents=True)
        content = np.random.default_rng(name == "b").integers(0, 256, (80, 80, 3), dtype=np.uint8)
        Image.fromarray(content).save(folder / "0.bmp")
    first, second, third = (open_images(tmp_path / name / "all/set").fingerprint for name in "abc")
    assert first == third != second


def test_a_single_file_is_one_image(tmp_path: Path) -> None:
    images = open_images(picture(tmp_path / "a.png"))
    assert list(images) == [tmp_path / "a.png"] and images.labels is None and images.name(0) == str(tmp_path / "a.png")


def test_an_npz_gives_images_and_what_it_has_of_labels(tmp_path: Path) -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    bare = open_images(write_npz(tmp_path / "bare.npz", images=pixels))
    assert bare.labels is None and np.array_equal(bare[1], pixels[1])
    whole = open_images(write_npz(tmp_path / "a.npz", images=pixels, labels=[1, 0], classes=["x", "y"]))
    assert whole.labels == (1, 0) and whole.classes == ("x", "y") and len(list(whole)) == 2


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"pictures": np.zeros(3)}, "pictures"),
        ({"images": np.zeros((2, 4, 5), np.uint8)}, "(2, 4, 5)"),
        ({"images": np.zeros((2, 4, 5, 3), np.float32)}, "float32"),
        ({"images": np.zeros((0, 4, 5, 3), np.uint8)}, "(0, 4, 5, 3)"),
        ({"images": np.zeros((2, 4, 5, 3), np.uint8), "labels": [0]}, "(1,)"),
        ({"images": np.zeros((2, 4, 5, 3), np.uint8), "labels": [0.0, 1.0]}, "float64"),
        ({"images": np.zeros((2, 4, 5, 3), np.uint8), "labels": [0, 2], "classes": ["x", "y"]}, "0 to 2"),
        ({"images": np.zeros((2, 4, 5, 3), np.uint8), "labels": [-1, 0], "classes": ["x", "y"]}, "-1 to 0"),
        ({"images": np.array([Path("x")], dtype=object)}, "npz"),
    ],
)
def test_an_npz_of_another_form_is_refused(arrays: dict[str, Any], found: str, tmp_path: Path) -> None:
    """Wrong shapes, types and labels, and pickled objects, which are never read."""
    assert found in refused(write_npz(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize("name", ["images", "labels", "classes"])
def test_an_npz_that_runs_code_is_refused_and_does_not_run(name: str, tmp_path: Path) -> None:
    """An array of objects is a pickle inside the archive."""
    bomb = np.array([Bomb(tmp_path / "owned")], dtype=object)
    refused(write_npz(tmp_path / "a.npz", **({"images": np.zeros((1, 4, 5, 3), np.uint8)} | {name: bomb})))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("keep", [0, 20, 300])
def test_a_damaged_npz_is_refused(keep: int, tmp_path: Path) -> None:
    file = write_npz(tmp_path / "a.npz", images=np.zeros((2, 4, 5, 3), np.uint8))
    file.write_bytes(file.read_bytes()[:keep])
    refused(file)


@given(content=st.binary(max_size=100))
def test_noise_is_no_npz(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "noise.npz"
    file.write_bytes(content)
    refused(file)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_flipped_byte_gives_images_or_one_line(
    save: Any, place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Damage inside the archive, its headers and its arrays is never another error."""
    file = tmp_path_factory.getbasetemp() / "a.npz"
    save(file, images=np.zeros((2, 4, 5, 3), np.uint8), labels=[0, 1])
    content = bytearray(file.read_bytes())
    content[place % len(content)] = value
    file.write_bytes(content)
    try:
        assert len(open_images(file)) >= 1
    except DataError as error:
        assert "\n" not in str(error)


def test_paths_with_nothing_to_read_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent")
    assert "no images" in refused(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "a class without images" in refused(tmp_path)
    assert "absent" in refused("sample:absent")


def test_taking_images_keeps_labels_names_and_order() -> None:
    pixels = np.arange(5, dtype=np.uint8).repeat(3).reshape(5, 1, 1, 3)
    images = from_arrays(pixels, np.arange(5), [], "here")
    some = images.take([4, 0, 4]).take([2, 1])
    assert [int(image[0, 0, 0]) for image in some] == [4, 0] and some.labels == (4, 0)  # type: ignore[index]
    assert len(images.first(3)) == 3 and len(images.first(9)) == 5 and len(list(some)) == len(list(some)) == 2
    named = LabelledImages(lambda i: pixels[i], 2, None, (), "here", ("a", "b")).take([1])
    assert named.name(0) == "b"


def pixels_of(images: LabelledImages) -> set[bytes]:
    return {np.asarray(image).tobytes() for image in images}


def test_held_out_images_are_drawn_by_seed_and_never_trained_on(tmp_path: Path) -> None:
    """The hold-out is of the asked size, disjoint from the rest, the same for a seed and another for another."""
    write_cifar10(tmp_path)
    train, held_out, test, _ = open_training_data(tmp_path, holdout=20, seed=0)
    assert (len(train), len(held_out), len(test)) == (44, 20, 32)
    assert not pixels_of(train) & pixels_of(held_out)
    assert pixels_of(train) | pixels_of(held_out) == pixels_of(open_images(tmp_path, "train"))
    again, other = (open_training_data(tmp_path, 20, seed)[1] for seed in (0, 1))
    assert held_out.labels == again.labels and pixels_of(held_out) == pixels_of(again) != pixels_of(other)


@pytest.mark.parametrize("holdout", [0, -1, 64, 100])
def test_a_hold_out_of_nothing_or_everything_is_refused(holdout: int, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    assert str(holdout) in refused(tmp_path, holdout, 0, read=open_training_data)


def test_training_data_without_labels_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert "no labels" in refused(tmp_path, 1, 0, read=open_training_data)


@pytest.mark.parametrize("folders", [["ant", "cat"], ["train/ant", "train/cat"], ["train/ant", "train/cat", "val/cat"]])
def test_training_images_never_stand_in_for_test_images(folders: list[str], tmp_path: Path) -> None:
    """Without a test split of the same classes training is refused, rather than tested on what it saw."""
    for folder in folders:
        for name in "ab":
            picture(tmp_path / folder / f"{name}.png")
    assert "no test images apart" in refused(tmp_path, 1, 0, read=open_training_data)


def test_an_image_folder_with_both_splits_is_trained_on(tmp_path: Path) -> None:
    for folder in ("train/ant", "train/cat", "val/ant", "val/cat"):
        for name in "ab":
            picture(tmp_path / folder / f"{name}.png")
    train, held_out, test, _ = open_training_data(tmp_path, 1, 0)
    assert (len(train), len(held_out), len(test), test.labels) == (3, 1, 4, (0, 0, 1, 1))
