"""The trainer of every contestant, which then stays as it is until it is told to end."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import os
import time
from pathlib import Path

import ddp

#: A folder that all ranks see, and whoever measures them; the way there is plain containers' own.
FOLDER = Path(os.environ.get("BENCH_SHARED") or os.environ["METTA_RUN_FOLDER"])


def main() -> None:
    """Train, say so, and wait."""
    ddp.main()
    (FOLDER / f"held-{os.environ['RANK']}").touch()
    # A file is all that reaches ranks in everybody's containers.
    while not (FOLDER / "release").exists():
        time.sleep(0.1)


if __name__ == "__main__":
    main()
