"""The hub: agents dial in to it, and the harness holds one connection to it.

It routes and keeps no state beyond who is there. Messages of agents go to the harness, stamped
with their node; messages of the harness go to the node named in ``to``, or to all without one.
When the harness leaves, every agent is told so, and the hub of a run ends itself.

What agents say before the first harness has come is kept for it. What they say after one has left
belongs to nobody, until they have stopped what that one started.

Nobody is believed who it is (``admission``), and an agent speaks for its own node alone. Every
second all are asked for a sign of life; who has given none for long is told to the harness.
"""

import asyncio
import signal
import sys
from typing import Dict, List, Optional, Set, Union, cast

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.hub.admission import HARNESS, Admission, require_sayable
from metta_sandbox.node.agent.hub.connection import Complaints, Connection
from metta_sandbox.node.agent.hub.outlet import Outlet
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.messages import (
    FromHarness,
    HubHello,
    Registered,
    Reply,
    Request,
    Sign,
    Still,
    ToHarness,
)
from metta_sandbox.node.agent.streams import listen
from metta_sandbox.node.agent.wire import LONGEST_LINE, STILL, decode, encode

#: Bytes kept for a first harness; then agents wait for it.
BACKLOG = 1 << 24
#: Seconds between two signs of life.
_BEAT = 1.0
#: Seconds within which whoever comes says who it is, in so many bytes, and how many may be at it.
_HELLO, _LONGEST_HELLO, _AT_THE_DOOR = 10.0, 8192, 32
#: Seconds within which whoever is there answers when somebody else comes under its name.
_ANSWER = 2.0


class Hub:
    """Routes messages between the agents of a stack and its harness.

    Args:
        admission: Who may come.
        standing: Stay when the harness leaves; otherwise end.
        patience: Seconds to wait for a first harness before ending (not when standing).

    """

    def __init__(
        self, admission: Admission, *, standing: bool = False, patience: float = 120.0
    ) -> None:
        self._admission = admission
        self._standing = standing
        self._patience = patience
        self._agents: Dict[str, Connection] = {}
        self._registrations: Dict[str, Registered] = {}
        # Nodes that still stop what a harness has left behind.
        self._busy: Set[str] = set()
        self._harness: Optional[Connection] = None
        self._backlog: List[bytes] = []
        self._kept = 0
        self._at_the_door = 0
        self._complaints = Complaints()

    async def serve(self, address: Address) -> None:
        """Listen until the harness of a run has left (for ever when standing)."""
        loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._began = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        server = await listen(address, self._connected)
        beating = asyncio.ensure_future(self._beat())
        giving_up = loop.call_later(self._patience, self._give_up)
        await self._over.wait()
        giving_up.cancel()
        beating.cancel()
        # Not `async with server`: since Python 3.12 that waits for every connection's end.
        server.close()
        for agent in self._agents.values():
            agent.outlet.close()

    def _give_up(self) -> None:
        if self._harness is None and not self._standing:
            self._over.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(Outlet(writer))
        name = writer.get_extra_info("peername")
        peer = str(name[0]) if isinstance(name, tuple) else ""
        try:
            hello = await self._hello(reader, peer)
            connection.name = hello["node"] if hello["type"] == "registered" else HARNESS
            if hello["type"] == "harness":
                await self._serve_harness(reader, connection)
            elif hello["type"] == "nodes":
                connection.outlet.send({"type": "nodes", "nodes": sorted(self._agents)})
            else:
                if peer:
                    # Where it is, it may not say itself.
                    hello["address"] = peer
                await self._serve_agent(hello, reader, connection)
        except (asyncio.CancelledError, ConnectionError):
            # asyncio complains about connections that are still served when the program ends.
            pass
        except Exception as error:  # noqa: BLE001 - whatever it said, it said nothing to us
            self._turn_away(connection.name, f"{peer or 'a local process'}: {error}")
        connection.leave()

    async def _hello(self, reader: asyncio.StreamReader, peer: str) -> HubHello:
        """Read a newcomer's first message, which says who it is.

        Raises:
            ValueError: It may not connect as that, or does not say so in time.

        """
        if self._at_the_door >= _AT_THE_DOOR:
            raise ValueError("too many come at once")
        self._at_the_door += 1
        try:
            line = await asyncio.wait_for(reader.readline(), slowed(_HELLO))
        except asyncio.TimeoutError:
            raise ValueError("it does not say who it is") from None
        finally:
            self._at_the_door -= 1
        if not line:
            raise ConnectionError("it has gone again")
        if len(line) > _LONGEST_HELLO:
            raise ValueError("it says too much at first")
        hello: Dict[str, object] = decode(line)
        if refusal := self._admission.refusal(hello, peer):
            raise ValueError(refusal)
        # What it proved itself by is nobody else's business.
        hello.pop("key", None)
        return cast(HubHello, hello)

    def _turn_away(self, name: str, reason: str) -> None:
        """Tell the harness, and standard error, in one line why a connection was closed."""
        if text := self._complaints.take(reason):
            sys.stderr.write(f"hub: closed a connection: {text}\n")
            if self._harness is not None:
                self._harness.outlet.send({"type": "turned-away", "node": name, "reason": text})

    async def _serve_harness(self, reader: asyncio.StreamReader, connection: Connection) -> None:
        if not await self._is_free():
            connection.outlet.send({"type": "refused", "reason": "another harness is connected"})
            return
        self._harness = connection
        if self._began.is_set():
            for registration in self._registrations.values():
                connection.outlet.send(registration)
        for line in self._backlog:
            connection.outlet.send_line(line)
        self._backlog.clear()
        self._began.set()
        try:
            async for line in reader:
                connection.hear()
                message: FromHarness = decode(line)
                if message["type"] == "request":
                    self._to_agents(message, message.get("to"))
        finally:
            if self._harness is connection:
                self._harness = None
                self._left()
                if not self._standing:
                    self._over.set()

    async def _is_free(self) -> bool:
        """Tell whether no harness is there; one that gives no sign of life is sent away."""
        while (holder := self._harness) is not None:
            if await holder.answers(_ANSWER):
                return False
            if self._harness is holder:
                holder.leave()
                self._harness = None
                self._left()
        return True

    def _left(self) -> None:
        """Tell all agents that the harness has left."""
        self._busy.update(self._agents)
        self._to_agents({"type": "harness-gone"})

    async def _serve_agent(
        self, hello: Registered, reader: asyncio.StreamReader, connection: Connection
    ) -> None:
        node = hello["node"]
        while (holder := self._agents.get(node)) is not None:
            if await holder.answers(_ANSWER):
                connection.outlet.send({"type": "refused", "reason": f"{node} is there already"})
                raise ValueError(f"a second one says that it is {node}, which is there")
            if self._agents.get(node) is holder:
                # It was started again before its end was seen.
                holder.leave()
                await self._lose(node)
        self._agents[node] = connection
        self._registrations[node] = hello
        try:
            await self._to_harness(hello)
            async for line in reader:
                connection.hear()
                await self._take(decode(line), node, connection)
                await connection.slow_down(len(line))
        finally:
            if self._agents.get(node) is connection:
                await self._lose(node)

    async def _take(self, said: Dict[str, object], node: str, connection: Connection) -> None:
        message = require_sayable(said)
        if message["type"] == "pong":
            return
        if message["type"] == "idle":
            self._busy.discard(node)
        elif node not in self._busy:
            message["node"] = node
            with connection.kept_waiting():
                await self._to_harness(message)

    async def _lose(self, node: str) -> None:
        del self._agents[node], self._registrations[node]
        self._busy.discard(node)
        await self._to_harness({"type": "lost", "node": node})

    async def _to_harness(self, message: ToHarness) -> None:
        line = encode(message)
        if len(line) > LONGEST_LINE:
            raise ValueError("a message that is too long")
        while self._kept >= BACKLOG and not self._began.is_set():
            await self._began.wait()
        if self._harness is not None:
            self._harness.outlet.send_line(line)
            # A slow harness slows the agents' readers, not this process's memory.
            await self._harness.outlet.room()
        elif not self._began.is_set():
            self._backlog.append(line)
            self._kept += len(line)

    def _to_agents(self, message: Union[Request, Sign], to: Optional[str] = None) -> None:
        if to is not None and to not in self._agents:
            if self._harness is not None and message["type"] == "request":
                self._harness.outlet.send(_nobody(message["id"], to))
            return
        for node in [to] if to else list(self._agents):
            self._agents[node].outlet.send(message)

    async def _beat(self) -> None:
        """Ask each agent for a sign of life, and tell the harness which have long given none.

        A second counts only where this process had one itself: on a busy machine all are slow.
        """
        while True:
            await asyncio.sleep(_BEAT)
            for node, connection in self._agents.items():
                connection.ask(_BEAT)
                if node in self._busy:
                    # It hears nothing until all is stopped, which may take its time.
                    connection.silent = 0.0
            if self._harness is None or self._harness.outlet.full:
                continue
            still = {
                node: connection.silent
                for node, connection in self._agents.items()
                if connection.silent >= slowed(STILL)
            }
            self._harness.outlet.send({"type": "beat"})
            if still:
                told: Still = {"type": "still", "nodes": still, "of": len(self._agents)}
                self._harness.outlet.send(told)


def _nobody(number: int, node: str) -> Reply:
    """Answer a request to a node that is not there."""
    error = f"no agent of node {node} is connected"
    return {
        "type": "reply",
        "id": number,
        "node": node,
        "ok": False,
        "gone": True,
        "error": error,
    }
