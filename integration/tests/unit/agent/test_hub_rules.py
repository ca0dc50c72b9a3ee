"""A hub among those who lie: over the network, where an address tells who speaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.hub import hub as module
from metta_sandbox.node.agent.hub.admission import Admission
from metta_sandbox.node.agent.hub.hub import Hub
from metta_sandbox.node.agent.wire import LONGEST_LINE, encode
from metta_sandbox.ports import HeldPort

Message = dict[str, Any]
#: Seconds within which anything has happened.
PATIENCE = 60.0
NODES = {"sweep-master": "127.0.0.2", "sweep-worker": "127.0.0.3"}
HARNESS = "127.0.0.1"
FORGED = {"event": "observation.recorded", "trial": 1, "score": 9999, "pid": 1, "seq": 1}


class Peer:
    """Somebody who has connected from an address."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, **message: Any) -> None:
        self.writer.write(encode(message))

    async def hear(self, kind: str = "") -> Message:
        """Return the next message (of a kind); what is asked of the living is answered."""
        while True:
            try:
                line = await asyncio.wait_for(self.reader.readline(), PATIENCE)
            except ConnectionError:  # what was still to be read is lost
                line = b""
            if not line:
                return {"type": "end"}
            message: Message = json.loads(line)
            if message["type"] == "ping":
                self.say(type="pong")
            elif message["type"] != "beat" and kind in ("", message["type"]):
                return message

    async def ends(self) -> bool:
        """Tell whether the hub closes the connection, whatever it says before."""
        kind: str = (await self.hear("end"))["type"]
        return kind == "end"


class Stack:
    """A hub, and whoever connects to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.peers: list[Peer] = []

    async def connect(self, address: str) -> Peer:
        while True:
            try:
                place = (address, 0)
                ends = await asyncio.open_connection(HARNESS, self.port, local_addr=place)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                self.peers.append(Peer(*ends))
                return self.peers[-1]

    async def close(self) -> None:
        for each in self.peers:
            each.writer.close()
            with suppress(ConnectionError):
                await each.writer.wait_closed()

    async def harness(self) -> Peer:
        peer = await self.connect(HARNESS)
        peer.say(type="harness")
        return peer

    async def agent(self, node: str, address: str = "") -> Peer:
        peer = await self.connect(address or NODES[node])
        peer.say(type="registered", node=node, address="6.6.6.6")
        return peer


@asynccontextmanager
async def running() -> AsyncIterator[Stack]:
    with HeldPort() as held:
        hub = Hub(Admission(NODES, {}), standing=True)
        serving = asyncio.ensure_future(hub.serve(Address(f"tcp:127.0.0.1:{held.number}")))
        stack = Stack(held.number)
        try:
            yield stack
        finally:
            await stack.close()
            hub._over.set()
            await asyncio.wait_for(serving, PATIENCE)
            # The hub's ends of connections close in turns of their own.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait(
                others or {asyncio.ensure_future(asyncio.sleep(0))}, timeout=PATIENCE
            )
            await asyncio.sleep(0)


def play(scene: Callable[[Stack], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running() as stack:
            await scene(stack)

    asyncio.run(run())


def test_a_rank_speaks_for_no_other_node_and_not_for_the_harness() -> None:
    async def scene(stack: Stack) -> None:
        harness = await stack.harness()
        master = await stack.agent("sweep-master")
        assert (await harness.hear())["address"] == "127.0.0.2"
        worker = NODES["sweep-worker"]
        for hello in (
            {"type": "registered", "node": "sweep-master", "address": "x"},
            {"type": "registered", "node": "my-own", "address": "x"},
            {"type": "harness"},
            {"type": "nodes"},
            {"type": "event", "node": "sweep-master", "record": FORGED, "held": []},
        ):
            liar = await stack.connect(worker)
            liar.say(**hello)
            liar.say(type="event", record=FORGED, held=[])
            liar.say(type="request", to="sweep-master", verb="groups", id=1)
            assert await liar.ends()
            told = await harness.hear()
            assert told["type"] == "turned-away"
            assert worker in told["reason"]
        master.say(type="event", record={"event": "x"}, held=[], node="sweep-worker")
        assert await harness.hear() == {
            "type": "event", "record": {"event": "x"}, "held": [], "node": "sweep-master"
        }  # fmt: skip

    play(scene)


def test_a_second_one_under_a_live_name_is_refused_and_the_first_stays() -> None:
    async def scene(stack: Stack) -> None:
        harness = await stack.harness()
        first = await stack.agent("sweep-master")
        await harness.hear("registered")
        answering = asyncio.ensure_future(first.hear("request"))
        second = await stack.agent("sweep-master")
        assert (await second.hear("refused"))["reason"] == "sweep-master is there already"
        assert await second.ends()
        assert "a second one says that it is sweep-master" in (await harness.hear())["reason"]
        harness.say(type="request", to="sweep-master", verb="groups", id=1)
        assert (await answering)["verb"] == "groups"

    play(scene)


def test_one_that_gives_no_sign_of_life_makes_room_for_one_that_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ANSWER", 0.2)

    async def scene(stack: Stack) -> None:
        harness = await stack.harness()
        await stack.agent("sweep-master")
        await harness.hear("registered")
        second = await stack.agent("sweep-master")
        assert [(await harness.hear())["type"] for _ in range(2)] == ["lost", "registered"]
        second.say(type="lines", source="sweep", lines=["again"])
        assert (await harness.hear("lines"))["lines"] == ["again"]

    play(scene)


@pytest.mark.parametrize(
    "junk",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\x00\n",
        b"[" * 100_000 + b"\n",
        b'{"type": "lost", "node": "sweep-worker"}\n',
        b'{"type": ["event"]}\n',
        b'{"type": "event", "record": 5, "held": []}\n',
        b"x" * (LONGEST_LINE + 1),
        b'{"type": "lines", "source": "x", "lines": ["' + b"x" * (LONGEST_LINE - 50) + b'"]}\n',
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["at the door", "inside"])
def test_garbage_ends_a_connection_with_one_line(
    junk: bytes, known: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scene(stack: Stack) -> None:
        harness = await stack.harness()
        other = await stack.agent("sweep-worker")
        await harness.hear("registered")
        peer = await (stack.agent("sweep-master") if known else stack.connect("127.0.0.2"))
        peer.writer.write(junk)
        peer.writer.write_eof()
        assert await peer.ends()
        assert (await harness.hear("turned-away"))["node"] == ("sweep-master" if known else "")
        # All others go on.
        other.say(type="lines", source="sweep", lines=["on"])
        assert (await harness.hear("lines"))["node"] == "sweep-worker"

    play(scene)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("hub: closed a connection: 127.0.0.2: ")
    assert len(said[0]) < 400


def test_complaints_come_no_faster_than_somebody_reads(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def scene(stack: Stack) -> None:
        for _ in range(200):
            peer = await stack.connect("127.0.0.3")
            peer.say(type="harness")
            assert await peer.ends()

    play(scene)
    assert len(capfd.readouterr().err.splitlines()) < 60


def test_who_says_nothing_is_not_waited_for_and_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HELLO", 0.5)

    async def scene(stack: Stack) -> None:
        mute = [await stack.connect("127.0.0.3") for _ in range(100)]
        for each in mute:
            assert await each.ends()
        harness = await stack.harness()
        await stack.agent("sweep-master")
        assert (await harness.hear())["node"] == "sweep-master"

    play(scene)


def test_an_agent_that_stands_still_is_told_and_one_that_answers_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BEAT", 0.02)
    monkeypatch.setattr(module, "STILL", 0.1)

    async def scene(stack: Stack) -> None:
        harness = await stack.harness()
        await stack.agent("sweep-worker")
        alive = await stack.agent("sweep-master")
        answering = asyncio.ensure_future(alive.hear("end"))
        told = await harness.hear("still")
        while "sweep-master" in told["nodes"]:
            # Each second counts on its own: it has answered by now.
            told = await harness.hear("still")
        assert set(told["nodes"]) == {"sweep-worker"}
        assert told["of"] == 2
        answering.cancel()

    play(scene)
