"""What the commands share: the console, progress, argument types and their reading."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from dvt_edge.device.schema import shorten
from dvt_edge.errors import DvtEdgeError

if TYPE_CHECKING:
    from dvt_edge.network.cascade import Cascade

MOST = 1_000_000_000  # of anything that is counted


def visible(text: str) -> str:
    """The text with escapes for what would steer a terminal, break a line, turn the writing, or not print at all."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class PlainConsole(Console):
    """A console for names that others chose: no markup, no emoji codes, control characters visible."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Before the layout, so that widths are those of what is shown."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What came by another way: JSON, progress."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                lines = segment.text.split("\n")
                yield Segment("\n".join(map(visible, lines)), segment.style)

    def on_broken_pipe(self) -> NoReturn:
        """Rich would end the process."""
        self.quiet = True
        raise BrokenPipeError


console, notes = PlainConsole(), PlainConsole(stderr=True)


Checkpoint = Annotated[str, typer.Argument(help="A .safetensors or .pth.tar file, or zoo:<name>.")]


BundlePath = Annotated[Path, typer.Argument(help="A bundle's folder or .zip.")]


Model = Annotated[str | None, typer.Option(help="Configuration, where the file has none: a preset or timm:<name>.")]


Point = Annotated[str | None, typer.Option("--point", help="Operating point; default: the bundle's own.")]


Threads = Annotated[int, typer.Option(min=1, max=256, help="Threads a stage may use.")]


Limit = Annotated[int, typer.Option(min=1, max=MOST, help="At most this many images.")]


Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]


Smooth = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Move outliers of activations into weights first, with this strength; 0.5, say."),
]


@contextmanager
def progress() -> Iterator[Any]:
    """A `report(what, done, total)` that draws a bar on stderr, one line a step where that is no terminal.

    The time left is that of the step, then the time that it took.
    """
    left = TimeRemainingColumn(elapsed_when_finished=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), left)
    with Progress(*columns, console=notes, disable=not notes.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        said, reached, out_of = "", 0, 0

        def report(what: str, done: int, total: int) -> None:
            nonlocal said, reached, out_of
            if what != said and not notes.is_terminal:
                notes.print(what, highlight=False)
            if done < reached or total != out_of:  # another step, with a speed of its own
                bar.reset(task)
            said, reached, out_of = what, done, total
            bar.update(task, description=what, completed=done, total=total)

        yield report


def finite(given: Mapping[str, Any]) -> None:
    """Raises DvtEdgeError for an option that is not a number, or infinite: no range of an option keeps NaN out."""
    for name, value in given.items():
        if any(isinstance(v, float) and not math.isfinite(v) for v in (value if isinstance(value, list) else [value])):
            raise DvtEdgeError(f"--{name.strip('_').replace('_', '-')} {value}: expected a finite number")


def numbers(text: str, kind: type[int] | type[float], option: str) -> tuple[Any, ...]:
    """The numbers of a list such as "0.8,0.9,0"; none of an empty text."""
    try:
        found = tuple(kind(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise DvtEdgeError(f"{option} {shorten(text)}: expected numbers with commas between them") from error
    if not all(abs(value) <= MOST for value in found):  # NaN is not
        raise DvtEdgeError(f"{option} {shorten(text)}: expected finite ones, of {MOST:,} at most")
    return found


def one_of(text: str, kind: Any, option: str) -> Any:
    """`text`, where it is one of a Literal's values."""
    known = get_args(kind)
    if text not in known:
        words = f"{', '.join(known[:-1])} or {known[-1]}" if known[1:] else known[0]
        raise DvtEdgeError(f"{option} {text!r}: expected {words}")
    return text


def given(context: typer.Context, *options: str) -> list[str]:
    """Those of the options that stand on the command line, with the values of their defaults too."""
    names = {option: parameter.name for parameter in context.command.params for option in parameter.opts}
    sources = {option: context.get_parameter_source(names[option] or "") for option in options}
    return [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def unread(context: typer.Context, when: str, *options: str) -> None:
    """Raises DvtEdgeError where one of the options stands on the command line, and nothing would read it."""
    if found := given(context, *options):
        raise DvtEdgeError(f"{', '.join(found)}: not read {when}; leave {'them' if found[1:] else 'it'} out")


def logits_alone(context: typer.Context, *more: str) -> None:
    """Raises DvtEdgeError where --logits has options beside it that choose among images, or run them."""
    if given(context, "--logits"):
        unread(context, "with --logits, whose images were run before", "--data", "--cache", *more)


def no_loss(outputs: Mapping[str, Path | None], *inputs: Path | str | None, images: Path | str | None = None) -> None:
    """Raises DvtEdgeError for an output that would replace an input or another output, or that lies where only other
    things may be: in a bundle, or among `images`, whose folders are read as classes the next time.

    `outputs` go by their option or argument; an input may be anything that the command reads.
    """
    from dvt_edge.data.folders import is_hidden
    from dvt_edge.data.reading import folder_of_images

    taken = {Path(given).resolve(): "what the command reads" for given in (*inputs, images) if given is not None}
    classes = None if images is None else folder_of_images(images)
    for name, path in outputs.items():
        if path is None:
            continue
        place = path.resolve()
        if place in taken:
            raise DvtEdgeError(f"{name} {path}: is {taken[place]}; give another place")
        if any((folder / "manifest.json").is_file() and (folder / "labels.json").is_file() for folder in place.parents):
            raise DvtEdgeError(f"{name} {path}: lies inside a bundle, which holds its own files only")
        if classes and place.is_relative_to(classes) and not any(map(is_hidden, place.relative_to(classes).parts)):
            raise DvtEdgeError(f"{name} {path}: lies among the images of {images}, where folders are classes")
        taken[place] = f"that of {name}, too"


def load(checkpoint: str, model: str | None) -> Cascade:
    from dvt_edge.network.checkpoint import load_cascade

    return load_cascade(checkpoint, model)
