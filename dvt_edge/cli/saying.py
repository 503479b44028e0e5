"""What a command says last, on standard error: light, as the process that says it."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """One line on standard error; where that takes nothing, on a full disk say, the exit code tells alone.

    Raises BrokenPipeError.
    """
    try:
        print(line, file=sys.stderr)
    except BrokenPipeError:
        raise
    except (OSError, ValueError):
        return
