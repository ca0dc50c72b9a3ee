"""A connection's outgoing half, shared by several tasks and bounded in memory."""

import asyncio
import contextlib

from metta_sandbox.node.agent.messages import Message, OfAgent
from metta_sandbox.node.agent.wire import LONGEST_LINE, encode

#: Bytes that wait for a peer that reads slowly, before its senders must wait too.
FULL = 1 << 20
#: Bytes of a message to a hub, which adds a little to it.
LONGEST = LONGEST_LINE - 1024


class Outlet:
    """What goes out over a connection, in the order it was given.

    Args:
        writer: The connection's.

    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        writer.transport.set_write_buffer_limits(FULL)
        # Before Python 3.12, two tasks that await one writer's drain end in an AssertionError.
        self._lock = asyncio.Lock()

    @property
    def full(self) -> bool:
        """Whether the peer reads so slowly that optional messages should not be sent."""
        return self._writer.transport.get_write_buffer_size() >= FULL

    def send(self, message: Message) -> None:
        """Send a message, without waiting. What is sent to a peer that has gone is lost."""
        self.send_line(encode(message))

    def report(self, message: OfAgent) -> None:
        """Send the hub a message about what others said, without waiting.

        Raises:
            ValueError: It is longer than a message may be.

        """
        line = encode(message)
        if len(line) > LONGEST:
            raise ValueError(f"{len(line)} bytes are more than a message may have")
        self.send_line(line)

    def send_line(self, line: bytes) -> None:
        """Send a message that is encoded already."""
        if not self._writer.is_closing():
            self._writer.write(line)

    async def room(self) -> None:
        """Wait until the peer has taken in enough for more to be sent, or has gone."""
        async with self._lock:
            with contextlib.suppress(ConnectionError):
                await self._writer.drain()

    def close(self) -> None:
        """Close the connection once all is sent."""
        self._writer.close()

    async def finish(self, patience: float) -> None:
        """Close the connection and wait until all is sent, for ``patience`` seconds at most."""
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), patience)
