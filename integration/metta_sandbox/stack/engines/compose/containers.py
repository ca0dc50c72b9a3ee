"""What is asked of an engine about many containers: one call, or several at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from python_on_whales.exceptions import DockerException

from metta_sandbox.stack.engines.compose.engine_socket import copy_log, find_socket

#: Logs fetched at once: a client mostly waits for its engine.
_AT_ONCE = 4
#: How many of an engine's complaints are told.
_COMPLAINTS = 4
_LAST_LINES = 20
_UNKNOWN = "No such container"
_LOOK = "{{.Name}} {{json .State}}"


@dataclass(frozen=True)
class ContainerState:
    """How a container is.

    Args:
        ended: Whether it was started, and runs no longer.
        exit_code: Its first process's exit status, if it has ended.
        out_of_memory: Whether that was killed for having used too much memory.
        problem: Why all that can't be said; mostly empty.

    """

    ended: bool = False
    exit_code: int = 0
    out_of_memory: bool = False
    problem: str = ""


def complaint(error: DockerException) -> str:
    """Keep the end of what the engine's client said, where the cause stands."""
    said = (error.stderr or error.stdout or str(error)).strip().splitlines()
    return "\n".join(said[-_LAST_LINES:])


def docker(*words: str, told: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of the engine's client to its end, and keep all that it says.

    Args:
        words: The command, without ``docker``.
        told: Its standard input; None for this process's own.

    """
    return subprocess.run(
        ["docker", *words],
        input=told,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def states(names: Iterable[str]) -> dict[str, ContainerState]:
    """Look at containers, in one call; return each one's state, by name."""
    wanted = list(names)
    said = docker("container", "inspect", "--format", _LOOK, *wanted)
    return read_states(wanted, said.stdout, said.stderr)


def read_states(names: Iterable[str], out: str, complaints: str) -> dict[str, ContainerState]:
    """Read what the engine's client says of containers, and of those it does not find."""
    found = {}
    for line in out.splitlines():
        name, _, text = line.strip().partition(" ")
        if text:
            found[name.removeprefix("/")] = _state(json.loads(text))
    return {name: found.get(name) or _missing(name, complaints.splitlines()) for name in names}


def _state(said: Mapping[str, object]) -> ContainerState:
    return ContainerState(
        ended=not said["Running"] and said["Status"] != "created",
        exit_code=int(str(said["ExitCode"])),
        out_of_memory=bool(said["OOMKilled"]),
    )


def _missing(name: str, complaints: Sequence[str]) -> ContainerState:
    own = [line for line in complaints if line.endswith(f" {name}")]
    if own:
        return ContainerState(problem=f"is no longer there: {own[0].strip()}")
    said = complaints[-1].strip() if complaints else "its engine says nothing of it"
    return ContainerState(problem=f"can't be reached: {said}")


def stop(names: Iterable[str], patience: int) -> str:
    """Have containers end, and wait until all have; one that is not there has.

    Args:
        names: The containers'.
        patience: Seconds after which one that has not ended is killed.

    Returns:
        What the engine, or its client in its place, had to complain of; mostly empty.

    """
    said = docker("container", "stop", "-t", str(patience), *names)
    complaints = [line for line in said.stderr.splitlines() if _UNKNOWN not in line]
    return "\n".join(complaints[-_COMPLAINTS:]) if said.returncode else ""


def tail(name: str, lines: int) -> list[str]:
    """Return the last lines of a container's log; none if it can't be had."""
    said = subprocess.run(
        ["docker", "container", "logs", f"--tail={lines}", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return said.stdout.splitlines() if said.returncode == 0 else []


def write_logs(logs: Mapping[str, Path]) -> None:
    """Write the whole logs of containers into files, byte by byte, several at once.

    Of one that can't be had the file says why, after as much of it as came.

    Args:
        logs: Each container's file.

    """
    for path in logs.values():
        path.parent.mkdir(exist_ok=True)
    engine = find_socket()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(partial(_write_log, engine), logs, logs.values()):
            pass


def _write_log(engine: Path | None, name: str, path: Path) -> None:
    if engine is not None:
        with path.open("wb") as file:
            if copy_log(engine, name, file):
                return
    _write_log_by_client(name, path)


def _write_log_by_client(name: str, path: Path) -> None:
    with path.open("wb") as file:
        # Both streams into one file, in which lines keep the order that the engine has them in.
        done = subprocess.run(
            ["docker", "container", "logs", name],
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode == 0:
        return
    said = path.read_bytes().decode(errors="replace").splitlines()
    reason = said.pop() if said else f"the engine's client ended with status {done.returncode}"
    path.write_text("".join(f"{line}\n" for line in said) + f"[no log: {reason}]\n")
