"""A node's rollout as a fork of a template, and the process that stands for it with the agent.

The agent starts and awaits the one that stands for it, and signals the fork. A rollout imports
torch as trainers do, so a template that serves both imports it once.
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
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, NoReturn, Optional

from metta_sandbox.node.agent.fork_server.client import send_with_output
from metta_sandbox.node.agent.fork_server.environ_block import with_room
from metta_sandbox.node.agent.fork_server.spawn import (
    BUNDLED,
    programs_of,
    rollout_of,
    start_by_itself,
    template_command,
    templates_of,
)
from metta_sandbox.node.agent.processes import dying_with_this
from metta_sandbox.node.agent.startup_heartbeat import tell_signs_of_life, used_by
from metta_sandbox.node.agent.wire import dial, encode, own_bounds, own_environ, receive_each

if TYPE_CHECKING:
    from metta_sandbox.node.agent.messages import Template

#: Seconds within which a template that was started listens; it imports only then.
_PATIENCE = 20.0
_LOOK = 0.005


class Proxies:
    """Keeps an agent's own template, where there is no other.

    Args:
        events: Path of the agent's socket.

    """

    def __init__(self, events: str) -> None:
        self._events = events
        self._template: Optional["subprocess.Popen[bytes]"] = None

    def standing_for(
        self, command: List[str], environ: Mapping[str, str], wanted: "Template"
    ) -> List[str]:
        """Build what stands for a program, or is the program where no template will fork it.

        Args:
            command: ``python -m MODULE …``.
            environ: Its environment.
            wanted: From which template.

        """
        interpreter = shutil.which(command[0], path=environ.get("PATH"))
        places = templates_of(self._events, environ.get("NODE_INDEX", ""))
        template = next(
            (one for each in places for one in (programs_of(each), each) if _listens(one)), ""
        )
        if interpreter is None or not (template or wanted != "any"):
            return command
        if not template:
            template = places[0]
            with suppress(FileNotFoundError):  # of one that is gone
                os.unlink(template)
            forks = {}
            if wanted == "kept":
                programs = rollout_of(int(environ["NODE_INDEX"]), there=True)
                forks = {"programs": programs, "bundled": BUNDLED}
            start = template_command(interpreter, sys.argv[0], template, own=True, **forks)
            self._start(start, environ)
        own = [sys.executable, "-I", "-S", sys.argv[0], "proxy", f"--template={template}", "--"]
        return [*own, interpreter, *command[1:]]

    def _start(self, command: List[str], environ: Mapping[str, str]) -> None:
        self._template = subprocess.Popen(
            command,
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


def run_proxy(template: str, command: List[str]) -> NoReturn:
    """Have a program forked, and end as it does; or become it.

    Args:
        template: Path of the template's socket.
        command: ``python -m MODULE …``, with the interpreter's whole path.

    """
    _await(template)
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
        channel = dial(template)
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


def _await(template: str) -> None:
    """Wait until a template listens that may have been started just now."""
    deadline = time.monotonic() + _PATIENCE
    while not os.path.exists(template) and time.monotonic() < deadline:
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
        # The template was killed, and the fork ends with it.
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
