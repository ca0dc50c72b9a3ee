"""What a scenario can leave in a container for the next one: looked for, and removed.

The node's user has no capabilities, so there are few places: some folders, shared objects of the
kernel's, ports, and how other processes of its own are to be run.
"""

import os
import shutil
import stat
from contextlib import suppress
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Tuple

#: Where the node's user may write, beside its home and what nodes share.
PLACES = ("/tmp", "/var/tmp", "/run/lock", "/dev/shm", "/dev/mqueue")  # noqa: S108 - a container's

#: Where the kernel lists System V's shared memory, semaphores and queues; a line each, and a head.
_SHARED = ("shm", "sem", "msg")
_PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
#: The kernel's number of a socket that listens (include/net/tcp_states.h).
_LISTENS = "0A"
#: The field of ``/proc/PID/stat`` after the command's name that says how nice a process is.
_NICE = 16

#: By path, what one sees of a file or folder without opening it.
Facts = Dict[str, Tuple[Any, ...]]


def places(environ: Mapping[str, str]) -> List[str]:
    """List the folders of this container in which its user may leave something."""
    return [each for each in (*PLACES, environ.get("HOME", "")) if os.path.isdir(each)]


def touch(folders: Iterable[str]) -> None:
    """Make a file in each, and remove it, so that an engine counts them as changed from now on."""
    for folder in folders:
        path = os.path.join(folder, f".metta-{os.getpid()}")
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
            os.unlink(path)


def facts(folders: Iterable[str]) -> Facts:
    """Look at all that is in folders, and at themselves."""
    found: Facts = {}
    for folder in folders:
        found[folder] = _facts_of(folder)
        for path, names, files in os.walk(folder):
            for name in (*names, *files):
                each = os.path.join(path, name)
                with suppress(FileNotFoundError):
                    found[each] = _facts_of(each)
    return found


def _facts_of(path: str) -> Tuple[Any, ...]:
    seen = os.lstat(path)
    owned = (seen.st_mode, seen.st_uid, seen.st_gid, _attributes(path))
    # A folder's size and time tell that something was there for a while, and not what.
    if stat.S_ISDIR(seen.st_mode):
        return owned
    return (*owned, seen.st_size, seen.st_mtime_ns, seen.st_ino)


def _attributes(path: str) -> Tuple[str, ...]:
    try:
        return tuple(sorted(os.listxattr(path, follow_symlinks=False)))
    except OSError:  # which not every file system has
        return ()


def clear(folders: Iterable[str], known: Facts, spared: Set[str]) -> None:
    """Remove from folders what was not there before, as far as that can be.

    Args:
        folders: Where.
        known: What was.
        spared: Paths that stay as well.

    """
    for folder in folders:
        for path, names, files in os.walk(folder):
            for name in (*names, *files):
                each = os.path.join(path, name)
                if each not in known and each not in spared:
                    _remove(each)
            names[:] = [name for name in names if os.path.join(path, name) in known]


def _remove(path: str) -> None:
    with suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
            for folder, names, _ in os.walk(path):
                for name in names:
                    each = os.path.join(folder, name)
                    if not os.path.islink(each):
                        os.chmod(each, 0o700)
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def different(known: Facts, found: Facts, spared: Set[str]) -> List[str]:
    """List the paths that are not as they were."""
    paths = {*known, *found} - spared
    return sorted(path for path in paths if known.get(path) != found.get(path))


def shared_objects(folder: str = "/proc/sysvipc") -> List[str]:
    """List the kinds of System V's objects of which there are any."""
    found = []
    for kind in _SHARED:
        with suppress(OSError), open(os.path.join(folder, kind)) as file:
            if len(file.readlines()) > 1:
                found.append(kind)
    return found


def open_ports(folder: str = "/proc/net") -> Set[Tuple[str, int]]:
    """List protocols and ports that are taken, on which somebody else could not listen now.

    Of those that the kernel gives to whoever asks for any port, only such as are listened on.
    """
    lowest = _lowest_of_any()
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for fields in _lines(os.path.join(folder, protocol)):
            port = int(fields[1].rpartition(":")[2], 16)
            if fields[3] == _LISTENS or protocol.startswith("udp") or 0 < port < lowest:
                found.add((protocol, port))
    return found


def _lowest_of_any() -> int:
    try:
        with open(_PORT_RANGE) as file:
            return int(file.read().split()[0])
    except OSError:
        return 1 << 16


def _lines(path: str) -> List[List[str]]:
    try:
        with open(path) as file:
            return [line.split() for line in file.readlines()[1:]]
    except OSError:
        return []


def manners(pid: int) -> Optional[Tuple[str, ...]]:
    """Say how a process is run: limits, cores, niceness; all that its user can change from outside.

    None if it is gone.
    """
    here = f"/proc/{pid}"
    try:
        with open(f"{here}/limits") as limits, open(f"{here}/oom_score_adj") as score:
            said = (limits.read(), score.read())
        with open(f"{here}/status") as status:
            cores = [line for line in status if line.startswith("Cpus_allowed:")]
        with open(f"{here}/stat", "rb") as stats:
            nice = stats.read().rpartition(b")")[2].split()[_NICE].decode()
    except OSError:
        return None
    return (*said, *cores, nice)
