"""Removes copies of credentials when whoever made them is gone, however it ended.

A program of its own, so that it outlives a process that is killed; it needs the standard library
alone. It ends once its standard input does, whose other end nobody else has.
"""

import os
import shutil
import sys
from pathlib import Path


def remove(root: Path) -> None:
    """Remove a folder, also where it may not be written to."""
    for folder, folders, _ in os.walk(root):
        Path(folder).chmod(0o700)
        for name in folders:
            if not Path(folder, name).is_symlink():
                Path(folder, name).chmod(0o700)
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.stdout.write("watching\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    remove(Path(sys.argv[1]))
