"""A connection to the hub of somebody who belongs to its stack: whether it lives, how much it says.

Apart from the hub's routing; see ``hub``.
"""

import asyncio
import contextlib
import time
from typing import Iterator

from metta_sandbox.node.agent.hub.outlet import Outlet
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.messages import Sign

#: Bytes a second that one may say for long, and at once. Beyond that it is heard more slowly.
RATE, BURST = float(32 << 20), float(128 << 20)
#: Complaints that are written at once, and for long in a second.
_COMPLAINTS, _A_SECOND = 20.0, 0.2
_LOOK = 0.1
_PING: Sign = {"type": "ping"}


class Bucket:
    """Says how much of something there may be, at once and for long.

    Args:
        rate: So much a second.
        burst: So much at once.

    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._filled = time.monotonic()

    def take(self, amount: float) -> float:
        """Take some, and say in how many seconds there will be as much again as was taken."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._filled) * self._rate)
        self._filled = now
        self._left -= amount
        return max(0.0, -self._left / self._rate)


class Complaints:
    """Lets through so many complaints as somebody can read, and counts the others."""

    def __init__(self) -> None:
        self._bucket = Bucket(_A_SECOND, _COMPLAINTS)
        self._untold = 0

    def take(self, reason: str) -> str:
        """Give the text of a complaint, or nothing if there were too many."""
        if self._bucket.take(1.0) > 0:
            self._bucket.take(-1.0)
            self._untold += 1
            return ""
        more = f" (and {self._untold} more before)" if self._untold else ""
        self._untold = 0
        return ascii(reason)[1:-1][:300] + more


class Connection:
    """A connection of an agent or of the harness.

    Args:
        outlet: Its outgoing half.

    """

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        #: As whom it came in.
        self.name = ""
        #: Seconds for which it was asked for a sign of life and gave none.
        self.silent = 0.0
        self._stirred = asyncio.Event()
        self._bucket = Bucket(RATE, BURST)
        self._waits = False
        self._gone = False

    def hear(self) -> None:
        """Note that a message came, which is a sign of life."""
        self.silent = 0.0
        self._stirred.set()

    def ask(self, seconds: float) -> None:
        """Ask for a sign of life, so many seconds after the last time."""
        if self._waits:
            # It may have said a lot: it is not listened to.
            self.silent = 0.0
            return
        self.silent += seconds
        if not self.outlet.full:
            self.outlet.send(_PING)

    @contextlib.contextmanager
    def kept_waiting(self) -> Iterator[None]:
        """Do not count silence while the hub itself reads nothing from this connection."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    async def slow_down(self, length: int) -> None:
        """Read no more from this connection for a while if it sends more bytes than it may."""
        seconds = self._bucket.take(length)
        if seconds:
            with self.kept_waiting():
                await asyncio.sleep(seconds)

    async def answers(self, patience: float) -> bool:
        """Ask for a sign of life, and tell whether one came before it left or time was up."""
        self._stirred.clear()
        self.outlet.send(_PING)
        left = slowed(patience)
        while left > 0 and not self._stirred.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), _LOOK)
            left -= 0 if self._waits else _LOOK
        return self._stirred.is_set() and not self._gone

    def leave(self) -> None:
        """Close the connection."""
        self._gone = True
        self._stirred.set()
        self.outlet.close()
