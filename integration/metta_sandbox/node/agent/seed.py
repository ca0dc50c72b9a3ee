"""A process that has imported torch once for all scenarios of a run, and forks warm servers.

Each node of each scenario has a warm server of its own, which is forked from here (see ``warm``).
Nothing of a scenario ever runs here: a request brings environment, folder and output, and all that
follows happens in the fork. So what a scenario does to its processes, the next can't see.

A server that is forked must be what one that is started would be. What modules remember of the
folder in which they were imported is put right in the fork; if that can't be done, or something
else is in the way, nobody is served, and servers are started.
"""

import gc
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, Dict, List, NoReturn, Set

from metta_sandbox.node.agent.environ_block import write as let_others_see
from metta_sandbox.node.agent.processes import adopt_orphans, children, dying_with_this, kill_all
from metta_sandbox.node.agent.remembered import Place, places
from metta_sandbox.node.agent.warm import (
    STREAMS,
    import_all,
    listen,
    receive,
    serve_when_imported,
    step_aside,
    unforkable,
)
from metta_sandbox.node.agent.wire import encode

#: By these a process is found as its stack's, its node's and its group's.
MARKS = ("METTA_STACK", "METTA_GROUP", "METTA_EVENTS", "METTA_NODE")


def serve(address: str, wanted: List[str]) -> NoReturn:
    """Import, then fork a warm server for each request, until killed.

    Where its home is the one it is started in, that is a folder of its own, and forks have theirs.
    Else it stands where its forks do, and they have its folders.

    Args:
        address: Path of the socket to listen on.
        wanted: Modules that are imported if they are there.

    """
    adopt_orphans()
    told, cwd = dict(os.environ), os.getcwd()
    home = told["HOME"]
    listener = listen(address)
    kept = step_aside()
    refusal = import_all([], wanted) or unforkable()
    gc.collect()
    found, fixed = places(home) if cwd == home else ([], [])
    if fixed and not refusal:
        refusal = f"imports remember where they ran: {', '.join(sorted(set(fixed)))}"
    gc.freeze()
    seed = _Seed(listener, home, found, kept)
    seed.run({"refusal": refusal, "interpreter": sys.executable, "environ": told, "cwd": cwd})


class _Seed:
    """Forks servers, and ends what they leave behind."""

    def __init__(
        self, listener: socket.socket, home: str, found: List[Place], kept: List[Any]
    ) -> None:
        self._listener = listener
        self._home = home
        self._places = found
        # Our own modules, in which this runs, though nobody may find them.
        self._kept = kept
        self._servers: Set[int] = set()

    def run(self, answer: Dict[str, Any]) -> NoReturn:
        """Answer, for ever."""
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake:
                    with suppress(BlockingIOError):
                        wake.recv(4096)
                    self._reap()
                else:
                    caller, _ = self._listener.accept()
                    with caller:
                        self._take(caller, answer, [wake, woken])

    def _reap(self) -> None:
        """Take note of who has ended, and kill what a server that was killed left to us."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            self._servers.discard(pid)
        kill_all(lambda: [pid for pid in children() if pid not in self._servers])

    def _take(
        self, caller: socket.socket, answer: Dict[str, Any], ours: List[socket.socket]
    ) -> None:
        try:
            request, streams = receive(caller)
            if request is None:
                return
            if request["type"] == "ready":
                caller.sendall(encode(answer))
            elif len(streams) == STREAMS:
                with_this = dying_with_this()
                pid = os.fork()
                if pid:
                    self._servers.add(pid)
                else:
                    with_this()
                    signal.set_wakeup_fd(-1)
                    for one in (self._listener, *ours):
                        one.close()
                    self._become_server(caller, request, streams)
            for stream in streams:
                os.close(stream)
        except (OSError, LookupError, ValueError) as error:
            sys.stderr.write(f"seed: {type(error).__name__}: {error}\n")

    def _become_server(
        self, caller: socket.socket, request: Dict[str, Any], streams: List[int]
    ) -> NoReturn:
        """Go on, in a fork, as the warm server of one node."""
        try:
            os.setsid()
            for number, stream in enumerate(streams, 1):
                os.dup2(stream, number)
                os.close(stream)
            environ = request["env"]
            os.environ.clear()
            os.environ.update(environ)
            let_others_see(environ, MARKS)
            sys.executable = request["interpreter"]
            os.chdir(request["cwd"])
            for text, put in self._places:
                put(text.replace(self._home, environ["HOME"]))
            self._places.clear()
            # What its ranks leave behind becomes its child, and ends with it.
            adopt_orphans()
            listener = listen(request["listen"])
            caller.sendall(encode({"type": "listening"}))
            serve_when_imported(listener, request["preload"], [], self._kept, caller)
        except BaseException as error:  # noqa: BLE001 - it must never return into the seed
            os.write(2, f"warm: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)
