"""Whether the process that a run lives in is still there, as far as that can be proven from here.

What is not seen is no proof: a run in a container (a CI job with the host's engine) has process
numbers of its own, and an engine may serve several machines.
"""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from metta_sandbox.node.agent import kernel

_PROC = Path("/proc")
#: The first namespace of process numbers, from which all others are seen (PROC_PID_INIT_INO).
_FIRST = "4026531836"
#: Where the number of threads stands among ``kernel.fields``.
_THREADS = 17


class OwnerFate(Enum):
    """What became of an owner."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ProcessPlace:
    """Where a process is, so that its number means something.

    Args:
        boot: The boot of the kernel.
        namespace: The namespaces of its process numbers and of its clocks, ``PID.TIME``.
        machine: The machine, whatever the boot.

    """

    boot: str
    namespace: str
    machine: str


def here() -> ProcessPlace:
    """Say where this process is; empty where the system does not tell (macOS)."""
    boot = _PROC / "sys" / "kernel" / "random" / "boot_id"
    return ProcessPlace(
        boot.read_text().strip() if boot.exists() else "",
        _namespace(),
        _machine(),
    )


def _namespace() -> str:
    found = []
    for kind in ("pid", "time"):
        try:
            path = (_PROC / "self" / "ns" / kind).readlink()
        except OSError:  # no Linux, or one without such namespaces
            found.append("")
        else:
            found.append(path.name.partition("[")[2].rstrip("]"))
    return ".".join(found)


def _machine() -> str:
    """Name the machine; its own name is a part of it, as machines are copied with their id."""
    try:
        told = Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""
    return (
        hashlib.sha256(f"{told} {socket.gethostname()}".encode()).hexdigest()[:16] if told else ""
    )


def start_time(pid: str = "self") -> int:
    """Say when a process started, in the kernel's clock ticks since boot; 0: nobody knows."""
    fields = _stat(pid)
    return int(fields[kernel.STARTED]) if fields else 0


def _stat(pid: str) -> list[str]:
    return kernel.fields(f"{_PROC}/{pid}/stat")


def _has_ended(pid: str) -> bool:
    """Tell whether nothing of a process is left but its number, which nobody has asked about."""
    fields = _stat(pid)
    return bool(fields) and fields[kernel.STATE] in "ZX" and int(fields[_THREADS]) <= 1


def fate(place: ProcessPlace, pid: int, started: int) -> tuple[OwnerFate, str]:
    """Find out what became of a process.

    Args:
        place: Where it was.
        pid: Its number there.
        started: When it started, in the kernel's clock ticks since boot.

    Returns:
        Its fate; and if that is not known, why.

    """
    now = here()
    if not (place.boot and pid and started):
        return OwnerFate.UNKNOWN, "it does not tell whose it is"
    if place.boot != now.boot:
        if place.machine and place.machine == now.machine:
            return OwnerFate.GONE, ""
        return OwnerFate.UNKNOWN, "it was made on another machine, or before this one had a name"
    (numbers, _, clock), (own, _, ours) = (each.namespace.partition(".") for each in (place, now))
    if numbers and clock == ours:
        if numbers == own:
            return _seen(pid, started)
        if own == _FIRST:
            return _sought(pid, started)
    return OwnerFate.UNKNOWN, "it was made in another namespace of processes, as in a container"


def _seen(pid: int, started: int) -> tuple[OwnerFate, str]:
    try:
        # Tells of processes that /proc may hide from this user (hidepid), too.
        os.kill(pid, 0)
    except ProcessLookupError:
        return OwnerFate.GONE, ""
    except PermissionError:
        pass
    found = start_time(str(pid))
    if not found:
        return OwnerFate.UNKNOWN, f"process {pid} can't be looked at by this user"
    alive = found == started and not _has_ended(str(pid))
    return (OwnerFate.ALIVE if alive else OwnerFate.GONE), ""


def _sought(pid: int, started: int) -> tuple[OwnerFate, str]:
    """Look for a process of another namespace from where all are seen."""
    if not (_numbers("self") and _stat("1")):
        return OwnerFate.UNKNOWN, "the processes of others are hidden from this user"
    for each in _PROC.iterdir():
        if not each.name.isdigit() or start_time(each.name) != started:
            continue
        # The last of its numbers is the one in its own namespace.
        if str(pid) in _numbers(each.name)[-1:] and not _has_ended(each.name):
            return OwnerFate.ALIVE, ""
    return OwnerFate.GONE, ""


def _numbers(pid: str) -> list[str]:
    """List a process's numbers, in this namespace and in those below it down to its own."""
    try:
        lines = (_PROC / pid / "status").read_text().splitlines()
    except OSError:
        return []
    return next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
