"""Print 100,000 lines a second for as many seconds as are asked for, as a loud trainer does."""
# ruff: noqa: INP001 - started by its path, in an interpreter that is not ours

import sys
import time

LINES, PIECES = 100_000, 100


def main() -> None:
    """Print lines as fast as asked for, and end."""
    began = time.monotonic()
    each = LINES // PIECES
    for number in range(int(sys.argv[1]) * PIECES):
        first = number * each
        sys.stdout.write(
            "".join(
                f"step {first + at}: loss=0.{at:04d}, 1024 samples a second, lr=0.003\n"
                for at in range(each)
            )
        )
        sys.stdout.flush()
        time.sleep(max(0.0, began + (number + 1) / PIECES - time.monotonic()))


main()
