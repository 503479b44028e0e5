"""Which images these are: their content says it, whatever they are called and wherever they lie.

Hashes of files are kept in the user's cache folder, as git keeps them: by path, size, inode, and the times of the last
change of the content and of the inode, in nanoseconds. A file that changed just now is hashed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.atomic import write_text
from dvt_edge.data.folders import common_folder, printable
from dvt_edge.errors import DataError

RACY_NS = 2_000_000_000  # file systems count time in steps of up to two seconds
FILES = "files:"  # begins a fingerprint of files; one of arrays has no such prefix

Status = list[int]
Kept = dict[str, tuple[Status, str]]  # path -> what was hashed, SHA-256


def of_arrays(labels: Sequence[int], images: Iterator[NDArray[np.uint8]]) -> str:
    """SHA-256 of the labels (int64) and of all pixels."""
    digest = hashlib.sha256(np.array(labels, dtype=np.int64).tobytes())
    for image in images:
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def of_files(labels: Sequence[int], digests: Sequence[bytes]) -> str:
    """`FILES` and the SHA-256 of the labels (int64) and of the files' own SHA-256, in order."""
    digest = hashlib.sha256(np.array(labels, dtype=np.int64).tobytes())
    digest.update(b"".join(digests))
    return FILES + digest.hexdigest()


def array_digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).digest()


def file_digests(paths: Sequence[Path]) -> tuple[bytes, ...]:
    """SHA-256 of each file, from the cache where it has not changed. Raises DataError for one that cannot be read."""
    if not paths:
        return ()
    absolute = [str(path.absolute()) for path in paths]
    common = common_folder(absolute)
    cache = cache_file(common) if common is not None else None
    kept = read_cache(cache)
    found, changed, now = [], False, time.time_ns()
    for path in absolute:
        with naming(path):
            status = status_of(os.stat(path))  # noqa: PTH116 (as quick as it gets: sets have 50,000 files)
        known = kept.get(path)
        if known is None or known[0] != status:
            with naming(path):
                status, sha = hash_file(path)
            known = status, sha
            if max(status[1], status[2]) < now - RACY_NS:
                kept[path], changed = known, True
        found.append(bytes.fromhex(known[1]))
    if changed and cache:
        with contextlib.suppress(OSError):  # a cache is no more than that
            write_text(cache, json.dumps(kept))
    return tuple(found)


def status_of(status: os.stat_result) -> Status:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def hash_file(path: str) -> tuple[Status, str]:
    """Of a file's content, and what it was just before it was read."""
    with open(path, "rb") as file:  # noqa: PTH123
        status = status_of(os.fstat(file.fileno()))
        return status, hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror or error})") from error


def cache_file(folder: str) -> Path | None:
    """Where the hashes of the files below a folder are kept; None where that would be inside it, or nowhere."""
    try:
        root = cache_root()
    except RuntimeError:  # no home
        return None
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
    return None if root.resolve().is_relative_to(Path(folder).resolve()) else root / "hashes" / f"{name}.json"


def cache_root() -> Path:
    """The user's cache folder, dvt-edge's own. Raises RuntimeError where the user has no home."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "dvt-edge"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/dvt-edge"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "dvt-edge" / "Cache"
    return Path.home() / ".cache" / "dvt-edge"


def read_cache(path: Path | None) -> Kept:
    """What is kept; nothing of it where the file is damaged."""
    try:
        content: Any = json.loads(path.read_bytes()) if path else {}
        kept = {str(name): (list(map(int, status)), str(sha)) for name, (status, sha) in content.items()}
        if any(len(bytes.fromhex(sha)) != 32 for _, sha in kept.values()):
            return {}
        return kept
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
