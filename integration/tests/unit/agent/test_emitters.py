"""What a process has printed and told: each event once, also over a channel that breaks."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

from metta_sandbox.node.agent.emitters import Emitters
from metta_sandbox.node.agent.hub.outlet import Outlet
from metta_sandbox.node.agent.messages import EmitterHello


class Printing:
    """A process that tells over a channel what it prints."""

    def __init__(self) -> None:
        self.emitters = Emitters()
        self.outlet = cast("Outlet", Mock())
        self.told: list[int] = []
        hello = cast("EmitterHello", {"type": "hello", "pid": 7, "who": {}})
        self.emitters.enter(self.outlet, hello)

    def prints(self, *numbers: int) -> None:
        for seq in numbers:
            self.emitters.take_printed({"event": "x", "pid": 7, "seq": seq}, self._tell)

    def tells(self, seq: int) -> None:
        self.emitters.note(self.outlet, {"event": "x", "pid": 7, "seq": seq})

    def _tell(self, record: Any) -> None:
        self.told.append(record["seq"])


def test_what_a_channel_brings_is_not_told_again() -> None:
    process = Printing()
    process.prints(1, 2)
    process.tells(1)
    process.tells(2)
    process.prints(1)
    process.emitters.leave(process.outlet)
    assert process.told == []


def test_what_a_channel_did_not_bring_is_told_once_it_has_gone() -> None:
    process = Printing()
    process.prints(1, 2, 3)
    process.tells(1)
    assert process.told == []
    process.emitters.leave(process.outlet)
    assert process.told == [2, 3]
    process.prints(4)
    assert process.told == [2, 3, 4]
