"""``python -m metta_sandbox.services``: all that stands in on a stack, as one process."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from metta_sandbox.api.__main__ import parser, serve
from metta_sandbox.api.script import read_services
from metta_sandbox.api.server import StandIn, Tell
from metta_sandbox.node.agent.events import ApiRequest
from metta_sandbox.services.packages.index import create_index

#: The folder of W&B's stand-in, in that of the control plane.
_WANDB = "wandb"


def main() -> int:
    """Read the command line and serve; returns the exit status."""
    options = parser("services")
    options.add_argument("--wandb-port", type=int, help="serve W&B, too; 0: any free port")
    options.add_argument("--packages-port", type=int, default=8082, help="0: any free port")
    options.add_argument(
        "--packages", type=Path, help="folder where a package index is answered; else there is none"
    )
    given = options.parse_args()
    wandb = packages = None
    if given.wandb_port is not None:
        wandb = StandIn(partial(_wandb, given.data), given.wandb_port, "on")
    if given.packages:
        packages = StandIn(partial(create_index, given.packages), given.packages_port)
    return serve(given, wandb, packages)


def _wandb(data: Path, tell: Tell) -> ASGIApp:
    """Make W&B's stand-in, with the answers that the scenario prescribes.

    Raises:
        MachineError: The data folder can't be used, or the answers not be read.

    """
    from metta_sandbox.services.wandb.app import create_app  # noqa: PLC0415 - seldom wanted
    from metta_sandbox.services.wandb.script import Scripted  # noqa: PLC0415

    said = read_services(data).wandb
    script = [
        Scripted(**answer.model_dump(exclude={"call"}), first=first, last=last, rule=rule)
        for rule, answer in enumerate(said.answers if said else (), 1)
        for first, last in ([(call, call) for call in answer.call] if answer.call else [(1, None)])
    ]

    async def tell_scripted(path: str, number: int, rule: Scripted) -> None:
        await tell(
            ApiRequest(
                service="wandb",
                method="POST",
                route=rule.operation,
                path=path,
                call=number,
                status=rule.status,
                seconds=0.0,
                scripted=True,
                rule=rule.rule,
                dropped=rule.drop or None,
            )
        )

    return create_app(data / _WANDB, script=script, tell=tell_scripted)


if __name__ == "__main__":
    sys.exit(main())
