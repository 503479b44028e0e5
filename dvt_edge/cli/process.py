"""The command line as a process: what its streams can print, how signals and closed pipes end it.

Light, so that Ctrl-C is answered in one word also while the commands are still being imported.
"""

from __future__ import annotations

import _thread
import atexit
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from dvt_edge.cli.exit_codes import CLOSED, STOPPED, USER_ERROR
from dvt_edge.cli.saying import say


def entry(args: Sequence[str] | None = None) -> None:
    """The `dvt-edge` console script. `args` are those of the command line unless given."""
    ends: list[int] = []
    atexit.register(leave, ends)  # the first that is registered, and so the last that is called
    ends.append(run(args))
    sys.exit(ends[0])


def leave(ends: list[int]) -> None:
    """After Ctrl-C: a library in C may have left Python in the belief that nobody answered it, to end by the signal."""
    if ends == [STOPPED]:
        os._exit(STOPPED)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line in this process; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that cannot be printed ends no command
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
        signal.signal(signal.SIGINT, interrupt)
    for name in ("SIGTERM", "SIGHUP"):  # end it like Ctrl-C, so that temporary folders go, too
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, interrupt)
    try:
        from dvt_edge.errors import MissingPackageError, packages

        try:
            with packages("dvt-edge"):
                from dvt_edge.cli.app import main
        except MissingPackageError as error:
            say(f"error: {error}")
            return USER_ERROR
        code = main(None if args is None else list(args))
    except KeyboardInterrupt:
        say("stopped")
        code = STOPPED
    except BrokenPipeError:
        code = CLOSED
    if signal.getsignal(signal.SIGINT) is interrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends what is left without a word
    return flushed(code)


def interrupt(number: int, frame: FrameType | None) -> None:
    """KeyboardInterrupt, but after an import that is under way: C++ that a package loads dies of an exception there."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            later = threading.Timer(0.05, _thread.interrupt_main)
            later.daemon = True
            later.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def flushed(code: int) -> int:
    """The exit code once everything is written; a stream that takes nothing more is let go of."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError) as error:
            if not isinstance(error, BrokenPipeError) and code == 0:
                say(f"error: standard output: {error}")
            code = code or (CLOSED if isinstance(error, BrokenPipeError) else USER_ERROR)
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code
