"""Images whose labels stand in a list: lines of path, class and perhaps coarse class, a file for each split.

    train.txt, val.txt, test.txt (or .csv)   path, 12[, 3]   paths from the list's own folder; a header may come first
    classes.csv                              name, 12[, coarse name]      if it is there; a header comes first

Without classes.csv, classes are called by their numbers, of all lists together. They may be words instead of numbers.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from dvt_edge.data.cifar import Split
from dvt_edge.data.images import Coarse, LabelledImages, numbered
from dvt_edge.errors import DataError, DataWarning

SUFFIXES = (".txt", ".csv")
VALIDATION = ("val", "validation")
NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": (*VALIDATION, "test")}
HEADER = frozenset({"path", "file", "filename", "image"})
MOST_DIGITS = 9  # of a class's number
INNER = "dataset"  # the folder of the lists inside a clone


class Row(NamedTuple):
    path: str
    fine: str
    coarse: str  # "" where the list has none


def find_lists(path: Path) -> dict[str, Path]:
    """Split name -> list of the folder `path`, or of `dataset/` in it; none where it has no list of a split."""
    for folder in (path, path / INNER):
        names = [name for group in NAMES.values() for name in group]
        found = {n: folder / f"{n}{s}" for s in SUFFIXES for n in names if (folder / f"{n}{s}").is_file()}
        if found:
            return found
    return {}


def parts_of(found: Container[str], split: Split) -> list[str]:
    """Which of the lists, or folders, of these names are a split; none where it is not there.

    Where there is a test split, validation belongs to training: it is often small and misses classes, so that training
    deals a hold-out from both instead.
    """
    validation = [name for name in VALIDATION if name in found]
    if split == "test":
        return ["test"] if "test" in found else validation
    return ["train", *(validation if "test" in found else ())] if "train" in found else []


def open_lists(lists: dict[str, Path], split: Split) -> LabelledImages:
    """The images of a split. Raises DataError for a list that cannot be read, and labels that do not fit together."""
    if not (chosen := parts_of(lists, split)):
        expected = " or ".join(f"{name}.txt" for name in NAMES[split])
        raise DataError(f"{next(iter(lists.values())).parent}: lists of {', '.join(lists)} only; expected {expected}")
    return open_rows([lists[name] for name in chosen], lists.values())


def open_rows(chosen: list[Path], all_lists: Iterable[Path]) -> LabelledImages:
    folder = chosen[0].parent
    rows = {file: read_rows(file) for file in all_lists}
    fine, coarse = read_classes(folder, [row for listed in rows.values() for row in listed])
    wanted = [row for file in chosen for row in rows[file]]
    paths = tuple(folder / row.path for row in wanted)
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such image; {', '.join(f.name for f in chosen)} in {folder} lists it")
    return LabelledImages(
        lambda i: paths[i],
        len(paths),
        tuple(fine.number(row.fine) for row in wanted),
        fine.names,
        str(folder / "+".join(file.name for file in chosen)),
        tuple(map(str, paths)),
        coarse,
    )


def read_rows(file: Path) -> list[Row]:
    rows = []
    for number, cells in cells_of(file):
        if number == 1 and cells[0].lower() in HEADER:
            continue
        if len(cells) not in (2, 3) or not all(cells):
            raise DataError(
                f"{file}, line {number}: {len(cells)} fields; expected path, class and perhaps coarse class"
            )
        rows.append(Row(cells[0], cells[1], cells[2] if len(cells) == 3 else ""))
    if not rows:
        raise DataError(f"{file}: no images in it; expected lines of path, class and perhaps coarse class")
    return rows


def cells_of(file: Path) -> list[tuple[int, list[str]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            lines = list(csv.reader(text, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a readable list ({error})") from error
    stripped = ((number, [cell.strip() for cell in cells]) for number, cells in enumerate(lines, 1))
    return [(number, cells) for number, cells in stripped if any(cells)]


class Classes(NamedTuple):
    """What lists call classes: by a number, or by a name."""

    names: tuple[str, ...]
    by_number: bool

    def number(self, written: str) -> int:
        return int(written) if self.by_number else self.names.index(written)


def read_classes(folder: Path, rows: list[Row]) -> tuple[Classes, Coarse | None]:
    """The classes of all lists of a folder, and which coarse class each one belongs to where they say it."""
    named = read_class_names(folder / "classes.csv")
    fine = classes_of({row.fine for row in rows}, [name for name, _ in named], f"{folder}: classes")
    if fine.by_number and not named and all(int(row.fine) for row in rows):
        counted = f"numbers from {min(int(row.fine) for row in rows)} to {len(fine.names) - 1}"
        warnings.warn(
            f"{folder}: classes are {counted}: 0 counts as one, without images",
            DataWarning,
            stacklevel=2,
        )
    belongs: dict[int, str] = {index: coarse for index, (_, coarse) in enumerate(named) if coarse}
    written = {fine.number(row.fine): row.coarse for row in rows}
    for row in rows:
        if written[fine.number(row.fine)] != row.coarse:
            both = " and ".join(sorted({row.coarse or "none", written[fine.number(row.fine)] or "none"}))
            raise DataError(f"{folder}: class {row.fine} has the coarse classes {both}; expected one")
    listed = {index: coarse for index, coarse in written.items() if coarse}
    if listed and belongs:
        check_same_coarse(folder, listed, belongs)
    if listed and not belongs:
        numbers = classes_of(set(listed.values()), [], f"{folder}: coarse classes")
        belongs = {index: numbers.names[numbers.number(coarse)] for index, coarse in listed.items()}
    if not belongs:
        return fine, None
    names = tuple(dict.fromkeys(belongs[index] for index in sorted(belongs)))
    if missing := [fine.names[i] for i in range(len(fine.names)) if i not in belongs]:
        raise DataError(f"{folder}: no coarse class of {missing[0]}; expected one for each class")
    return fine, Coarse(tuple(names.index(belongs[i]) for i in range(len(fine.names))), names)


def check_same_coarse(folder: Path, listed: dict[int, str], named: dict[int, str]) -> None:
    """Raises DataError where lists and classes.csv put the fine classes together otherwise."""
    pairs = {(coarse, named.get(index, "none")) for index, coarse in listed.items()}
    for side in (0, 1):
        seen: dict[str, tuple[str, str]] = {}
        for pair in sorted(pairs):
            if (other := seen.setdefault(pair[side], pair)) != pair:
                raise DataError(
                    f"{folder}: coarse class {pair[0]} of the lists is {pair[1]} in classes.csv, and {other[0]} is "
                    f"{other[1]}; expected one of each"
                )


def classes_of(written: set[str], names: list[str], where: str) -> Classes:
    """Classes that are written as numbers below len(names), or as numbers from 0 without names, or as words."""
    if not all(word.isdecimal() for word in written):
        unknown = sorted(written - set(names)) if names else []
        if unknown:
            raise DataError(
                f"{where}: {unknown[0]!r} is not in classes.csv; expected one of {len(names)} names or numbers"
            )
        return Classes(tuple(names or sorted(written)), by_number=False)
    largest = max(number_of(word, where) for word in written)
    if largest >= (len(names) or 100 * len(written)):
        raise DataError(f"{where} up to {largest}; expected numbers from 0 to {(len(names) or len(written)) - 1}")
    return Classes(tuple(names) or numbered(largest + 1), by_number=True)


def number_of(word: str, where: str) -> int:
    """The number that digits write."""
    if len(word) > MOST_DIGITS:
        raise DataError(f"{where}: a number of {len(word)} digits; expected at most {MOST_DIGITS}")
    return int(word)


def read_class_names(file: Path) -> list[tuple[str, str]]:
    """(name, coarse name or "") of each class by its number, from a classes.csv; empty where there is none."""
    if not file.is_file():
        return []
    found: dict[int, tuple[str, str]] = {}
    for number, cells in cells_of(file)[1:]:
        if len(cells) < 2 or not cells[1].isdecimal():
            raise DataError(f"{file}, line {number}: expected a class name, its number, and perhaps a coarse name")
        found[number_of(cells[1], f"{file}, line {number}")] = (cells[0], cells[2] if len(cells) > 2 else "")
    names = [name for name, _ in found.values()]
    if sorted(found) != list(range(len(found))) or len(set(names)) < len(names):
        raise DataError(
            f"{file}: {len(found)} classes; expected numbers from 0 without a gap, each with a name of its own"
        )
    return [found[index] for index in range(len(found))]
