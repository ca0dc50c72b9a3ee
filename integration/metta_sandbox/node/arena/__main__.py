"""One rank of a training run: ``python -m metta_sandbox.node.arena key=value ...``.

Started by torchrun, or by anything that sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT; alone without them. Files go to ``$METTA_TRIAL_DIR`` (``train_dir/<run>`` without it).
Exit status: 0 trained, 1 failed, 2 an override or the environment is wrong, 3 no such hardware,
130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from metta_sandbox.errors import SandboxError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.arena.config import parse_overrides


def main(overrides: Sequence[str], environ: Mapping[str, str]) -> None:
    """Train as one rank.

    Raises:
        SandboxError: With what to tell the user.

    """
    config = parse_overrides(overrides)
    # By force: mettagrid sets the root logger up, and a warm process has imported it already.
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s", force=True)
    # Wrong overrides should be said at once, and not after seconds of importing torch.
    from metta_sandbox.node.arena.train import train  # noqa: PLC0415
    from metta_sandbox.node.arena.world import World  # noqa: PLC0415

    world = World.from_environment(environ)
    world.join()
    trial = Path(environ.get("METTA_TRIAL_DIR") or Path("train_dir") / config.run)
    train(config, world, trial, Emitter.from_environment(environ))
    world.wait_for_all()


def leave(status: int) -> NoReturn:
    """End the process at once, with everything that was printed delivered.

    The ordinary way out would free the process group, whose destructor joins a Gloo thread while
    holding the interpreter's lock, for which that thread may be waiting.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run() -> NoReturn:
    """Train with this process's arguments and environment, and end it."""
    try:
        main(sys.argv[1:], os.environ)
    except SandboxError as error:
        sys.stderr.write(f"{error}\n")
        leave(error.exit_status)
    except KeyboardInterrupt:
        leave(130)
    except BaseException:  # noqa: BLE001 - whatever it was, it is printed and ends the process
        traceback.print_exc()
        leave(1)
    leave(0)


if __name__ == "__main__":
    run()
