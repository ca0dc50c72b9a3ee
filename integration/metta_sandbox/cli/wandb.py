"""Commands for the stand-in for W&B's server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metta_sandbox.cli.safely import Commands, say
from metta_sandbox.errors import MachineError
from metta_sandbox.masking import hide

app = typer.Typer(cls=Commands, no_args_is_help=True)


@app.callback()
def wandb() -> None:
    """Serve W&B's own client without its cloud."""


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8085,
    data: Annotated[Path, typer.Option(help="Where runs, sweeps and files are kept.")] = Path(
        "artifacts/wandb"
    ),
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Let other machines in, by --key alone.")
    ] = "127.0.0.1",
    key: Annotated[
        str | None,
        typer.Option(envvar="METTA_WANDB_KEY", help="The only API key that is let in."),
    ] = None,
) -> None:
    """Serve what `wandb` asks for, until Ctrl-C."""
    try:
        from metta_sandbox.services.wandb import server
    except ModuleNotFoundError as error:
        raise MachineError(
            f"the stand-in for W&B needs {error.name}", "pip install 'metta-sandbox[wandb]'"
        ) from None
    if key:
        hide([key])
    server.run(listen, port, data, key, say)
