"""What others see of a process in ``/proc``, its environment and its command, written in a fork.

The kernel shows the memory in which a process was started with both (proc(5)), and a fork has a
copy of it. By what stands there we find, and end, the processes of a scenario; people see it, too.
"""

import ctypes
import os
from typing import Dict, Mapping, Sequence, Tuple

from metta_sandbox.node.agent.processes import stat_of

#: A variable of no meaning, which makes room for what a fork writes, in bytes.
_ROOM, _BYTES = "METTA_ROOM", 8192
#: Fields of ``/proc/self/stat`` after the command's name: where the command's words begin and end,
#: and where the environment does.
_WORDS, _ENVIRONMENT = (45, 46), (47, 48)


def with_room(environ: Mapping[str, str]) -> Dict[str, str]:
    """Build the environment of a process whose forks let others see one of their own."""
    return {**environ, _ROOM: "." * _BYTES}


def write(environ: Mapping[str, str], first: Sequence[str]) -> None:
    """Let others see another environment, as far as there is room.

    Call it once ``os.environ`` is filled anew: until then, what is overwritten is in use.

    Args:
        environ: The variables.
        first: Those that must be seen.

    Raises:
        ValueError: There is no room for those.

    """
    begin, end = _place(_ENVIRONMENT)
    must = [name for name in first if name in environ]
    names = [*must, *(name for name in environ if name not in must)]
    block = b""
    for number, name in enumerate(names):
        entry = os.fsencode(f"{name}={environ[name]}") + b"\0"
        if len(block) + len(entry) > end - begin:
            if number < len(must):
                raise ValueError(f"no room for {name} in the environment that others see")
            break
        block += entry
    _put(block, begin, end)


def write_command(command: Sequence[str]) -> None:
    """Let others see another command line, as far as there is room.

    Args:
        command: Its words.

    """
    begin, end = _place(_WORDS)
    block = b"".join(os.fsencode(word) + b"\0" for word in command)
    # The last byte must stay zero: else the kernel reads on, into the environment.
    _put(block[: max(0, end - begin - 1)], begin, end)


def _place(fields: Tuple[int, int]) -> Tuple[int, int]:
    found = stat_of(os.getpid())
    return int(found[fields[0]]), int(found[fields[1]])


def _put(block: bytes, begin: int, end: int) -> None:
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, block, len(block))
