"""``python -m metta_sandbox.api``: the control plane as a process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp

from metta_sandbox.api.server import Wandb, run
from metta_sandbox.errors import SandboxError
from metta_sandbox.observatory_tokens import Tokens, read_tokens


def main(program: str = "api", wandb: Callable[[Path], ASGIApp] | None = None) -> int:
    """Read the command line and serve.

    Args:
        program: The package's name, which ``python -m`` is told.
        wandb: Makes what stands in for W&B's server, from the data folder; None to serve no W&B.

    Returns:
        The exit status.

    """
    parser = argparse.ArgumentParser(
        prog=f"python -m metta_sandbox.{program}",
        description="Observatory and Cogweb, standing in.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--observatory-port", type=int, default=8080, help="0: any free port")
    parser.add_argument("--cogweb-port", type=int, default=8081, help="0: any free port")
    if wandb is not None:
        parser.add_argument("--wandb-port", type=int, default=8082, help="0: any free port")
    parser.add_argument("--data", type=Path, required=True, help="folder of state and transcript")
    parser.add_argument("--tokens", type=Path, help="YAML file: address of a server -> token")
    options = parser.parse_args()
    try:
        run(
            options.host,
            (options.observatory_port, options.cogweb_port),
            options.data,
            read_tokens(options.tokens) if options.tokens else Tokens(),
            None if wandb is None else Wandb(wandb(options.data), options.wandb_port),
        )
    except SandboxError as error:
        sys.stderr.write(f"api: {' '.join(str(error).split())}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
