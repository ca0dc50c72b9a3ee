"""The options that several commands have, and what is made of their words."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metta_sandbox.errors import InputError

if TYPE_CHECKING:
    from metta_sandbox.scenario.untrusted import Untrusted as Bounds


def one_of(value: str, known: tuple[str, ...], option: str) -> str:
    """Make sure that an option has one of the values it may have.

    Raises:
        BadParameter: It has not.

    """
    if value not in known:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}", param_hint=option)
    return value


def _is_engine(name: str) -> str:
    from metta_sandbox.stack.engines import ENGINES

    return one_of(name, ("auto", *ENGINES), "--engine")


def _is_no_home(folder: Path | None) -> Path | None:
    from metta_sandbox.scenario.keys import WAY_OUT, holds_keys

    if folder and not folder.is_dir():  # Click lets a named pipe pass
        raise InputError(f"--source {folder}: is no folder")
    if folder and holds_keys(folder):
        raise InputError(f"--source {folder}: may hold keys", WAY_OUT)
    return folder


Paths = Annotated[list[Path] | None, typer.Argument(help="Scenario files or folders.")]
Engine = Annotated[
    str,
    typer.Option(
        callback=_is_engine, help="auto, compose or process (local processes, no Docker)."
    ),
]
Artifacts = Annotated[Path, typer.Option(help="Where artifacts go.")]
Source = Annotated[
    Path | None,
    typer.Option(
        callback=_is_no_home,
        exists=True,
        file_okay=False,
        resolve_path=True,
        help="A working copy that every node sees live, as its working folder.",
    ),
]
Credentials = Annotated[
    bool,
    typer.Option(
        "--credentials",
        help="Let nodes see ~/.netrc, ~/.metta, ~/.config, ~/.ssh and ~/.aws, read-only.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the outcome.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Every event, too.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Give a scenario file's variable a value."),
]
RequirementsFile = Annotated[
    Path | None,
    typer.Option("--requirements", metavar="FILE", help="What your trainer imports, for pip."),
]
Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="NAME[=VALUE]",
        help="Give nodes a variable that is masked everywhere; its value is the environment's.",
    ),
]
Untrusted = Annotated[
    bool,
    typer.Option(
        "--untrusted", help="Refuse what a stranger's scenario files may not ask of this machine."
    ),
]
AllowEnv = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A variable whose value files may have with --untrusted."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def bounds_of(*, untrusted: bool, allow_env: list[str] | None) -> Bounds | None:
    """Say what files may ask for, if they are a stranger's."""
    from metta_sandbox.scenario.untrusted import Untrusted as Bounds
    from metta_sandbox.stack.provision import node_memory

    if allow_env and not untrusted:
        raise InputError("--allow-env: expected --untrusted beside it; without it, all may be read")
    return Bounds.here(node_memory(), allow_env or ()) if untrusted else None


def jobs_of(said: str) -> int | None:
    """Read a number of jobs; None: as many as fit."""
    if said == "auto":
        return None
    if not said.isdecimal() or int(said) == 0:
        message = f"{said!r} is neither auto nor a number from 1"
        raise typer.BadParameter(message, param_hint="--jobs")
    return int(said)


def words_of(command: str) -> list[str]:
    """Split ``--trainer`` as a shell does.

    Raises:
        BadParameter: A quote is not closed.

    """
    try:
        return shlex.split(command)
    except ValueError as error:
        raise typer.BadParameter(f"{command!r}: {error}", param_hint="--trainer") from None
