"""The command `dvt-edge golden`: what every language must reproduce."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from dvt_edge.cli.exit_codes import FAILED


def golden(
    folder: Annotated[Path, typer.Argument(help="The golden vectors, with their inputs.")] = Path("tests/golden"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 where Python differs.")] = False,
    runs: Annotated[bool, typer.Option(help="Whole runs too: the shipped cascade is exported anew.")] = True,
) -> None:
    """Compute the golden vectors anew from their committed inputs, or check that Python still gives them."""
    from dvt_edge.cli.options import console, load, notes
    from dvt_edge.device.bundle import CascadeBundle
    from dvt_edge.exporting.pipeline import export
    from dvt_edge.validation.golden import check_golden, make_golden

    with tempfile.TemporaryDirectory(prefix="dvt-edge-") as scratch:

        def exported(target: str) -> CascadeBundle:
            return export(load("zoo:dvt_cifar10", None), target, Path(scratch) / target)

        if check:
            problems = check_golden(folder, exported if runs else None)
            for problem in problems:
                notes.print(problem, highlight=False, soft_wrap=True)
            if problems:
                raise typer.Exit(FAILED)
            console.print(f"{folder}: Python reproduces all of it", soft_wrap=True)
            return
        changed = make_golden(folder, exported if runs else None)
    console.print(f"{folder}: written {', '.join(changed) or 'nothing: all is as it was'}", soft_wrap=True)
