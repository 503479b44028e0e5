"""Files and folders that are either whole or not there, whatever happens in between.

What is being written stands under a hidden name beside the target, `.<name>.<8 letters>.partial`, locked by its writer.
A writer that was killed holds no lock any more: whoever writes the same target next sweeps what it left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and so nothing swept
    fcntl = None  # type: ignore[assignment]

EXCHANGE = 2  # RENAME_EXCHANGE of Linux's renameat2, RENAME_SWAP of macOS's renamex_np
AT_FDCWD = -100


@contextmanager
def new_file(path: Path, beside: Path | None = None) -> Iterator[IO[bytes]]:
    """A temporary file, open for writing, beside `path` or `beside`.

    It takes the place of `path` when the block ends well, flushed to disk before, and vanishes otherwise. Where `path`
    is a link it stays one: what it leads to is replaced. A pipe or a device is no place to take: it is written to. A
    file that is replaced leaves its permissions; a new one has what the umask allows. An OSError names `path`, not the
    temporary file.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with naming(path), path.open("wb") as stream:
            yield stream
        return
    given, path = path, path.resolve()
    with naming(given):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = claim(beside or path, private(path), folder=False)
        try:
            with os.fdopen(handle, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                keep_mode(path, temporary)
                if fcntl is None:
                    file.close()  # Windows moves no open file
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError that names no file, or a temporary one, names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (error.filename is not None and ".partial" not in os.fsdecode(error.filename)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_bytes(path: Path, content: bytes, beside: Path | None = None) -> None:
    """A whole file, or none: `new_file`."""
    with new_file(path, beside) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, and vanishes otherwise.

    A folder that was there is exchanged for it in one step where the system can; elsewhere by two renames, the first
    of which is taken back when the second fails.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = claim(path, private(path), folder=True)
        try:
            yield temporary
            keep_mode(path, temporary)
            if path.exists():
                exchange(temporary, path)  # what was at `path` is removed below
            else:
                temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if handle >= 0:
                os.close(handle)


def claim(path: Path, private: bool, folder: bool) -> tuple[Path, int]:
    """A new file or folder under a hidden name beside `path`, and the handle that locks it; -1 where none can be.

    Nobody else may read a `private` one.
    """
    sweep(path)
    while True:
        name = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        if folder:
            name.mkdir(0o700 if private else 0o777)
            handle = os.open(name, os.O_RDONLY) if fcntl else -1
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            handle = os.open(name, flags, 0o600 if private else 0o666)
        if fcntl is None:
            return name, handle
        with contextlib.suppress(OSError):  # a file system without locks: then nothing there is swept either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(name.stat(), os.fstat(handle)):
                return name, handle
        os.close(handle)  # swept by another writer of the same target, before it was locked


def private(path: Path) -> bool:
    """Whether what is there is for its owner only."""
    return path.exists() and not path.stat().st_mode & 0o077


def keep_mode(path: Path, new: Path) -> None:
    """Give `new` the permissions of what it will replace, if anything is there."""
    if path.exists():
        new.chmod(stat.S_IMODE(path.stat().st_mode))


def exchange(new: Path, old: Path) -> None:
    """`new` at `old`'s place and the reverse."""
    try:
        exchange_at_once(new, old)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise
        exchange_by_renames(new, old)


def exchange_by_renames(new: Path, old: Path) -> None:
    """For systems without an exchange. What stops it leaves `old` at its place, or `new` there, whole."""
    aside = new.with_name(new.name.replace(".partial", "x.partial"))
    try:
        old.rename(aside)
        new.rename(old)
    except BaseException:
        if aside.exists() and not old.exists():
            aside.rename(old)
        raise
    aside.rename(new)


def exchange_at_once(a: Path, b: Path) -> None:
    """Raises OSError with ENOSYS where the system or the C library has no such call."""
    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    names = os.fsencode(a), os.fsencode(b)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, EXCHANGE)  # type: ignore[union-attr]
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], EXCHANGE)  # type: ignore[union-attr]
    else:
        raise OSError(errno.ENOSYS, "no exchange of two names here")
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(b))


def sweep(path: Path) -> None:
    """Remove what writers of `path` left that are no more, or put it back where that is all there is."""
    if fcntl is None:
        return
    ours = re.compile(rf"\.{re.escape(path.name)}\.\w{{8}}x?\.partial")
    with contextlib.suppress(OSError):
        for left in [entry for entry in path.parent.iterdir() if ours.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if left.name.endswith("x.partial") and not path.exists():
                        left.rename(path)  # killed between the two renames of `exchange`
                    elif left.is_dir():
                        shutil.rmtree(left, ignore_errors=True)
                    else:
                        left.unlink()
                finally:
                    os.close(handle)
