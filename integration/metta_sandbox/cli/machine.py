"""Commands for this machine, and for the program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from metta_sandbox import __version__
from metta_sandbox.cli.options import AsJson
from metta_sandbox.cli.safely import say
from metta_sandbox.errors import MachineError
from metta_sandbox.safe_text import for_json


def clean() -> None:
    """Remove what crashed runs left behind, never a live one's."""
    from metta_sandbox.play.cleaning import clean_all

    clean_all(say)


def doctor(
    as_json: AsJson = False,
) -> None:
    """Say what is missing on this machine, and the command that mends it."""
    from metta_sandbox import doctor as doctors

    report = doctors.examine()
    if as_json:
        typer.echo(for_json(report.as_json()))
    else:
        doctors.show(report)
    raise typer.Exit(0 if report.ok else MachineError.exit_status)


def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Test distributed sweeps on this machine."""
    if show:
        say(__version__)
        raise typer.Exit
