"""What a plain container says when it is ready, and how one waits for many to say so."""
# ruff: noqa: INP001 - used by programs in interpreters that are not ours, too

import os
import signal
import subprocess
from collections.abc import Sequence
from threading import Timer

WORD = "plain container is ready"
#: The least that a Python service does: it starts, says so, and ends at once when told to.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); "
    f"print('{WORD}', flush=True); signal.pause()"
)
_PATIENCE = 300.0


def await_all(compose: Sequence[str], number: int) -> None:
    """Follow a stack's logs until so many containers have said that they are ready.

    Args:
        compose: The words that begin a command of Compose for the stack.
        number: How many.

    Raises:
        RuntimeError: The logs ended before, or took too long.

    """
    with subprocess.Popen(
        [*compose, "logs", "--follow", "--no-color"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as logs:
        assert logs.stdout is not None

        def end() -> None:
            # Compose is a child of the engine's client.
            if logs.poll() is None:
                os.killpg(logs.pid, signal.SIGKILL)

        timer = Timer(_PATIENCE, end)
        timer.start()
        try:
            said = 0
            for line in logs.stdout:
                said += WORD in line
                if said == number:
                    return
        finally:
            timer.cancel()
            end()
    raise RuntimeError(f"{said} of {number} containers said that they are ready")
