"""Asks ranks which collectives they have entered; see ``flight``."""

import json
import selectors
import socket
import time
from contextlib import ExitStack, suppress
from typing import Any, Dict, Iterable

from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.recorder.flight import address

#: Seconds within which ranks must have told, from when all stacks were read: one whose lock is held
#: never does.
_TELLING = 1.0


def ask(pids: Iterable[int]) -> Dict[int, socket.socket]:
    """Ask processes for their collectives; returns the sockets of those that can answer, by pid."""
    asked = {}
    for pid in pids:
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        asking.setblocking(False)
        try:
            asking.connect(address(pid))
        except OSError:
            asking.close()
        else:
            asked[pid] = asking
    return asked


def answers(asked: Dict[int, socket.socket]) -> Dict[int, Any]:
    """Read the answers that come in time, by pid."""
    told = dict.fromkeys(asked, b"")
    over: Dict[int, Any] = {}
    deadline = time.monotonic() + slowed(_TELLING)
    with ExitStack() as opened:
        waiting = opened.enter_context(selectors.DefaultSelector())
        for pid, asking in asked.items():
            waiting.register(opened.enter_context(asking), selectors.EVENT_READ, pid)
        while waiting.get_map() and time.monotonic() < deadline:
            for key, _ in waiting.select(max(0.0, deadline - time.monotonic())):
                data = _take(key.fileobj)
                told[key.data] += data
                if not data:
                    waiting.unregister(key.fileobj)
                    with suppress(ValueError):
                        over[key.data] = json.loads(told[key.data] or b"null")
    return {pid: said for pid, said in over.items() if said}


def _take(asking: Any) -> bytes:
    """Read what has come so far; empty at the end of the answer."""
    with suppress(OSError):
        return bytes(asking.recv(1 << 20))
    return b""
