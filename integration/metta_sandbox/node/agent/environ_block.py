"""What others see as a process's environment, ``/proc/<pid>/environ``, rewritten in a fork.

The kernel shows the memory in which a process was started with its environment (proc(5)), and a
fork has a copy of it. By what stands there we find, and end, the processes of a scenario.
"""

import ctypes
import os
from typing import Mapping, Sequence

#: A variable of no meaning, which makes room.
ROOM = "METTA_ROOM"
#: Fields of ``/proc/self/stat`` after the command's name: where the environment begins and ends.
_BEGIN, _END = 47, 48


def write(environ: Mapping[str, str], first: Sequence[str]) -> None:
    """Let others see another environment, as far as there is room.

    Call it once ``os.environ`` is filled anew: until then, what is overwritten is in use.

    Args:
        environ: The variables.
        first: Those that must be seen.

    Raises:
        ValueError: There is no room for those.

    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    begin, end = int(fields[_BEGIN]), int(fields[_END])
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
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, block, len(block))
