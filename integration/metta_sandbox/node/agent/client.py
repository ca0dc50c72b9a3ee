"""A process's connection to the agent of its node: start, signal and wait for groups."""

import contextlib
import itertools
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Union

from metta_sandbox.node.agent.events import Record
from metta_sandbox.node.agent.messages import (
    Answer,
    Args,
    Emitted,
    Exit,
    Gone,
    Request,
    ToProcess,
    Verb,
)
from metta_sandbox.node.agent.wire import LineReader, decode, dial, encode

if TYPE_CHECKING:
    from typing import Unpack

#: What happens to a group: an event, or its end; or nothing in time.
Told = Optional[Union[Emitted, Exit]]

_GONE = "the agent is gone"


class AgentError(Exception):
    """The agent refused a request, or is gone."""


class AgentClient:
    """Asks the agent for things, and receives what happens to the groups it started.

    Args:
        address: Path of the agent's socket.

    Raises:
        AgentError: No agent listens there.

    """

    def __init__(self, address: str) -> None:
        try:
            self._socket = dial(address)
        except OSError as error:
            raise AgentError(f"no agent at {address}: {error}") from None
        self._gone = False
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._replies: Dict[int, "queue.Queue[Answer]"] = {}
        self._groups: Dict[str, "queue.Queue[Union[Emitted, Exit, Gone]]"] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def request(self, verb: Verb, **args: "Unpack[Args]") -> object:
        """Ask, and wait for the answer.

        Raises:
            AgentError: It was refused, or the agent is gone.

        """
        number = next(self._ids)
        reply: "queue.Queue[Answer]" = queue.Queue()
        asked: Request = {"type": "request", "id": number, "verb": verb, "args": args}
        message = encode(asked)
        with self._lock:
            if self._gone:
                raise AgentError(_GONE)
            self._replies[number] = reply
            try:
                self._socket.sendall(message)
            except OSError:
                raise AgentError(_GONE) from None
        answer = reply.get()
        if not answer["ok"]:
            raise AgentError(answer["error"])
        return answer["result"]

    def start(
        self,
        group: str,
        command: List[str],
        env: Mapping[str, str],
        cwd: Optional[str] = None,
        log: Optional[str] = None,
    ) -> None:
        """Start a process group; what happens to it then comes out of ``next``.

        Raises:
            AgentError: It cannot be started.

        """
        with self._lock:
            self._groups[group] = queue.Queue()
        self.request("start", group=group, command=command, env=dict(env), cwd=cwd, log=log)

    def next(self, group: str, deadline: Optional[float] = None) -> Told:
        """Return the next event (``type`` ``event``) or the end (``exit``) of a group.

        Args:
            group: One that this client started.
            deadline: When to give up, by ``time.monotonic``; then None is returned.

        Raises:
            AgentError: The agent is gone.

        """
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            message = self._groups[group].get(timeout=wait)
        except queue.Empty:
            return None
        if message["type"] == "gone":
            self._groups[group].put(message)
            raise AgentError(_GONE)
        return message

    def close(self) -> None:
        """Leave; the agent then stops the groups this client started."""
        # Closing alone would not reach the agent while the reader still waits.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        reader = LineReader()
        try:
            while True:
                data = self._socket.recv(65536)
                if not data:
                    break
                for line in reader.feed(data):
                    self._take(decode(line))
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._gone = True
                for reply in self._replies.values():
                    reply.put({"ok": False, "error": _GONE})
                for group in self._groups.values():
                    group.put({"type": "gone", "reason": _GONE, "still": False})

    def _take(self, message: ToProcess) -> None:
        if message["type"] == "reply":
            reply = self._replies.pop(message["id"], None)
            if reply is not None:
                reply.put(message)
        elif message["type"] == "event" or message["type"] == "exit":
            told: Record = message["record"] if message["type"] == "event" else {**message}
            name = told.get("group", "")
            if name in self._groups:
                self._groups[name].put(message)
