"""The command line in this process: what it prints where it does its work, and the one line where it refuses."""

from __future__ import annotations

import pytest

from dvt_edge.cli.app import main


def ok(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What a command prints that does its work."""
    assert main([str(a) for a in args]) == 0
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The error of a command that refuses: one line, and exit code 2."""
    code = main([str(a) for a in args])
    err = capsys.readouterr().err
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err, err
    return err
