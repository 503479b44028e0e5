"""Labels in lists are read as they stand there: paths, fine and coarse classes, one file a split."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dvt_edge.data.dealing import held_out_images, open_training_data
from dvt_edge.data.images import Coarse
from dvt_edge.data.reading import has_training_split, open_images
from dvt_edge.errors import DataError, DataWarning

NAMES = "name,id,coarse name,coarse id,picture\nGala,0,Apple,0,/g.jpg\nFuji,1,Apple,0,/f.jpg\nLime,2,Lime,1,/l.jpg\n"


def write(root: Path, lists: dict[str, str], classes: str = NAMES) -> Path:
    """A data set: lists by file name, each path in them an image of 8x6 pixels."""
    for name, text in lists.items():
        root.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        for line in text.splitlines():
            path = root / line.split(",")[0].strip()
            if path.suffix == ".png":
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 6), (len(str(path)) % 256, 1, 2)).save(path)
    if classes:
        (root / "classes.csv").write_text(classes)
    return root


@pytest.fixture
def grocery(tmp_path: Path) -> Path:
    return write(
        tmp_path / "clone" / "dataset",
        {
            "train.txt": "train/a/1.png, 0, 0\ntrain/a/2.png, 1, 0\ntrain/b/3.png, 2, 1\n",
            "val.txt": "val/a/4.png, 1, 0\n",
            "test.txt": "test/b/5.png, 2, 1\ntest/a/6.png, 0, 0\n",
        },
    )


def refused(path: Path, split: str = "test") -> str:
    with pytest.raises(DataError) as caught:
        open_images(path, split)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_lists_give_paths_labels_names_and_coarse_classes(grocery: Path) -> None:
    """From the folder or the clone around it; the folders' own names are not classes."""
    for path in (grocery, grocery.parent):
        test = open_images(path)
        assert test.labels == (2, 0) and test.classes == ("Gala", "Fuji", "Lime")
        assert list(test) == [grocery / "test/b/5.png", grocery / "test/a/6.png"]
        assert test.coarse == Coarse((0, 0, 1), ("Apple", "Lime"))
        assert test.take([1]).coarse == test.coarse
        assert has_training_split(path)


def test_a_hold_out_comes_from_training_and_validation_lists_together(grocery: Path) -> None:
    train, held_out, test, dealt = open_training_data(grocery, 2, 0)
    assert (len(train), len(held_out), len(test)) == (2, 2, 2)
    everything = {*map(str, train), *map(str, held_out)}
    assert everything == {
        str(grocery / name) for name in ("train/a/1.png", "train/a/2.png", "train/b/3.png", "val/a/4.png")
    }
    assert dealt.source == "dataset/train.txt+val.txt" and dealt.classes == test.classes
    found = held_out_images(grocery.parent, dealt)
    assert found is not None and list(found) == list(held_out)


def test_a_validation_list_tests_where_there_is_no_test_list(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"train.csv": "path,label\na.png,cat\nb.png,dog\n", "val.csv": "path,label\nc.png,dog\n"}, ""
    )
    train, test = open_images(root, "train"), open_images(root)
    assert (train.labels, test.labels, test.classes, test.coarse) == ((0, 1), (1,), ("cat", "dog"), None)


def test_numbers_from_1_are_said(tmp_path: Path) -> None:
    """A class 0 without images is among those that a head would have."""
    root = write(tmp_path, {"train.txt": "a.png, 1\nb.png, 2\n", "test.txt": "c.png, 1\n"}, "")
    with pytest.warns(DataWarning, match="classes are numbers from 1 to 2: 0 counts as one, without images"):
        assert open_images(root).classes == ("0", "1", "2")


def test_validation_lists_alone_train_nothing(tmp_path: Path) -> None:
    root = write(tmp_path, {"val.txt": "a.png, 0\n", "test.txt": "b.png, 0\n"}, "")
    assert not has_training_split(root)
    with pytest.raises(DataError, match=r"lists of val, test only; expected train\.txt"):
        open_images(root, "train")


def test_numbers_without_names_are_those_of_all_lists(tmp_path: Path) -> None:
    """A class that one split misses is still a class of it; coarse ones keep the numbers' names."""
    root = write(tmp_path, {"train.txt": "a.png, 0, 5\nb.png, 2, 4\nc.png, 1, 5\n", "test.txt": "d.png, 1, 5\n"}, "")
    test = open_images(root)
    assert (test.labels, test.classes, test.coarse) == ((1,), ("0", "1", "2"), Coarse((0, 0, 1), ("5", "4")))


@pytest.mark.parametrize(
    ("lists", "classes", "found"),
    [
        ({"test.txt": "a.png\n"}, "", "line 1: 1 fields"),
        ({"test.txt": "a.png, 0, 0, 0\n"}, "", "line 1: 4 fields"),
        ({"test.txt": "a.png, 0\nb.png,\n"}, "", "line 2: 2 fields"),
        ({"test.txt": "\n"}, "", "no images in it"),
        ({"test.txt": "a.jpg, 0\n"}, "", "no such image"),
        ({"test.txt": "a.png, 3\n"}, NAMES, "up to 3; expected numbers from 0 to 2"),
        ({"test.txt": "a.png, Pear\n"}, NAMES, "'Pear' is not in classes.csv"),
        ({"test.txt": "a.png, 900000\n"}, "", "up to 900000"),
        ({"test.txt": "a.png, 0, 1\nb.png, 0, 2\n"}, "", "the coarse classes 1 and 2"),
        ({"test.txt": "a.png, 0, 1\nb.png, 2, 1\n"}, "", "no coarse class of 1"),
        (
            {"test.txt": "a.png, 0, 7\nb.png, 2, 7\n"},
            NAMES,
            "coarse class 7 of the lists is Lime in classes.csv, and 7 is Apple",
        ),
        (
            {"test.txt": "a.png, 0, 7\nb.png, 1, 8\n"},
            NAMES,
            "coarse class 8 of the lists is Apple in classes.csv, and 7 is",
        ),
        ({"test.txt": "a.png, 0\n"}, "name,id\nGala,0\nFuji,2\n", "without a gap"),
        ({"test.txt": "a.png, 0\n"}, "name,id\nGala,0\nGala,1\n", "a name of its own"),
        ({"test.txt": "a.png, 0\n"}, "name,id\nGala,first\n", "line 2"),
        ({"train.txt": "a.png, 0\n"}, "", "lists of train only"),
        ({"test.txt": f"a.png, {'9' * 5000}\n"}, "", "classes: a number of 5000 digits"),
        ({"test.txt": f"a.png, 0, {'9' * 5000}\n"}, "", "coarse classes: a number of 5000 digits"),
        ({"test.txt": "a.png, 0\n"}, f"name,id\nGala,{'0' * 5000}\n", "line 2: a number of 5000 digits"),
        ({"test.txt": "a.png, 0, 0\nb.png, 1\n"}, "", "no coarse class of 1"),
        ({"test.txt": "a.png, cat, pet\nb.png, ox\n"}, "", "no coarse class of ox"),
    ],
)
def test_lists_that_do_not_fit_are_refused_in_one_line(
    lists: dict[str, str], classes: str, found: str, tmp_path: Path
) -> None:
    assert found in refused(write(tmp_path, lists, classes))


def test_a_list_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe\x00")
    assert "not a readable list" in refused(tmp_path)
