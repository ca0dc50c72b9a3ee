"""``python -m metta_sandbox.services``: the control plane, and W&B beside it, as one process."""

from __future__ import annotations

import sys
from pathlib import Path

from starlette.types import ASGIApp

from metta_sandbox.api.__main__ import main
from metta_sandbox.api.script import read_services
from metta_sandbox.services.wandb.app import create_app
from metta_sandbox.services.wandb.script import Scripted

#: The folder of W&B's stand-in, in that of the control plane.
_FOLDER = "wandb"


def wandb(data: Path) -> ASGIApp:
    """Make W&B's stand-in, with the answers that the scenario prescribes.

    Raises:
        MachineError: The data folder can't be used, or the answers not be read.

    """
    said = read_services(data).wandb
    script = [
        Scripted(**answer.model_dump(exclude={"call"}), first=first, last=last)
        for answer in (said.answers if said else ())
        for first, last in ([(call, call) for call in answer.call] if answer.call else [(1, None)])
    ]
    return create_app(data / _FOLDER, script=script)


if __name__ == "__main__":
    sys.exit(main("services", wandb))
