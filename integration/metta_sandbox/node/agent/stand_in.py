"""A node's rollout as a fork of a seed, and the process that stands for it with the agent.

The agent starts and awaits the one that stands for it, and signals the fork. A rollout imports
torch as trainers do, so a seed that serves both imports it once.
"""

import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, List, Mapping, NoReturn, Optional

from metta_sandbox.node.agent.environ_block import with_room
from metta_sandbox.node.agent.processes import dying_with_this
from metta_sandbox.node.agent.signs_of_life import tell_signs_of_life, used_by
from metta_sandbox.node.agent.sprout import (
    dial,
    programs_of,
    seed_command,
    seeds_of,
    start_by_itself,
)
from metta_sandbox.node.agent.warm_client import send_with_output
from metta_sandbox.node.agent.wire import encode, own_bounds, own_environ, receive_each

#: Seconds within which a seed that was started listens; it imports only then.
_PATIENCE = 20.0
_LOOK = 0.005


class Nursery:
    """Keeps an agent's own seed, where there is no other.

    Args:
        events: Path of the agent's socket.

    """

    def __init__(self, events: str) -> None:
        self._events = events
        self._seed: Optional["subprocess.Popen[bytes]"] = None

    def standing_for(
        self, command: List[str], environ: Mapping[str, str], *, grow: bool
    ) -> List[str]:
        """Build what stands for a program, or is the program where no seed will fork it.

        Args:
            command: ``python -m MODULE …``.
            environ: Its environment.
            grow: Whether to start a seed if there is none.

        """
        interpreter = shutil.which(command[0], path=environ.get("PATH"))
        places = seeds_of(self._events, environ.get("NODE_INDEX", ""))
        seed = next(
            (one for each in places for one in (programs_of(each), each) if _listens(one)), ""
        )
        if interpreter is None or not (seed or grow):
            return command
        if not seed:
            seed = places[0]
            with suppress(FileNotFoundError):  # of one that is gone
                os.unlink(seed)
            self._start(interpreter, seed, environ)
        own = [sys.executable, "-I", "-S", sys.argv[0], "stand-in", f"--seed={seed}", "--"]
        return [*own, interpreter, *command[1:]]

    def _start(self, interpreter: str, seed: str, environ: Mapping[str, str]) -> None:
        self._seed = subprocess.Popen(
            seed_command(interpreter, sys.argv[0], seed, own=True),
            # Nobody's group: it stays for the next sweep on a node that stands.
            env=with_room({name: text for name, text in environ.items() if name != "METTA_GROUP"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=dying_with_this(),
        )


def _listens(path: str) -> bool:
    try:
        with dial(path):
            return True
    except OSError:
        return False


def stand_for(seed: str, command: List[str]) -> NoReturn:
    """Have a program forked, and end as it does; or become it.

    Args:
        seed: Path of the seed's socket.
        command: ``python -m MODULE …``, with the interpreter's whole path.

    """
    _await(seed)
    program = {
        "kind": "module",
        "target": command[2],
        "arguments": command[3:],
        "command": command,
        "unbuffered": False,
    }
    request = {
        "type": "run",
        "env": own_environ(),
        "files": own_bounds(),
        "cwd": os.getcwd(),
        "interpreter": command[0],
        "program": program,
    }
    try:
        channel = dial(seed)
        with _showing_life_beyond(channel):
            send_with_output(channel, request)
            # A short program's end may come at once with its beginning.
            told = receive_each(channel)
            answer = next(told)
    except OSError as error:
        start_by_itself(command, f"{type(error).__name__}: {error}")
    if answer["refusal"]:
        start_by_itself(command, answer["refusal"])
    _end_as(_follow(told, answer["pid"]))


def _await(seed: str) -> None:
    """Wait until a seed listens that may have been started just now."""
    deadline = time.monotonic() + _PATIENCE
    while not os.path.exists(seed) and time.monotonic() < deadline:
        time.sleep(_LOOK)


@contextmanager
def _showing_life_beyond(channel: socket.socket) -> Iterator[None]:
    """Print signs of life while whoever is asked still imports."""
    peer = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    over = threading.Event()
    tell_signs_of_life(used=used_by(struct.unpack("3i", peer)[0]), over=over)
    try:
        yield
    finally:
        over.set()


def _follow(told: Iterator[Dict[str, Any]], pid: int) -> int:
    """Tell the agent who is stood for, and wait for its end; returns its exit status."""
    try:
        with dial(os.environ["METTA_EVENTS"]) as agent:
            group = os.environ["METTA_GROUP"]
            agent.sendall(encode({"type": "stands-for", "group": group, "pid": pid}))
        return int(next(told)["status"])
    except OSError:
        # The seed was killed, and the fork ends with it.
        return -signal.SIGKILL


def _end_as(status: int) -> NoReturn:
    """End with an exit status, or by the signal that a negative one stands for."""
    if status < 0:
        # It was not this process that broke.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no other manner
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
