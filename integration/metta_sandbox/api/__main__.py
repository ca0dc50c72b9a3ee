"""``python -m metta_sandbox.api``: the control plane as a process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from metta_sandbox.api.server import run
from metta_sandbox.errors import SandboxError
from metta_sandbox.observatory_tokens import Tokens, read_tokens


def main() -> int:
    """Read the command line and serve; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m metta_sandbox.api", description="Observatory and Cogweb, standing in."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--observatory-port", type=int, default=8080, help="0: any free port")
    parser.add_argument("--cogweb-port", type=int, default=8081, help="0: any free port")
    parser.add_argument("--packages-port", type=int, default=8082, help="0: any free port")
    parser.add_argument("--data", type=Path, required=True, help="folder of state and transcript")
    parser.add_argument("--tokens", type=Path, help="YAML file: address of a server -> token")
    parser.add_argument(
        "--packages", type=Path, help="folder where a package index is answered; else there is none"
    )
    options = parser.parse_args()
    try:
        run(
            options.host,
            (options.observatory_port, options.cogweb_port, options.packages_port),
            options.data,
            read_tokens(options.tokens) if options.tokens else Tokens(),
            options.packages,
        )
    except SandboxError as error:
        sys.stderr.write(f"api: {' '.join(str(error).split())}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
