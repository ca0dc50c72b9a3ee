"""Events out of rollouts and trainers, towards the agent of their node.

An event goes to two places: over a local socket to the agent (named by ``METTA_EVENTS``), and as
one line of JSON to standard output. The agent may *arm* an event: whoever emits a matching one
then waits in ``emit`` until it is released, so that a fault meant for step 20 meets step 20.
"""

import json
import os
import socket
import sys
import threading
import time
from typing import Any, Dict, List, Mapping, Optional, TextIO

from metta_sandbox.node.agent.wire import Arm, LineReader, decode, encode

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


def identity(environ: Mapping[str, str]) -> Dict[str, Any]:
    """Read who an emitter is from its environment; what is not set is left out."""
    found: Dict[str, Any] = {}
    for variable, field in IDENTITY.items():
        value = environ.get(variable)
        if value is not None:
            found[field] = int(value) if field in _NUMBERS and value.isdigit() else value
    if "trial" not in found:
        # Outside a trial METTA_RUN_ID names the sweep, not a run.
        found.pop("run", None)
    return found


class Emitter:
    """Sends the events of one process, in order.

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
        self._mirror = mirror
        self._seq = 0
        self._lock = threading.Lock()
        self._arms: List[Arm] = []
        self._socket: Optional[socket.socket] = None
        if address:
            self._connect(address)

    @classmethod
    def from_environment(cls, environ: Optional[Mapping[str, str]] = None) -> "Emitter":
        """Make the emitter that this process's environment asks for."""
        environ = os.environ if environ is None else environ
        return cls(identity(environ), environ.get("METTA_EVENTS"), sys.stdout)

    def emit(self, event: str, **fields: Any) -> None:
        """Send one event, and wait if something holds it.

        Args:
            event: Its name, such as ``train.step``.
            fields: Anything JSON can say. They override the identity's fields of the same name.

        """
        with self._lock:
            self._seq += 1
            record = {
                "event": event,
                **self._who,
                **fields,
                "pid": os.getpid(),
                "seq": self._seq,
                "mono": time.monotonic(),
                "wall": time.time(),
            }
            self._repeat(record)
            if self._socket is not None:
                self._send(record)

    def close(self) -> None:
        """Close the channel; later events only go to the mirror."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _repeat(self, record: Dict[str, Any]) -> None:
        if self._mirror is not None:
            self._mirror.write(json.dumps(record, default=str) + "\n")
            self._mirror.flush()

    def _connect(self, address: str) -> None:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.connect(address)
            channel.sendall(encode({"type": "hello", "pid": os.getpid(), "who": self._who}))
        except OSError as error:
            channel.close()
            sys.stderr.write(f"events: no agent at {address}: {error}\n")
            return
        self._socket = channel
        self._reader = LineReader()
        # The agent answers a hello with what is armed, so nothing can be missed by being early.
        while self._socket is not None and not self._receive():
            pass

    def _send(self, record: Dict[str, Any]) -> None:
        assert self._socket is not None
        self._drain()
        held = [arm.id for arm in self._arms if arm.matches(record)]
        try:
            self._socket.sendall(encode({"type": "event", "record": record, "held": held}))
        except OSError:
            self.close()
            return
        while held and self._socket is not None:
            self._receive()
            held = [arm_id for arm_id in held if any(arm.id == arm_id for arm in self._arms)]

    def _drain(self) -> None:
        """Take in changes of what is armed, without waiting for any."""
        if self._socket is None:
            return
        self._socket.setblocking(False)
        try:
            while self._receive():
                pass
        finally:
            if self._socket is not None:
                self._socket.setblocking(True)

    def _receive(self) -> bool:
        """Read once from the agent; True if a full message came."""
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
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
