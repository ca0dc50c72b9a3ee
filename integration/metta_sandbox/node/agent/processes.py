"""Other processes, as the kernel shows them: who belongs to whom, and who dies with whom.

Needs Linux and its ``/proc``; elsewhere nothing is found, and nobody dies with anybody.
"""

import os
import signal
import sys
from typing import TYPE_CHECKING, Callable, Iterable, List, Tuple

if TYPE_CHECKING:  # who wraps or forks ranks is to start soon
    from metta_sandbox.node.agent.messages import ProcessState

try:
    import ctypes

    _LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
except ImportError:  # an interpreter built without libffi
    _LIBC = None

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
#: Of Yama, the kernel's module that else lets a process be looked into by its parents alone.
_PR_SET_PTRACER = 0x59616D61


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def let_be_seen() -> None:
    """Let this user's other processes read this one's stack, also where only parents may."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PTRACER, ctypes.c_long(-1), 0, 0, 0)


def keep_to_itself() -> None:
    """Let no other process of this user read this one's memory, or take over what it has open.

    What it starts is as open as ever: a new program's beginning undoes this.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def dying_with_this() -> Callable[[], None]:
    """Return what a child runs before its command, so that it does not outlive this process.

    It can also be seen from then on, when a hang is looked into.
    """
    parent = os.getpid()

    def prepare() -> None:
        let_be_seen()
        die_with_parent()
        if os.getppid() != parent:
            # The parent died before the kernel was asked.
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, as a container's first process is."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def carrying(*variables: str) -> List[int]:
    """Find the other processes that were started with these variables (``NAME=value``)."""
    wanted = {variable.encode() for variable in variables}
    found = []
    for pid in _others():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environ = set(file.read().split(b"\0"))
        except OSError:
            continue
        if wanted <= environ:
            found.append(pid)
    return found


def children() -> List[int]:
    """Find this process's live children, also adopted ones."""
    found = []
    for pid in _others():
        try:
            state, parent = _state_and_parent(pid)
        except OSError:
            continue
        if parent == os.getpid() and state != "Z":
            found.append(pid)
    return found


def describe(pids: Iterable[int]) -> "List[ProcessState]":
    """Describe each live process."""
    found: "List[ProcessState]" = []
    for pid in pids:
        try:
            state, _ = _state_and_parent(pid)
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        found.append({"pid": pid, "state": state, "command": command})
    return found


def stat_of(pid: int) -> List[str]:
    """Read what ``/proc/<pid>/stat`` says after the command's name: ``proc(5)``'s fields from 3 on.

    Raises:
        OSError: It is gone.

    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The command's name, in parentheses, may hold anything.
        return file.read().rpartition(b")")[2].decode().split()


#: Of ``/proc/<pid>/status``: masks of signals, and what each says of one of them.
_MASKS = {
    "SigPnd": "pending",
    "ShdPnd": "pending",
    "SigBlk": "blocked",
    "SigIgn": "ignored",
    "SigCgt": "caught",
}


def dispositions(pid: int, number: int) -> List[str]:
    """Say what a process does with a signal: some of pending, blocked, ignored and caught.

    Raises:
        OSError: It is gone.

    """
    found = []
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            name, _, mask = line.partition(":")
            if name in _MASKS and int(mask, 16) >> (number - 1) & 1:
                found.append(_MASKS[name])
    return found


def _state_and_parent(pid: int) -> Tuple[str, int]:
    state, parent = stat_of(pid)[:2]
    return state, int(parent)


def parent_of(pid: int) -> int:
    """Return a process's parent; 0 if that is in no place that can be seen from here.

    Raises:
        OSError: It is gone.

    """
    return _state_and_parent(pid)[1]


def living() -> List[int]:
    """Find all other processes that have not ended."""
    return [each["pid"] for each in describe(_others()) if each["state"] != "Z"]


def kill_all(find: Callable[[], Iterable[int]]) -> None:
    """Kill all that ``find`` finds, until it finds none that is new.

    One that is being killed can fork no more, so the last look saw all there was.
    """
    killed: List[int] = []
    while True:
        new = [pid for pid in find() if pid not in killed]
        if not new:
            return
        for pid in new:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        killed += new


def _others() -> List[int]:
    if sys.platform != "linux":
        return []
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]
