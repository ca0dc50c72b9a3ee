"""The hub: agents dial in to it, and the harness holds one connection to it.

It routes and keeps no state beyond who is there. Messages of agents go to the harness, stamped
with their node; messages of the harness go to the node named in ``to``, or to all without one.
When the harness leaves, every agent is told so, and the hub of a run ends itself.
"""

import asyncio
import collections
import contextlib
from typing import Any, Deque, Dict, Optional

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.wire import LONGEST_LINE, decode, encode

#: Messages kept for a harness that has not connected yet.
BACKLOG = 10_000


class Hub:
    """Routes messages between the agents of a stack and its harness.

    Args:
        standing: Stay when the harness leaves; otherwise end.
        patience: Seconds to wait for a first harness before ending (not when standing).

    """

    def __init__(self, *, standing: bool = False, patience: float = 120.0) -> None:
        self._standing = standing
        self._patience = patience
        self._agents: Dict[str, asyncio.StreamWriter] = {}
        self._registrations: Dict[str, Dict[str, Any]] = {}
        self._harness: Optional[asyncio.StreamWriter] = None
        self._backlog: Deque[Dict[str, Any]] = collections.deque(maxlen=BACKLOG)

    async def serve(self, address: Address) -> None:
        """Listen until the harness of a run has left (for ever when standing)."""
        self._over = asyncio.Event()
        server = await address.listen(self._connected, limit=LONGEST_LINE)
        giving_up = asyncio.get_running_loop().call_later(self._patience, self._give_up)
        async with server:
            await self._over.wait()
        giving_up.cancel()
        for writer in self._agents.values():
            writer.close()

    def _give_up(self) -> None:
        if self._harness is None and not self._standing:
            self._over.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio complains about connections that are still served when the program ends.
        with contextlib.suppress(asyncio.CancelledError):
            try:
                hello = decode(await reader.readline())
            except ValueError:
                writer.close()
                return
            if hello["type"] == "harness":
                await self._serve_harness(reader, writer)
            else:
                await self._serve_agent(hello, reader, writer)

    async def _serve_harness(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._harness is not None:
            writer.write(encode({"type": "refused", "reason": "another harness is connected"}))
            writer.close()
            return
        self._harness = writer
        for registration in self._registrations.values():
            writer.write(encode(registration))
        while self._backlog:
            writer.write(encode(self._backlog.popleft()))
        try:
            async for line in reader:
                self._to_agents(decode(line))
        except (ConnectionError, ValueError):
            pass
        finally:
            self._harness = None
            self._to_agents({"type": "harness-gone"})
            if not self._standing:
                self._over.set()

    async def _serve_agent(
        self, hello: Dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        node = hello["node"]
        self._agents[node] = writer
        self._registrations[node] = hello
        if self._harness is not None:
            self._harness.write(encode(hello))
        try:
            async for line in reader:
                await self._to_harness({**decode(line), "node": node})
        except (ConnectionError, ValueError):
            pass
        finally:
            if self._agents.get(node) is writer:
                del self._agents[node], self._registrations[node]
                await self._to_harness({"type": "lost", "node": node})

    async def _to_harness(self, message: Dict[str, Any]) -> None:
        if self._harness is None:
            self._backlog.append(message)
            return
        self._harness.write(encode(message))
        # A slow harness slows the agents' readers, not this process's memory.
        with contextlib.suppress(ConnectionError):
            await self._harness.drain()

    def _to_agents(self, message: Dict[str, Any]) -> None:
        to = message.get("to")
        if to is not None and to not in self._agents:
            if self._harness is not None:
                self._harness.write(encode(_nobody(message)))
            return
        for node in [to] if to else list(self._agents):
            self._agents[node].write(encode(message))


def _nobody(message: Dict[str, Any]) -> Dict[str, Any]:
    """Answer a request to a node that is not there."""
    error = f"no agent of node {message['to']} is connected"
    return {
        "type": "reply",
        "id": message.get("id"),
        "node": message["to"],
        "ok": False,
        "error": error,
    }
