"""What is asked of containers in which several scenarios work, and what is read from their logs.

See ``metta_sandbox.node.agent.container_init.init`` for the other side.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from metta_sandbox import removing
from metta_sandbox.node.agent.container_init.residue import PLACES
from metta_sandbox.stack.engines.base import RUN_FOLDER
from metta_sandbox.stack.engines.compose.containers import docker
from metta_sandbox.stack.engines.compose.request import AGENT, HOME, INTERPRETER, PLAIN

#: Containers asked at once: a client mostly waits for its engine.
_AT_ONCE = 4
_PROBLEM = "problem"


def ask_all(requests: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ask the init processes of containers, several at once.

    Args:
        requests: By container.

    Returns:
        By container, the answer; ``problem`` is in it if there is none, or it was refused.

    """

    def ask(name: str) -> dict[str, Any]:
        command = ["exec", "-i", name, INTERPRETER, *PLAIN, AGENT, "turn"]
        said = docker(*command, told=json.dumps(requests[name]) + "\n")
        if said.returncode != 0:
            words = said.stderr.strip().splitlines() or [f"status {said.returncode}"]
            return {_PROBLEM: words[-1]}
        answer: dict[str, Any] = json.loads(said.stdout)
        return answer

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(requests, pool.map(ask, requests), strict=True))


def problems_in(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say who did not do what it was asked, and why."""
    return [f"{name}: {each[_PROBLEM]}" for name, each in answers.items() if _PROBLEM in each]


def left_in(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say, of the answers to the end of a turn, what is not as it was, and where."""
    left = [f"{name}: {each}" for name, one in answers.items() for each in one.get("left", ())]
    return [*problems_in(answers), *left]


def writable_elsewhere(container: str) -> list[str]:
    """List what a container's user can write to where no init looks; it is the image's.

    It has no capabilities: but for what is its own, or is open to all, there is nothing.
    """
    kept = [
        word for each in (*PLACES, HOME, RUN_FOLDER) for word in ("-path", each, "-prune", "-o")
    ]
    own = '-writable -o -uid "$(id -u)"'
    # Of what nodes share, the harness takes care itself; other mounts are other file systems.
    look = f"find / -xdev {' '.join(kept)} -not -type l \\( {own} \\) -print 2>/dev/null; true"
    said = docker("exec", container, "sh", "-c", look)
    if said.returncode != 0:
        return [said.stderr.strip() or "nobody knows what"]
    return said.stdout.splitlines()


def of_turn(log: bytes, mark: str) -> tuple[bytes, bool]:
    """Cut what was said in a turn out of a container's whole log.

    Args:
        log: All that it said, in all of its turns.
        mark: The turn's.

    Returns:
        Its part, and whether that is whole.

    """
    begin, end = (f"[{mark} {word}]\n".encode() for word in ("begins", "is over"))
    _, found, rest = log.rpartition(begin)
    part, over, _ = rest.partition(end)
    return part, bool(found and over)


def lend(own: Path, place: Path) -> None:
    """Let a folder that containers see stand where a scenario has one, with what that holds."""
    own.mkdir(parents=True, exist_ok=True)
    if place.exists():
        _move(place, own)
        place.rmdir()
    place.symlink_to(os.path.relpath(own, place.parent), target_is_directory=True)


def take_back(own: Path, place: Path) -> None:
    """Leave a scenario what is in a folder that was lent to it, and the folder empty."""
    if not place.is_symlink():
        return
    seen = own.stat()
    place.unlink()
    place.mkdir()
    if os.geteuid() == 0:
        os.chown(place, seen.st_uid, seen.st_gid)
    _move(own, place)


def _move(source: Path, target: Path) -> None:
    for each in source.iterdir():
        try:
            each.rename(target / each.name)
        except PermissionError:  # a folder that its owner has locked, and may unlock
            with removing.opened(source) as folder:
                removing.unlock(folder, each.name, each.lstat())
            each.rename(target / each.name)


def look_of(folder: Path) -> tuple[object, ...]:
    """Say what can be changed of a folder without anything in it."""
    seen = folder.stat()
    try:
        attributes = sorted(os.listxattr(folder)) if hasattr(os, "listxattr") else []
    except OSError:  # which not every file system has
        attributes = []
    return seen.st_mode, seen.st_uid, seen.st_gid, attributes, sorted(map(str, folder.iterdir()))
