"""A process's connection to the agent of its node: start, signal and wait for groups."""

import itertools
import queue
import socket
import threading
import time
from typing import Any, Dict, List, Mapping, Optional

from metta_sandbox.node.agent.wire import LineReader, decode, encode


class AgentError(Exception):
    """The agent refused a request, or is gone."""


class AgentClient:
    """Asks the agent for things, and receives what happens to the groups it started.

    Args:
        address: Path of the agent's socket.

    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(address)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._replies: Dict[int, "queue.Queue[Dict[str, Any]]"] = {}
        self._groups: Dict[str, "queue.Queue[Dict[str, Any]]"] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def request(self, verb: str, **args: Any) -> Any:
        """Ask, and wait for the answer.

        Raises:
            AgentError: It was refused, or the agent is gone.

        """
        number = next(self._ids)
        reply: "queue.Queue[Dict[str, Any]]" = queue.Queue()
        self._replies[number] = reply
        with self._lock:
            self._socket.sendall(
                encode({"type": "request", "id": number, "verb": verb, "args": args})
            )
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
        self._groups[group] = queue.Queue()
        self.request("start", group=group, command=command, env=dict(env), cwd=cwd, log=log)

    def next(self, group: str, deadline: Optional[float] = None) -> Optional[Dict[str, Any]]:
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
            raise AgentError("the agent is gone")
        return message

    def close(self) -> None:
        """Leave; the agent then stops the groups this client started."""
        self._socket.close()

    def _read(self) -> None:
        reader = LineReader()
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            for line in reader.feed(data):
                self._take(decode(line))
        for reply in list(self._replies.values()):
            reply.put({"ok": False, "error": "the agent is gone"})
        for group in list(self._groups.values()):
            group.put({"type": "gone"})

    def _take(self, message: Dict[str, Any]) -> None:
        if message["type"] == "reply":
            self._replies.pop(message["id"]).put(message)
            return
        name = message["record"].get("group") if message["type"] == "event" else message["group"]
        if name in self._groups:
            self._groups[name].put(message)
