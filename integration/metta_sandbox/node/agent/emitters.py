"""The local processes whose events arrive over a channel: who they are, and what holds them."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Callable, Deque, Dict, Iterable, List, Tuple

from metta_sandbox.node.agent.events import Record
from metta_sandbox.node.agent.hub.outlet import Outlet
from metta_sandbox.node.agent.messages import ArmSaid, EmitterHello
from metta_sandbox.node.agent.wire import Arm

#: How many events of a process that it has printed are kept while its channel is behind.
_KEPT = 500

Tell = Callable[[Record], None]


@dataclass
class Channel:
    """A process's channel.

    Args:
        pid: The process.
        group: The process group it says it belongs to.
        heard: When it was last heard, by ``time.monotonic``.

    """

    pid: int
    group: str
    heard: float = field(default_factory=time.monotonic)


class Emitters:
    """Every connected emitter of a node."""

    def __init__(self) -> None:
        self._channels: Dict[Outlet, Channel] = {}
        self._last: Dict[int, int] = {}
        self._arms: List[ArmSaid] = []
        # By process: what it has printed and its channel has not brought yet.
        self._printed: Dict[int, Deque[Tuple[Record, Tell]]] = {}
        self._changed = asyncio.Event()

    def enter(self, outlet: Outlet, hello: EmitterHello) -> None:
        """Take in a new emitter, and tell it what is armed."""
        pid = int(hello["pid"])
        self._channels[outlet] = Channel(pid, str(hello.get("who", {}).get("group", "")))
        self._last[pid] = 0
        outlet.send({"type": "arms", "arms": self._arms})

    def leave(self, outlet: Outlet) -> None:
        """Forget an emitter whose connection has ended."""
        channel = self._channels.pop(outlet, None)
        if channel is not None and not self._has_channel(channel.pid):
            for record, tell in self._printed.pop(channel.pid, ()):
                tell(record)
        self._changed.set()

    def note(self, outlet: Outlet, record: Record) -> None:
        """Note that an event came over its channel.

        Raises:
            LookupError: Nobody has entered over that one.
            TypeError: It is no event.

        """
        channel = self._channels[outlet]
        channel.heard = time.monotonic()
        last = self._last[channel.pid] = max(self._last[channel.pid], record["seq"])
        printed = self._printed.get(channel.pid)
        while printed and printed[0][0]["seq"] <= last:
            printed.popleft()
        self._changed.set()

    def holding(self, record: Record, said: Iterable[str]) -> List[str]:
        """Give the arms by which an emitter says it is held, of those that hold such an event."""
        held = set(said)
        arms = map(Arm.from_wire, self._arms)
        return sorted(arm.id for arm in arms if arm.id in held and arm.matches(record))

    def take_printed(self, record: Record, tell: Tell) -> None:
        """Tell of an event that was printed, unless its channel has brought it.

        What a channel may yet bring is kept until that has, or has gone.
        """
        pid = record["pid"]
        if record["seq"] <= self._last.get(pid, 0):
            return
        if self._has_channel(pid):
            self._printed.setdefault(pid, deque(maxlen=_KEPT)).append((record, tell))
        else:
            tell(record)

    def _has_channel(self, pid: int) -> bool:
        return any(channel.pid == pid for channel in self._channels.values())

    def arm(self, arms: List[ArmSaid]) -> None:
        """Replace what is armed, which releases whoever waited for something no longer armed."""
        self._arms = [Arm.from_wire(arm).to_wire() for arm in arms]
        for outlet in self._channels:
            outlet.send({"type": "arms", "arms": self._arms})

    async def end_of(self, mine: Callable[[Channel], bool], patience: float) -> None:
        """Wait until the channels of processes that have died are read to their ends.

        Args:
            mine: Tells their channels.
            patience: Seconds of silence after which one of them counts as somebody else's.

        """
        began = time.monotonic()
        while True:
            heard = [channel.heard for channel in self._channels.values() if mine(channel)]
            left = max([began, *heard]) + patience - time.monotonic()
            if not heard or left <= 0:
                return
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                return
