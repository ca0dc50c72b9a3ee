"""The harness's one connection to a stack: requests to agents, and what they report."""

from __future__ import annotations

import itertools
import queue
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.node.agent.wire import LineReader, decode, encode

Message = dict[str, Any]


class HubLink:
    """Talks to the hub through a relay process, over its standard input and output.

    Args:
        command: Starts the relay, for instance ``docker exec -i … relay``.

    """

    def __init__(self, command: Sequence[str]) -> None:
        # In a session of its own, so that Ctrl-C at the terminal does not cut the line under us.
        self._relay = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._replies: dict[int, queue.Queue[Message]] = {}
        self._messages: queue.Queue[Message] = queue.Queue(maxsize=100_000)
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def receive(self, timeout: float) -> Message | None:
        """Return the next message of a node, or None when none came for ``timeout`` seconds.

        The message has a ``type``: ``registered``, ``lost``, ``event``, ``lines``, ``exit``,
        ``rank-started``, ``rank-exited``; or ``gone`` when the hub is no longer there.
        """
        try:
            return self._messages.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None

    def ask(self, node: str, verb: str, **args: Any) -> queue.Queue[Message]:
        """Send a request to a node; its reply arrives in the queue returned."""
        number = next(self._ids)
        reply: queue.Queue[Message] = queue.Queue()
        self._replies[number] = reply
        message = {"type": "request", "id": number, "to": node, "verb": verb, "args": args}
        assert self._relay.stdin is not None
        try:
            with self._lock:
                self._relay.stdin.write(encode(message))
                self._relay.stdin.flush()
        except OSError as error:
            raise StackError(f"the connection to the stack is gone: {error}") from None
        return reply

    def request(self, node: str, verb: str, *, patience: float = 30.0, **args: Any) -> Any:
        """Send a request to a node and wait for its result.

        Raises:
            StackError: It was refused, or no answer came within ``patience`` seconds.

        """
        return self.result(self.ask(node, verb, **args), node, verb, patience)

    def result(self, reply: queue.Queue[Message], node: str, verb: str, patience: float) -> Any:
        """Wait for the answer to ``ask``.

        Raises:
            StackError: It was refused, or no answer came within ``patience`` seconds.

        """
        try:
            answer = reply.get(timeout=patience)
        except queue.Empty:
            raise StackError(f"{node} did not answer {verb!r} within {patience:g} s") from None
        if not answer["ok"]:
            raise StackError(f"{node} refused {verb!r}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Leave. The agents of a run then end what they started, and themselves."""
        self._closing.set()
        assert self._relay.stdin is not None
        try:
            self._relay.stdin.close()
            self._relay.wait(timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            self._relay.kill()
            self._relay.wait()
        self._reader.join(timeout=5)
        for pipe in (self._relay.stdout, self._relay.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._relay.stdout is not None
        reader = LineReader()
        while data := self._relay.stdout.read1(65536):  # type: ignore[attr-defined]
            for line in reader.feed(data):
                self._take(decode(line))
        gone = {"ok": False, "error": "the connection to the stack is gone"}
        for reply in list(self._replies.values()):
            reply.put(gone)
        self._put({"type": "gone", "reason": self._last_words()})

    def _take(self, message: Message) -> None:
        if message["type"] == "reply":
            reply = self._replies.pop(message["id"], None)
            if reply is not None:
                reply.put(message)
        else:
            self._put(message)

    def _put(self, message: Message) -> None:
        # A slow harness must slow the stack's reports, not grow; a closing one takes no more.
        while not self._closing.is_set():
            try:
                self._messages.put(message, timeout=0.5)
            except queue.Full:
                continue
            return

    def _last_words(self) -> str:
        assert self._relay.stderr is not None
        if self._closing.is_set():
            return "closed"
        return self._relay.stderr.read(4096).decode(errors="replace").strip()
