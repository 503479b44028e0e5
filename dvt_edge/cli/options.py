"""What the commands share: the console, progress, argument types and their reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dvt_edge.errors import DvtEdgeError

if TYPE_CHECKING:
    from dvt_edge.network.cascade import Cascade

console, notes = Console(markup=False), Console(stderr=True, markup=False)  # names may hold brackets


Checkpoint = Annotated[str, typer.Argument(help="A .safetensors or .pth.tar file, or zoo:<name>.")]


BundlePath = Annotated[Path, typer.Argument(help="A bundle's folder or .zip.")]


Model = Annotated[str | None, typer.Option(help="Configuration, where the file has none: a preset or timm:<name>.")]


Point = Annotated[str | None, typer.Option("--point", help="Operating point; default: the bundle's own.")]


Threads = Annotated[int, typer.Option(min=1, help="Threads a stage may use.")]


Limit = Annotated[int, typer.Option(min=1, help="At most this many images.")]


@contextmanager
def progress() -> Iterator[Any]:
    """A `report(what, done, total)` that draws a bar on stderr, one line a step where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=notes, disable=not notes.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        said = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal said
            if what != said and not notes.is_terminal:
                notes.print(what, highlight=False)
            said = what
            bar.update(task, description=what, completed=done, total=total)

        yield report


def numbers(text: str, kind: Any, option: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise DvtEdgeError(f"{option} {text!r}: expected numbers with commas between them") from error


def one_of(text: str, kind: Any, option: str) -> Any:
    """`text`, where it is one of a Literal's values."""
    known = get_args(kind)
    if text not in known:
        raise DvtEdgeError(f"{option} {text!r}: expected {', '.join(known[:-1])} or {known[-1]}")
    return text


def load(checkpoint: str, model: str | None) -> Cascade:
    from dvt_edge.network.checkpoint import load_cascade

    return load_cascade(checkpoint, model)
