"""The command line: a thin skin on the library. An error is one line on stderr, and an exit code of `exit_codes.py`."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import typer

from dvt_edge.cli import calibrate, export, fleet, golden, measure, power, run, sensitivity, train, validate
from dvt_edge.cli.exit_codes import BUG, CLOSED, STOPPED, USER_ERROR
from dvt_edge.cli.options import finite, visible
from dvt_edge.cli.saying import say
from dvt_edge.errors import DataWarning, DvtEdgeError, cause, packages

TRACEBACK = "DVT_EDGE_TRACEBACK"


class Command(NamedTuple):
    function: Callable[..., None]
    extra: str = ""  # that brings all it needs; "": the package that lacks names its own


COMMANDS = {
    "train": Command(train.train, "train"),
    "backbones": Command(train.backbones, "train"),
    "targets": Command(export.targets),
    "export": Command(export.export),
    "sensitivity": Command(sensitivity.sensitivity, "torch"),
    "inspect": Command(export.inspect),
    "upgrade": Command(export.upgrade),
    "run": Command(run.run),
    "validate": Command(validate.validate),
    "calibrate": Command(calibrate.calibrate),
    "eval": Command(measure.evaluate, "train"),
    "bench": Command(measure.bench),
    "footprint": Command(measure.footprint),
    "demo": Command(measure.demo, "demo"),
    "simulate": Command(power.simulate),
    "policy": Command(power.policy),
    "profile": Command(power.profile),
    "fleet": Command(fleet.fleet, "fleet"),
    "golden": Command(golden.golden, "onnx"),
}


def guarded(name: str, command: Command) -> Callable[..., None]:
    """The command with what all share: no number that is none, and a missing package named."""

    @functools.wraps(command.function)
    def run_command(**given: Any) -> None:
        finite(given)
        with packages(f"dvt-edge {name}", command.extra):
            command.function(**given)

    return run_command


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Early-exit vision transformers for phones: a trained cascade in, a verified bundle out.",
)
for name, command in COMMANDS.items():
    app.command(name)(guarded(name, command))
# Of click, or of the copy that newer typers carry; its subclasses are public, it is not.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or one of `exit_codes.py`."""
    given = sys.argv[1:] if args is None else args
    try:
        nothing_empty(given)
        said = visible(shlex.join(("dvt-edge", *given)))
        with notes_of_data():
            code = app(args=given, prog_name="dvt-edge", standalone_mode=False, obj=said)
        if code == STOPPED:
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        say("stopped")
        return STOPPED
    except (BrokenPipeError, SystemExit):  # for a closed pipe typer ends the process itself, and for nothing else
        return CLOSED
    except Exception as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        message, code = told(error)
        say(message)
        return code


@contextlib.contextmanager
def notes_of_data() -> Iterator[None]:
    """What a user should know of the images, each once and in one line on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", DataWarning)
        other = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, DataWarning):
                say(visible(f"note: {message}"))
            else:
                other(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def told(error: Exception) -> tuple[str, int]:
    """An error in one line, and the exit code."""
    if isinstance(error, ClickException):
        message = error.format_message()  # type: ignore[attr-defined]
        if message.startswith("Usage"):  # the bare command prints its help
            return message, USER_ERROR
    elif isinstance(error, OSError):
        message = of_system(error)
    elif isinstance(error, MemoryError):
        message = f"out of memory: {error}" if str(error) else "out of memory"
    elif isinstance(error, DvtEdgeError):
        message = str(error)
    else:
        bug = f"this is a bug in dvt-edge: {cause(error)} (set {TRACEBACK}=1 for the traceback)"
        return visible(bug), BUG
    return visible("error: " + " ".join(message.split())), USER_ERROR


def of_system(error: OSError) -> str:
    """Which file or folder, and what the system says of it."""
    if not error.strerror:
        return cause(error)
    places = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    wanted = {errno.EEXIST: "expected a folder there", errno.ENOTDIR: "expected folders above it"}
    more = f"; {wanted[error.errno]}" if error.errno in wanted else ""
    return ": ".join([*places[:1], error.strerror]) + more


def nothing_empty(words: Sequence[str]) -> None:
    """Raises DvtEdgeError for an empty word: a variable of a script that is not set, more often than meant."""
    for before, word in itertools.pairwise(["dvt-edge", *words]):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            where = f"after {before!r}" if not word.strip() else f"in {word!r}"
            raise DvtEdgeError(f"nothing {where}; expected a value, or leave it out")
