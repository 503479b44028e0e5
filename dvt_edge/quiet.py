"""Who talks: our own progress goes through a `Report`; third-party converters, which talk a lot, are muted."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
Report = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


class Counted(Protocol[T_co]):
    """What has a length and can be gone through."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T_co]: ...


def each(items: Counted[T_co], what: str, report: Report | None = None) -> Iterator[T_co]:
    """The items, each told to `report` when the loop comes back from it."""
    for done, item in enumerate(items, start=1):
        yield item
        if report:
            report(what, done, len(items))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Mute warnings, logging below errors, and what is printed to stdout or stderr from Python."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        nowhere = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def native_quiet() -> Iterator[None]:
    """Mute what native code writes to the process's stderr, from any thread: a line or more for each load."""
    try:
        saved = os.dup(2)
    except OSError:  # a process without a stderr
        yield
        return
    try:
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
