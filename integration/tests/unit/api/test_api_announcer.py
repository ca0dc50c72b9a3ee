"""Events out of the event loop, also when nobody takes them any more."""

from __future__ import annotations

import asyncio
import io
import json

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import TrainStep


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def tell(announcer: Announcer, *steps: int) -> None:
    async def together() -> None:
        await asyncio.gather(*(announcer.tell(TrainStep(step=step)) for step in steps))

    asyncio.run(asyncio.wait_for(together(), 10))
    announcer.close()


def test_events_leave_in_the_order_asked_for() -> None:
    mirror = io.StringIO()
    tell(Announcer(Emitter({"node": "api"}, mirror=mirror)), 3, 1, 2)

    found = [json.loads(line) for line in mirror.getvalue().splitlines()]
    assert [(event["event"], event["step"], event["node"]) for event in found] == [
        ("train.step", 3, "api"),
        ("train.step", 1, "api"),
        ("train.step", 2, "api"),
    ]


def test_a_reader_who_is_gone_stops_nobody() -> None:
    tell(Announcer(Emitter({}, mirror=Broken())), 1, 2)
