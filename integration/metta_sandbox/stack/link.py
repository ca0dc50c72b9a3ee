"""The harness's one connection to a stack: requests to agents, and what they report."""

from __future__ import annotations

import contextlib
import itertools
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, Any, cast

from typing_extensions import Unpack

from metta_sandbox.errors import StackError
from metta_sandbox.interrupt import heed
from metta_sandbox.node.agent.messages import (
    AgentSign,
    Answer,
    Args,
    Asks,
    HarnessHello,
    Heard,
    Request,
    ToHarness,
    Verb,
)
from metta_sandbox.node.agent.wire import LineReader, decode, encode
from metta_sandbox.stack.heartbeat import HUB, RELAY, Heartbeat

#: The process group that runs the sweep's rollout, or the user's command, on each node.
SWEEP = "sweep"
#: The one that runs a workload's setup, before that.
SETUP = "setup"

#: Bytes of messages kept for a harness that is busy with something else.
_INBOX = 64 << 20
_CHUNK = 65536
#: Seconds between two looks at whether the run was interrupted.
_HEED = 0.2
#: What only shows that somebody lives.
_SIGNS = frozenset(("beat", "ping", "relayed"))

#: What is answered in the name of a node whose agent has left meanwhile.
_GONE = "its agent is gone"


class HubLink:
    """Talks to the hub through a relay process, over its standard input and output.

    Args:
        command: Starts the relay, for instance ``docker exec -i … relay``.
        key: Proves to the hub that this is the harness, where addresses don't.

    """

    def __init__(self, command: Sequence[str], key: str = "") -> None:
        # In a session of its own, so that Ctrl-C at the terminal does not cut the line under us.
        self._relay = subprocess.Popen(
            list(command),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._ids = itertools.count(1)
        self._sending = threading.Lock()
        # Guards all that follows.
        self._changed = threading.Condition()
        self._replies: dict[int, tuple[str, queue.Queue[Answer]]] = {}
        self._messages: deque[tuple[int, Heard]] = deque()
        self._size = 0
        self._closing = False
        self._gone = False
        self._refusal = ""
        self._pulse = Heartbeat()
        # Kept from reading by whoever does not take in what was read.
        self._blocked = False
        hello: HarnessHello = {"type": "harness", "key": key}
        with contextlib.suppress(OSError):  # it has ended, which the reader sees
            self._send(encode(hello))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def receive(self, timeout: float) -> Heard | None:
        """Return the next message, or None when none came for ``timeout`` seconds.

        When the hub is no longer there, that is ``Gone``.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._messages:
                heed()
                self._feel()
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, _HEED))
            if not self._messages:
                return None
            size, message = self._messages.popleft()
            self._size -= size
            self._changed.notify_all()
            return message

    def ask(self, node: str, verb: Verb, **args: Unpack[Args]) -> queue.Queue[Answer]:
        """Send a request to a node; its reply arrives in the queue returned.

        Raises:
            StackError: The connection is gone.

        """
        number = next(self._ids)
        reply: queue.Queue[Answer] = queue.Queue()
        asked: Request = {"type": "request", "id": number, "to": node, "verb": verb, "args": args}
        line = encode(asked)
        with self._changed:
            if self._gone or self._closing:
                raise StackError("the connection to the stack is gone")
            self._replies[number] = node, reply
            # While somebody waits for an answer, what comes before it is taken in.
            self._changed.notify_all()
        try:
            self._send(line)
        except (OSError, ValueError) as error:
            self._forget(reply)
            raise StackError(f"the connection to the stack is gone: {error}") from None
        return reply

    @property
    def request(self) -> Asks:
        """What sends a request to a node and waits for its result, for 30 seconds if not others.

        It raises a StackError if that is refused, or no answer comes in time.
        """
        return self._request

    def _request(
        self, node: str, verb: Verb, *, patience: float = 30.0, **args: Unpack[Args]
    ) -> Any:
        return self.result(self.ask(node, verb, **args), node, verb, patience)

    def result(self, reply: queue.Queue[Answer], node: str, verb: Verb, patience: float) -> Any:
        """Wait for the answer to ``ask``.

        Raises:
            StackError: It was refused, or no answer came within ``patience`` seconds.

        """
        try:
            answer = self._get(reply, patience)
        except queue.Empty:
            self._forget(reply)
            raise StackError(f"{node} did not answer {verb!r} within {patience:g} s") from None
        if answer.get("lost"):
            raise StackError(answer["error"])
        if not answer["ok"] and (answer.get("gone") or answer["error"] == _GONE):
            raise StackError(f"{node} is gone: nothing answers on it any more")
        if not answer["ok"]:
            raise StackError(f"{node} refused {verb!r}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """Close the connection. The agents of a run then end what they started, and themselves."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        try:
            self._pipe(self._relay.stdin).close()
            self._relay.wait(timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            self._relay.kill()
            self._relay.wait()
        self._reader.join(timeout=5)
        for pipe in (self._relay.stdout, self._relay.stderr):
            self._pipe(pipe).close()

    def _get(self, reply: queue.Queue[Answer], patience: float) -> Answer:
        """Wait for an answer, and for Ctrl-C.

        Raises:
            queue.Empty: None came in time.

        """
        deadline = time.monotonic() + patience
        while True:
            heed()
            with self._changed:
                self._feel()
            left = deadline - time.monotonic()
            try:
                return reply.get(timeout=max(0.0, min(left, _HEED)))
            except queue.Empty:
                if left <= _HEED:
                    raise

    def _feel(self) -> None:
        """End a connection of which a part stands still."""
        if not (self._gone or self._closing or self._blocked) and (reason := self._pulse.look()):
            self._lose(reason, still=True)
            # Its other end may be as still; whoever closes it does not wait for that.
            self._relay.kill()

    def _lose(self, reason: str, *, still: bool = False) -> None:
        self._gone = True
        self._fail(None, f"the connection to the stack is gone: {reason}", lost=True)
        self._messages.append((0, {"type": "gone", "reason": reason, "still": still}))
        self._changed.notify_all()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe

    def _send(self, line: bytes) -> None:
        stdin = self._pipe(self._relay.stdin)
        with self._sending:
            while line:
                line = line[stdin.write(line) or 0 :]

    def _forget(self, reply: queue.Queue[Answer]) -> None:
        """Drop a request whose answer nobody waits for any more."""
        with self._changed:
            for number, (_, waiting) in list(self._replies.items()):
                if waiting is reply:
                    del self._replies[number]

    def _read(self) -> None:
        reader = LineReader()
        stdout = self._pipe(self._relay.stdout)
        reason = ""
        try:
            while data := stdout.read(_CHUNK):
                for line in reader.feed(data):
                    self._take(decode(line), len(line))
        except (LookupError, OSError, TypeError, ValueError) as error:
            reason = f"the hub speaks nonsense: {error!r}"
            self._relay.kill()
        reason = reason or self._refusal or self._last_words()
        with self._changed:
            if not self._gone:
                self._lose(reason)

    def _take(self, message: ToHarness, size: int) -> None:
        if message["type"] == "ping":
            pong: AgentSign = {"type": "pong"}
            self._send(encode(pong))
        with self._changed:
            self._pulse.hear(RELAY if message["type"] == "relayed" else HUB)
            if message["type"] in _SIGNS:
                return
            if message["type"] == "reply":
                asked, reply = self._replies.get(message["id"], ("", None))
                # A node answers what it was asked itself.
                if reply is not None and asked == message["node"]:
                    del self._replies[message["id"]]
                    reply.put(message)
                return
            if message["type"] == "refused":
                self._refusal = message["reason"]
                return
            if message["type"] == "lost":
                self._fail(message["node"], _GONE)
            # A slow harness slows the stack's reports, and not grows; a closing one takes no more.
            while self._size > _INBOX and not self._replies and not self._closing:
                self._blocked = True
                self._changed.wait()
            self._blocked = False
            if not self._closing:
                self._messages.append((size, cast("Heard", message)))
                self._size += size
                self._changed.notify_all()

    def _fail(self, node: str | None, error: str, *, lost: bool = False) -> None:
        """Answer with an error what a node, or any node if None, will no longer answer."""
        for number, (asked, reply) in list(self._replies.items()):
            if node is None or node == asked:
                del self._replies[number]
                reply.put({"ok": False, "error": error, "lost": lost})

    def _last_words(self) -> str:
        with contextlib.suppress(ValueError, OSError):
            return self._pipe(self._relay.stderr).read(4096).decode(errors="replace").strip()
        return ""
