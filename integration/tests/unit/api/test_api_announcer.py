"""Events out of the event loop, also when nobody takes them any more."""

from __future__ import annotations

import asyncio
import io
import json

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.node.agent.emitter import Emitter


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def emit(announcer: Announcer, *names: str) -> None:
    async def together() -> None:
        await asyncio.gather(*(announcer.emit(name, n=n) for n, name in enumerate(names)))

    asyncio.run(asyncio.wait_for(together(), 10))
    announcer.close()


def test_events_leave_in_the_order_asked_for() -> None:
    mirror = io.StringIO()
    emit(Announcer(Emitter({"node": "api"}, mirror=mirror)), "a", "b", "c")

    found = [json.loads(line) for line in mirror.getvalue().splitlines()]
    assert [(event["event"], event["n"], event["node"]) for event in found] == [
        ("a", 0, "api"),
        ("b", 1, "api"),
        ("c", 2, "api"),
    ]


def test_a_reader_who_is_gone_stops_nobody() -> None:
    emit(Announcer(Emitter({}, mirror=Broken())), "a", "b")
