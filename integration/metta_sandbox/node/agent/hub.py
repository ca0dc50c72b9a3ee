"""The hub: agents dial in to it, and the harness holds one connection to it.

It routes and keeps no state beyond who is there. Messages of agents go to the harness, stamped
with their node; messages of the harness go to the node named in ``to``, or to all without one.
When the harness leaves, every agent is told so, and the hub of a run ends itself.

What agents say before the first harness has come is kept for it. What they say after one has left
belongs to nobody, until they have stopped what that one started.
"""

import asyncio
import contextlib
import signal
from typing import Any, Dict, List, Optional, Set

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.outlet import Outlet
from metta_sandbox.node.agent.streams import listen
from metta_sandbox.node.agent.wire import decode, encode

#: Bytes kept for a first harness; then agents wait for it.
BACKLOG = 1 << 24

Message = Dict[str, Any]


class Hub:
    """Routes messages between the agents of a stack and its harness.

    Args:
        standing: Stay when the harness leaves; otherwise end.
        patience: Seconds to wait for a first harness before ending (not when standing).

    """

    def __init__(self, *, standing: bool = False, patience: float = 120.0) -> None:
        self._standing = standing
        self._patience = patience
        self._agents: Dict[str, Outlet] = {}
        self._registrations: Dict[str, Message] = {}
        # Nodes that still stop what a harness has left behind.
        self._busy: Set[str] = set()
        self._harness: Optional[Outlet] = None
        self._backlog: List[bytes] = []
        self._kept = 0

    async def serve(self, address: Address) -> None:
        """Listen until the harness of a run has left (for ever when standing)."""
        loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._began = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        server = await listen(address, self._connected)
        giving_up = loop.call_later(self._patience, self._give_up)
        await self._over.wait()
        giving_up.cancel()
        # Not `async with server`: since Python 3.12 that waits for every connection's end.
        server.close()
        for agent in self._agents.values():
            agent.close()

    def _give_up(self) -> None:
        if self._harness is None and not self._standing:
            self._over.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        outlet = Outlet(writer)
        # asyncio complains about connections that are still served when the program ends.
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, LookupError, ValueError):
            hello = decode(await reader.readline())
            if hello["type"] == "harness":
                await self._serve_harness(reader, outlet)
            elif hello["type"] == "nodes":
                outlet.send({"type": "nodes", "nodes": sorted(self._agents)})
            else:
                await self._serve_agent(hello, reader, outlet)
        outlet.close()

    async def _serve_harness(self, reader: asyncio.StreamReader, outlet: Outlet) -> None:
        if self._harness is not None:
            outlet.send({"type": "refused", "reason": "another harness is connected"})
            return
        self._harness = outlet
        if self._began.is_set():
            for registration in self._registrations.values():
                outlet.send(registration)
        for line in self._backlog:
            outlet.send_line(line)
        self._backlog.clear()
        self._began.set()
        try:
            async for line in reader:
                self._to_agents(decode(line))
        finally:
            self._harness = None
            self._busy.update(self._agents)
            self._to_agents({"type": "harness-gone"})
            if not self._standing:
                self._over.set()

    async def _serve_agent(
        self, hello: Message, reader: asyncio.StreamReader, outlet: Outlet
    ) -> None:
        node = hello["node"]
        if node in self._agents:
            # It was started again before its end was seen.
            self._agents[node].close()
            await self._lose(node)
        self._agents[node] = outlet
        self._registrations[node] = hello
        await self._to_harness(hello)
        try:
            async for line in reader:
                message = decode(line)
                if message["type"] == "idle":
                    self._busy.discard(node)
                elif node not in self._busy:
                    await self._to_harness({**message, "node": node})
        finally:
            if self._agents.get(node) is outlet:
                await self._lose(node)

    async def _lose(self, node: str) -> None:
        del self._agents[node], self._registrations[node]
        self._busy.discard(node)
        await self._to_harness({"type": "lost", "node": node})

    async def _to_harness(self, message: Message) -> None:
        line = encode(message)
        while self._kept >= BACKLOG and not self._began.is_set():
            await self._began.wait()
        if self._harness is not None:
            self._harness.send_line(line)
            # A slow harness slows the agents' readers, not this process's memory.
            await self._harness.room()
        elif not self._began.is_set():
            self._backlog.append(line)
            self._kept += len(line)

    def _to_agents(self, message: Message) -> None:
        to = message.get("to")
        if to is not None and to not in self._agents:
            if self._harness is not None:
                self._harness.send(_nobody(message))
            return
        for node in [to] if to else list(self._agents):
            self._agents[node].send(message)


def _nobody(message: Message) -> Message:
    """Answer a request to a node that is not there."""
    error = f"no agent of node {message['to']} is connected"
    return {
        "type": "reply",
        "id": message.get("id"),
        "node": message["to"],
        "ok": False,
        "gone": True,
        "error": error,
    }
