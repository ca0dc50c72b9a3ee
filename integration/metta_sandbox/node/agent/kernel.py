"""What the kernel tells of a process and its threads: what they wait for, what they hold open.

Needs Linux and its ``/proc``; what can't be read, as it is gone or not for us, is empty.
"""

import os
import stat as modes
import struct
from typing import Dict, Iterable, List, Optional, Tuple

from metta_sandbox.node.agent.told import TOLD

#: What each of the calls that matter is about, by its number, on the machines that we know.
#: A kind ends in ``*`` where the first argument is a file descriptor.
_CALLS: Dict[str, Dict[int, Tuple[str, str]]] = {
    "x86_64": {
        **dict.fromkeys((0, 17, 19, 45, 47, 295, 299), ("read*", "read")),
        **dict.fromkeys((1, 18, 20, 44, 46, 296, 307, 40, 74, 75), ("write*", "write")),
        **dict.fromkeys((7, 271), ("poll", "poll")),
        **dict.fromkeys((23, 270), ("poll", "select")),
        **dict.fromkeys((232, 281, 441), ("poll*", "epoll")),
        42: ("connect*", "connect"),
        **dict.fromkeys((43, 288), ("accept*", "accept")),
        61: ("wait", "wait4"),
        247: ("wait", "waitid"),
        202: ("futex", "futex"),
        **dict.fromkeys((34, 35, 128, 130, 230), ("sleep", "sleep")),
        73: ("other*", "flock"),
        72: ("other*", "fcntl"),
        257: ("other", "open"),
    },
    "aarch64": {
        **dict.fromkeys((63, 65, 67, 207, 212, 243), ("read*", "read")),
        **dict.fromkeys((64, 66, 68, 71, 82, 83, 206, 211, 269), ("write*", "write")),
        73: ("poll", "poll"),
        72: ("poll", "select"),
        **dict.fromkeys((22, 441), ("poll*", "epoll")),
        203: ("connect*", "connect"),
        **dict.fromkeys((202, 242), ("accept*", "accept")),
        260: ("wait", "wait4"),
        95: ("wait", "waitid"),
        98: ("futex", "futex"),
        **dict.fromkeys((101, 115, 133, 137), ("sleep", "sleep")),
        32: ("other*", "flock"),
        25: ("other*", "fcntl"),
        56: ("other", "open"),
    },
}
#: The number of a call that goes on where it was interrupted, as by whoever read the stack, and
#: what that is by the kernel's function in which it waits.
_RESTARTED = {"x86_64": 219, "aarch64": 128}
_RESUMED = (
    ("nanosleep", ("sleep", "sleep")),
    ("futex", ("futex", "futex")),
    ("poll", ("poll", "poll")),
)
#: A futex of one process's threads alone has this bit in its operation.
_PRIVATE = 128
#: What ``waitid`` is asked for: one child by its pid.
_BY_PID = 1
#: At most so many file descriptors of one process, or of one call, are told.
_FDS, _AT_ONCE = 64, 16
#: Fields of ``/proc/PID/stat`` after the name (man 5 proc), and how much of an ``environ`` counts.
STATE, PARENT, UTIME, STIME, STARTED, RSS = 0, 1, 11, 12, 19, 21
_ENVIRON = 1 << 18


def text(path: str, most: int = -1) -> str:
    """Read a file of the kernel's, or its beginning."""
    try:
        with open(path, "rb") as file:
            return file.read(most).decode(errors="replace")
    except OSError:
        return ""


def numbers(folder: str) -> List[int]:
    """List what bears a number in a folder: processes, threads or file descriptors."""
    try:
        return sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    except OSError:
        return []


def target(path: str) -> str:
    """Read a symbolic link; empty if that can't be done."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def fields(path: str) -> List[str]:
    """Give what stands behind the name, which may hold anything, in a ``stat``; empty if gone."""
    found = text(path).rpartition(")")[2].split()
    return found if len(found) > RSS else []


def environ(pid: int) -> Dict[str, str]:
    """Give what launchers tell ranks, as a process was started with it."""
    pairs = (each.partition("=") for each in text(f"/proc/{pid}/environ", _ENVIRON).split("\0"))
    return {name: value for name, _, value in pairs if name in TOLD}


def age(stat: List[str]) -> float:
    """Give the seconds since a process started."""
    up = text("/proc/uptime").split()
    return float(up[0]) - int(stat[STARTED]) / os.sysconf("SC_CLK_TCK") if up else 0.0


def used(pid: int, tid: int) -> float:
    """Give the seconds of processor time that a thread has used."""
    exact = text(f"/proc/{pid}/task/{tid}/schedstat").split()
    if exact:
        return int(exact[0]) / 1e9
    stat = fields(f"/proc/{pid}/task/{tid}/stat")
    return (int(stat[UTIME]) + int(stat[STIME])) / os.sysconf("SC_CLK_TCK") if stat else 0.0


def held(pid: int) -> List[Dict[str, object]]:
    """List open pipes, sockets, and files that are open for writing."""
    found: List[Dict[str, object]] = []
    for number in numbers(f"/proc/{pid}/fd"):
        link = f"/proc/{pid}/fd/{number}"
        where = target(link)
        try:
            # The link's own permissions say what the descriptor is open for.
            writes = bool(os.lstat(link).st_mode & modes.S_IWUSR)
            stream = where.startswith(("pipe:", "socket:")) or (
                where.startswith("/") and modes.S_ISFIFO(os.stat(link).st_mode)
            )
        except OSError:
            continue
        if stream or (writes and where.startswith("/") and not where.startswith("/dev/")):
            found.append({"number": number, "target": where, "writes": writes})
        if len(found) == _FDS:
            break
    return found


def locks(pids: Iterable[int]) -> Dict[int, List[str]]:
    """Name the files whose locks processes wait for, by pid."""
    known = set(pids)
    found: Dict[int, List[str]] = {}
    for line in text("/proc/locks").splitlines():
        words = line.split()
        if words[1:2] != ["->"] or not words[5].isdigit():
            continue
        pid, inode = int(words[5]), words[6].rpartition(":")[2]
        if pid in known and inode.isdigit():
            found.setdefault(pid, []).append(_open_as(pid, int(inode)))
    return found


def _open_as(pid: int, inode: int) -> str:
    for number in numbers(f"/proc/{pid}/fd"):
        link = f"/proc/{pid}/fd/{number}"
        try:
            if os.stat(link).st_ino == inode:
                return target(link)
        except OSError:
            continue
    return f"inode {inode}"


class Waiting:
    """What the threads of one process wait for.

    Args:
        pid: The process.
        machine: What the kernel calls this kind of processor.

    """

    def __init__(self, pid: int, machine: str) -> None:
        self._pid = pid
        self._machine = machine
        self._calls = _CALLS.get(machine, {})

    def of(self, tid: int) -> Optional[Dict[str, object]]:
        """Say what a thread waits for; None if it runs, or nothing is known of it."""
        words = text(f"/proc/{self._pid}/task/{tid}/syscall").split()
        if not words or not words[0].isdigit():
            return None
        kind, call = self._call(tid, int(words[0]))
        given = [int(word, 16) for word in words[1:7]]
        about: Dict[str, object] = {
            "kind": kind.rstrip("*"),
            "call": call,
            "fd": None,
            "target": "",
            "targets": [],
        }
        if call == "epoll":
            about.update(self._opened(self._watched(given[0])))
        elif kind.endswith("*"):
            about.update(self._opened([given[0]]))
        elif call in {"poll", "select"} and not given[0 if call == "select" else 1]:
            # So Python sleeps before 3.11: it waits for none.
            about.update(kind="sleep", call="sleep")
        elif call in {"poll", "select"}:
            about.update(self._opened(self._polled(call, given)))
        else:
            about["target"] = self._named(call, given)
        return about

    def _call(self, tid: int, number: int) -> Tuple[str, str]:
        """Name a call; one that goes on after an interruption is known by where it is."""
        if number == _RESTARTED.get(self._machine):
            where = text(f"/proc/{self._pid}/task/{tid}/wchan")
            for part, found in _RESUMED:
                if part in where:
                    return found
        return self._calls.get(number, ("other", f"call {number}"))

    def _opened(self, fds: List[int]) -> Dict[str, object]:
        """Name the files, pipes or sockets behind file descriptors."""
        targets = [target(f"/proc/{self._pid}/fd/{number}") for number in fds]
        first = {"fd": fds[0], "target": targets[0]} if fds else {}
        return {**first, "targets": targets}

    def _named(self, call: str, given: List[int]) -> str:
        """Name what a call is about that is no file descriptor."""
        if call == "wait4":
            pid = struct.unpack("=i", struct.pack("=I", given[0] & 0xFFFFFFFF))[0]
            return str(pid) if pid > 0 else ""
        if call == "waitid":
            return str(given[1]) if given[0] == _BY_PID else ""
        if call == "open":
            return self._memory(given[1], 4096).split(b"\0")[0].decode(errors="replace")
        if call == "futex" and not given[1] & _PRIVATE:
            # So C joins a thread: its number stands there until it has ended.
            if given[2] in numbers(f"/proc/{self._pid}/task"):
                return f"thread:{given[2]}"
            return self._mapped(given[0])
        return ""

    def _polled(self, call: str, given: List[int]) -> List[int]:
        """List what ``poll`` or ``select`` was asked to wait for."""
        if call == "poll":
            count = min(given[1], _AT_ONCE)
            data = self._memory(given[0], 8 * count)
            whole = len(data) // 8 * 8
            return [fd for fd, _, _ in struct.iter_unpack("=ihh", data[:whole]) if fd >= 0]
        most = min(given[0], 1024)
        found = set()
        for pointer in given[1:4]:
            bits = int.from_bytes(self._memory(pointer, (most + 7) // 8), "little")
            found |= {number for number in range(most) if bits >> number & 1}
        return sorted(found)[:_AT_ONCE]

    def _watched(self, number: int) -> List[int]:
        """List what an epoll descriptor watches."""
        lines = text(f"/proc/{self._pid}/fdinfo/{number}").splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith("tfd:")]
        return found[:_AT_ONCE]

    def _memory(self, pointer: int, size: int) -> bytes:
        if not pointer or size <= 0:
            return b""
        try:
            with open(f"/proc/{self._pid}/mem", "rb", buffering=0) as file:
                file.seek(pointer)
                return file.read(size) or b""
        except (OSError, OverflowError, ValueError):
            return b""

    def _mapped(self, pointer: int) -> str:
        """Name the file that is mapped at an address, as a semaphore is that processes share."""
        for line in text(f"/proc/{self._pid}/maps").splitlines():
            span, *_, file = [*line.split(" ", 5), ""][:6]
            first, _, last = span.partition("-")
            if int(first, 16) <= pointer < int(last, 16):
                return file.strip()
        return ""
