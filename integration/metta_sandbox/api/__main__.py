"""``python -m metta_sandbox.api``: the control plane as a process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from metta_sandbox.api.server import StandIn, run
from metta_sandbox.errors import SandboxError
from metta_sandbox.observatory_tokens import Tokens, read_tokens


def parser(program: str = "api") -> argparse.ArgumentParser:
    """Make what reads the command line.

    Args:
        program: The package's name, which ``python -m`` is told.

    """
    found = argparse.ArgumentParser(
        prog=f"python -m metta_sandbox.{program}",
        description="Observatory and Cogweb, standing in.",
    )
    found.add_argument("--host", default="127.0.0.1", help="address to listen on")
    found.add_argument("--observatory-port", type=int, default=8080, help="0: any free port")
    found.add_argument("--cogweb-port", type=int, default=8081, help="0: any free port")
    found.add_argument("--data", type=Path, required=True, help="folder of state and transcript")
    found.add_argument("--tokens", type=Path, help="YAML file: address of a server -> token")
    return found


def serve(
    options: argparse.Namespace, wandb: StandIn | None = None, packages: StandIn | None = None
) -> int:
    """Serve as the command line says, and what else stands in; returns the exit status."""
    try:
        run(
            options.host,
            (options.observatory_port, options.cogweb_port),
            options.data,
            read_tokens(options.tokens) if options.tokens else Tokens(),
            wandb=wandb,
            packages=packages,
        )
    except SandboxError as error:
        sys.stderr.write(f"api: {' '.join(str(error).split())}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(serve(parser().parse_args()))
