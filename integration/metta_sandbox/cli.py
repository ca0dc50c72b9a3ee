"""The command line. Commands only; what they do stands elsewhere."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from metta_sandbox import __version__
from metta_sandbox.errors import SandboxError
from metta_sandbox.interrupt import HEARD, INTERRUPTED

app = typer.Typer(
    name="metta-sandbox",
    help="Test distributed sweeps on this machine: real DDP nodes, offline W&B, "
    "a stand-in control plane.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Paths = Annotated[list[Path] | None, typer.Argument(help="Scenario files or folders.")]


@app.command()
def run(
    paths: Paths = None,
    engine: Annotated[
        str, typer.Option(help="auto, compose or process (local processes, no Docker).")
    ] = "auto",
    artifacts: Annotated[Path, typer.Option(help="Where artifacts go.")] = Path("artifacts"),
    filter: Annotated[  # noqa: A002 - the option's name
        list[str] | None, typer.Option(help="Only scenarios with this in their name or tags.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Goes over every scenario's own.")] = None,
    source: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A working copy that every node sees."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the outcome.")] = False,
) -> None:
    """Play scenarios, write artifacts, print verdicts."""
    from metta_sandbox.play import run as playing  # noqa: PLC0415 - --help must not wait for it
    from metta_sandbox.report.console import Reporter  # noqa: PLC0415

    options = playing.Options(
        paths=tuple(paths or [Path("scenarios")]),
        engine=_one_of(engine, ("auto", "compose", "process"), "--engine"),
        artifacts=artifacts,
        filter=tuple(filter or ()),
        seed=seed,
        source=source,
        ci=playing.in_ci(),
    )
    raise typer.Exit(playing.run(options, Reporter(quiet=quiet)))


@app.command()
def validate(paths: Paths = None) -> None:
    """Check scenario files without starting anything."""
    from metta_sandbox.scenario.loading import load_all  # noqa: PLC0415

    for path, scenario in load_all(paths or [Path("scenarios")]):
        typer.echo(f"{path}: {scenario.name} is valid")
        for caution in scenario.cautions:
            typer.echo(f"{path}: {caution}")


@app.command()
def clean() -> None:
    """Remove what crashed runs left behind, never a live one's."""
    from metta_sandbox.play import run as playing  # noqa: PLC0415
    from metta_sandbox.stack.engines import choose  # noqa: PLC0415

    engine = choose("auto", ci=False, notice=typer.echo)
    gone = playing.clean(engine)
    for run_id in gone:
        typer.echo(f"removed what the run {run_id} left behind")
    if not gone:
        typer.echo("nothing was left behind")


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Test distributed sweeps on this machine."""
    if show:
        typer.echo(__version__)
        raise typer.Exit


def _one_of(value: str, known: tuple[str, ...], option: str) -> str:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}", param_hint=option)
    return value


def main() -> None:
    """Run the command line; errors of ours are said without a traceback."""
    for number in HEARD:
        # Until something runs that has to be ended in order.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(INTERRUPTED))
    try:
        app()
    except SandboxError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
