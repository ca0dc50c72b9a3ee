"""Keeps a rank's last collectives in a file, as a signal that ends it takes torch's record along.

The file has a fixed number of slots, written round and round, each with one call as a line of JSON.
It lies beside what the process tells of its life (``life``), and ``autopsy.lives`` reads it.
"""

from __future__ import annotations

import fcntl
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every rank
    from typing import Any, Dict, List, Tuple

#: What the file's name ends with.
SUFFIX = ".calls"
#: How many calls are kept, the bytes of each, and how many frames at first, and where that is not
#: short enough.
SLOTS, SLOT = 24, 4096
_FRAMES = (12, 4)
#: Of so many stacks the JSON is remembered.
_STACKS = 200
#: Where file descriptors begin that nobody else comes to use.
_HIGH = 700


class LastCalls:
    """The file of this process, made with its first call.

    Args:
        folder: Where it goes.

    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._pid = self._file = -1
        self._kept = 0
        self._stacks: Dict[int, Tuple[List[Dict[str, Any]], List[str]]] = {}

    def keep(self, call: Dict[str, Any]) -> None:
        """Keep a call; the oldest one goes.

        Raises:
            OSError: The file can't be written.

        """
        if self._pid != os.getpid():
            self._open()
        if not os.path.samestat(os.fstat(self._file), self._opened):
            # The program has closed whatever was open, and this number is another file's now.
            return
        stack = call["stack"]
        about = json.dumps({key: value for key, value in call.items() if key != "stack"})
        for frames in self._encoded(stack):
            line = f'{about[:-1]}, "stack": {frames}}}'.encode()
            if len(line) < SLOT:
                os.pwrite(self._file, line.ljust(SLOT - 1) + b"\n", self._kept % SLOTS * SLOT)
                self._kept += 1
                return

    def _encoded(self, stack: List[Dict[str, Any]]) -> List[str]:
        """Write a stack's innermost frames as JSON, once for each that comes again."""
        known = self._stacks.get(id(stack))
        if known is None or known[0] is not stack:
            if len(self._stacks) >= _STACKS:
                self._stacks.clear()
            known = stack, [json.dumps(stack[:most]) for most in _FRAMES]
            self._stacks[id(stack)] = known
        return known[1]

    def _open(self) -> None:
        """Open a file of this process's own, also in a child that has its parent's."""
        self._pid, self._kept = os.getpid(), 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(os.path.join(self._folder, f"{self._pid}{SUFFIX}"), flags, 0o644)
        try:
            self._file = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        finally:
            os.close(file)
        self._opened = os.fstat(self._file)
