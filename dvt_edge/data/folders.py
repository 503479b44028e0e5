"""One walk of folders, and one rule of what is an image in them: docs/data.md is normative."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dvt_edge.errors import DataError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
HOUSEKEEPING = frozenset(  # of systems and archivers, in lower case
    {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
)
MOST_LEVELS = 64  # of folders below the one that is walked
NAMED = 4  # kinds of what was passed over that a note names


@dataclass
class Walk:
    """Image files in order of their paths, and what was passed over: kind -> how many."""

    files: list[Path] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)

    def note(self) -> str:
        """What was passed over, in words; empty where nothing was."""
        if not self.passed:
            return ""
        kinds = [f"{count} {kind}" for kind, count in self.passed.most_common(NAMED)]
        rest = self.passed.total() - sum(count for _, count in self.passed.most_common(NAMED))
        return ", ".join([*kinds, *([f"{rest} others"] if rest else [])])


def walk(folder: Path) -> Walk:
    """The images at any depth below a folder, links followed; of several paths to a folder only the first by name.

    Raises DataError for a folder that cannot be read or nests too deeply, OSError for what the system refuses.
    """
    found = Walk()
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    walked: set[tuple[int, int]] = set()
    while waiting:
        here, above = waiting.pop()
        status = here.stat()
        identity = status.st_dev, status.st_ino
        if identity in walked:
            found.passed["folders that were walked already"] += 1
            continue
        walked.add(identity)
        inside = above | {identity}
        if len(inside) > MOST_LEVELS:
            raise DataError(f"{printable(here)}: more than {MOST_LEVELS} folders inside each other")
        folders = []
        for entry in entries(here):
            kind = kind_of(entry, inside)
            if kind == "folder":
                folders.append((here / entry.name, inside))
            elif kind == "image":
                found.files.append(here / entry.name)
            else:
                found.passed[kind] += 1
        waiting += reversed(folders)
    found.files.sort()
    return found


def kind_of(entry: os.DirEntry[str], above: frozenset[tuple[int, int]] = frozenset()) -> str:
    """ "image", "folder", or what is passed over, in words. `above` are the folders that it lies in."""
    if is_hidden(entry.name):
        return "hidden"
    try:
        status = entry.stat()
    except FileNotFoundError:
        return "broken links"
    except OSError:  # a link that leads to itself, for one
        return "links that lead nowhere"
    if entry.is_dir():
        return "links to a folder that they lie in" if (status.st_dev, status.st_ino) in above else "folder"
    if not entry.is_file():
        return "neither files nor folders"
    suffix = Path(entry.name).suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else f"{printable(suffix)}" if suffix else "without a suffix"


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in HOUSEKEEPING


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies right in a folder, by name. Raises DataError where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except PermissionError as error:
        raise DataError(f"{printable(folder)}: a folder that may not be read") from error


def subfolders(folder: Path) -> Mapping[str, Path]:
    """The folders right in one, links followed, by name; hidden ones are none."""
    return {entry.name: folder / entry.name for entry in entries(folder) if kind_of(entry) == "folder"}


def common_folder(paths: Sequence[str]) -> str | None:
    """What absolute paths have in common; None where that is nothing: no paths, or two drives of Windows."""
    try:
        return os.path.commonpath(paths)
    except ValueError:
        return None


def printable(name: str | Path) -> str:
    """A name as text: bytes that are no UTF-8 as escapes."""
    return os.fsencode(name).decode(errors="backslashreplace")
