"""Events out of rollouts and trainers, towards the agent of their node.

An event goes to two places: over a local socket to the agent (named by ``METTA_EVENTS``), and as
one line of JSON to standard output. The agent may *arm* an event: whoever emits a matching one
then waits in ``emit`` until it is released, so that a fault meant for step 20 meets step 20.
"""

import json
import os
import select
import socket
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, TextIO

from metta_sandbox.node.agent.wire import Arm, LineReader, decode, dial, encode, plain

if TYPE_CHECKING:  # only who tells one has to import them
    from metta_sandbox.node.agent.events import KnownEvent

#: Bytes of JSON that one event may have.
LONGEST_EVENT = 1 << 18

#: Environment variables that say who is emitting, and the event field each one fills.
IDENTITY = {
    "METTA_NODE": "node",
    "NODE_INDEX": "node_rank",
    "RANK": "rank",
    "LOCAL_RANK": "local_rank",
    "METTA_TRIAL": "trial",
    "METTA_RUN_ID": "run",
    "METTA_GROUP": "group",
}
_NUMBERS = {"node_rank", "rank", "local_rank", "trial"}
#: Milliseconds between two looks at whether a held event was released meanwhile.
_LOOK = 500


def identity(environ: Mapping[str, str]) -> Dict[str, Any]:
    """Read who an emitter is from its environment; what is not set is left out."""
    found: Dict[str, Any] = {}
    for variable, field in IDENTITY.items():
        value = environ.get(variable)
        if value is not None:
            found[field] = int(value) if field in _NUMBERS and value.isdigit() else value
    if "node_rank" in found:
        # What starts its ranks itself is told of as the rank with its node's number.
        found.setdefault("rank", found["node_rank"])
    if "trial" not in found:
        # Outside a trial METTA_RUN_ID names the sweep, not a run.
        found.pop("run", None)
    return found


_EMITTERS: "weakref.WeakSet[Emitter]" = weakref.WeakSet()


class _Outgoing:
    """Lines to send, and how many of their bytes each call has sent."""

    def __init__(self, line: bytes) -> None:
        self.lines = bytearray(line)
        self._sent: List[int] = []

    def left(self) -> bytes:
        return bytes(self.lines[sum(self._sent) :])

    def send(self, channel: socket.socket, left: bytes, flags: int) -> None:
        # Nothing can be raised between sending and noting how much: both are one call.
        self._sent.extend(map(channel.send, (left,), (flags,)))


class Emitter:
    """Sends the events of one process, in order.

    Threads may share it, and signal handlers may use it. A forked child that goes on using it
    becomes an emitter of its own, over a connection of its own.

    Args:
        who: Fields that every event of this process carries (see ``identity``).
        address: Path of the agent's socket; without one, events only go to ``mirror``.
        mirror: Where each event is repeated as a line of JSON, or None for nowhere.

    """

    def __init__(
        self,
        who: Mapping[str, Any],
        address: Optional[str] = None,
        mirror: Optional[TextIO] = None,
    ) -> None:
        self._who = dict(who)
        self._address = address
        self._mirror = mirror
        self._seq = 0
        # One that a signal handler can take again.
        self._lock = threading.RLock()
        self._arms: List[Arm] = []
        self._socket: Optional[socket.socket] = None
        #: What is being sent, by a call that a signal handler or a fault may interrupt anywhere.
        self._outgoing: Optional[_Outgoing] = None
        self._forked = False
        _EMITTERS.add(self)
        if address:
            self._connect(address)

    @classmethod
    def from_environment(cls, environ: Optional[Mapping[str, str]] = None) -> "Emitter":
        """Make the emitter that this process's environment asks for."""
        environ = os.environ if environ is None else environ
        return cls(identity(environ), environ.get("METTA_EVENTS"), sys.stdout)

    def tell(self, event: "KnownEvent", **more: object) -> None:
        """Send an event of the catalogue as ``emit`` does, and what it says beyond that."""
        self.emit(event.name, **vars(event), **more)

    def emit(self, event: str, **fields: Any) -> None:
        """Send one event, and wait if something holds it; other threads may emit meanwhile.

        Args:
            event: Its name, such as ``train.step``.
            fields: Anything JSON can say. They override the identity's fields of the same name.

        Raises:
            ValueError: The event has more than ``LONGEST_EVENT`` bytes.

        """
        with self._lock:
            if self._forked and self._address:
                self._connect(self._address)
            self._forked = False
            record = {
                "event": event,
                **self._who,
                **fields,
                "pid": os.getpid(),
                "seq": self._seq + 1,
                "mono": time.monotonic(),
                "wall": time.time(),
            }
            text = json.dumps(record, default=plain)
            if len(text) > LONGEST_EVENT:
                raise ValueError(f"event {event!r} has {len(text)} bytes, over {LONGEST_EVENT}")
            self._seq += 1
            self._repeat(text)
            self._drain()
            held = {arm.id for arm in self._arms if arm.matches(record)}
            if not self._send(text, sorted(held)):
                return
        # Without the lock: what strikes in this process meanwhile has something to tell, too.
        while self._socket is not None and any(arm.id in held for arm in self._arms):
            self._await()

    def tell_if_armed(self, event: "KnownEvent") -> None:
        """Send an event of the catalogue, if somebody waits for it; else tell nobody."""
        with self._lock:
            self._drain()
            record = {**self._who, **event.record()}
            armed = any(arm.matches(record) for arm in self._arms)
        if armed:
            self.tell(event)

    def finish(self) -> None:
        """Send what an interrupted call is still to send, as it is never returned to."""
        if self._outgoing is not None:
            self._flush(self._outgoing)

    def close(self) -> None:
        """Close the channel; later events only go to the mirror."""
        channel, self._socket = self._socket, None
        self._arms = []
        if channel is not None:
            channel.close()

    def after_fork(self) -> None:
        """Drop the parent's connection and lock, in a forked child."""
        self._lock = threading.RLock()
        self._forked = self._socket is not None
        self._seq = 0
        self._outgoing = None
        self.close()

    def _repeat(self, text: str) -> None:
        if self._mirror is None:
            return
        try:
            self._mirror.write(text + "\n")
            self._mirror.flush()
        except (OSError, ValueError):
            # A full disk, or a closed output, is the trainer's to meet where it writes itself.
            return

    def _connect(self, address: str) -> None:
        try:
            self._socket = dial(address)
            self._socket.sendall(encode({"type": "hello", "pid": os.getpid(), "who": self._who}))
        except OSError as error:
            self.close()
            sys.stderr.write(f"events: no agent at {address}: {error}\n")
            return
        self._reader = LineReader()
        # The agent answers a hello with what is armed, so nothing can be missed by being early.
        while self._socket is not None and not self._receive(0):
            pass

    def _send(self, text: str, held: List[str]) -> bool:
        """Send an event; False if that is left to the call that a signal handler interrupted."""
        head = json.dumps({"type": "event", "held": held})[:-1]
        line = f'{head}, "record": {text}}}\n'.encode()
        if self._outgoing is not None:
            self._outgoing.lines += line
            return False
        outgoing = _Outgoing(line)
        # What is added just before nothing takes any more is left: so look once more.
        while self._socket is not None and outgoing.left():
            try:
                self._outgoing = outgoing
                self._flush(outgoing)
                self._outgoing = None
            except BaseException:
                # A signal handler's, or a fault's, which may have told something just now, too.
                # Whoever is to end is not kept waiting; half a line is then this channel's last.
                self._outgoing = None
                self._flush(outgoing, socket.MSG_DONTWAIT)
                raise
        return True

    def _flush(self, outgoing: _Outgoing, flags: int = 0) -> None:
        """Send what is left; whatever interrupts this, another call goes on at the same byte."""
        while self._socket is not None and (left := outgoing.left()):
            try:
                outgoing.send(self._socket, left, flags)
            except OSError:
                self.close()

    def _drain(self) -> None:
        """Read what the agent has sent so far of which events are armed."""
        while self._socket is not None and self._receive(socket.MSG_DONTWAIT):
            pass

    def _await(self) -> None:
        """Wait until other events are armed, but no longer than ``_LOOK``.

        A signal handler or a thread that emits meanwhile may have taken the change in, or closed
        the channel.
        """
        channel = self._socket
        place = -1 if channel is None else channel.fileno()
        if place < 0:
            return
        poll = select.poll()
        poll.register(place, select.POLLIN)
        if poll.poll(_LOOK):
            with self._lock:
                self._drain()

    def _receive(self, flags: int) -> bool:
        """Read once from the agent; True if a full message came."""
        assert self._socket is not None
        try:
            data = self._socket.recv(65536, flags)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        messages = [decode(line) for line in self._reader.feed(data)]
        for message in messages:
            if message["type"] == "arms":
                self._arms = [Arm.from_wire(arm) for arm in message["arms"]]
        return bool(messages)


def _after_fork() -> None:
    for emitter in list(_EMITTERS):
        emitter.after_fork()


os.register_at_fork(after_in_child=_after_fork)
