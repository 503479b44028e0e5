"""The command line: a thin skin on the library. Errors of the user are one line on stderr and exit code 2."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable

import typer

from dvt_edge.cli import calibrate, export, fleet, golden, measure, power, run, train
from dvt_edge.errors import DvtEdgeError

COMMANDS: dict[str, Callable[..., None]] = {
    "train": train.train,
    "export": export.export,
    "inspect": export.inspect,
    "run": run.run,
    "validate": run.validate,
    "calibrate": calibrate.calibrate,
    "eval": measure.evaluate,
    "bench": measure.bench,
    "demo": measure.demo,
    "simulate": power.simulate,
    "policy": power.policy,
    "profile": power.profile,
    "fleet": fleet.fleet,
    "golden": golden.golden,
}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Early-exit vision transformers for phones: a trained cascade in, a verified bundle out.",
)
for name, command in COMMANDS.items():
    app.command(name)(command)
# Of click, or of the copy that newer typers carry; its subclasses are public, it is not.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        said = shlex.join(("dvt-edge", *(sys.argv[1:] if args is None else args)))
        code = app(args=args, prog_name="dvt-edge", standalone_mode=False, obj=said)
        return code if isinstance(code, int) else 0
    except ClickException as error:
        message = error.format_message()  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return 130
    except (DvtEdgeError, OSError) as error:
        message = " ".join(str(error).split())
    helped = message.startswith("Usage")  # the bare command prints its help
    print(message if helped else f"error: {message}", file=sys.stderr)
    return 2


def entry() -> None:
    """The `dvt-edge` console script."""
    sys.exit(main())
