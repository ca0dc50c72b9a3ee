"""Which part of the line stands still, and who only seems to."""

from __future__ import annotations

import pytest

from metta_sandbox.stack.heartbeat import HUB, RELAY, Heartbeat


class Line:
    """A line that is looked at every fifth of a second."""

    def __init__(self, slower: float = 1.0) -> None:
        self.now = 0.0
        self.pulse = Heartbeat(lambda: self.now, lambda seconds: slower * seconds)

    def pass_time(self, seconds: float, *alive: str, pause: float = 0.2) -> str:
        """Look on, and say what was seen first, if anything was."""
        end = self.now + seconds
        while self.now < end:
            self.now += pause
            for part in alive:
                self.pulse.hear(part)
            if reason := self.pulse.look():
                return reason
        return ""


@pytest.mark.parametrize(
    ("alive", "reason"),
    [
        ((RELAY, HUB), ""),
        ((RELAY,), "the hub stands still: no sign of life for 6 s"),
        ((), "the relay stands still: no sign of life for 6 s"),
    ],
)
def test_a_part_that_was_there_is_missed_within_ten_seconds(
    alive: tuple[str, ...], reason: str
) -> None:
    line = Line()
    assert line.pass_time(5, RELAY, HUB) == ""
    assert line.pass_time(9, *alive) == reason


def test_a_hub_that_never_said_anything_is_missed_once_the_relay_is_there() -> None:
    line = Line()
    assert line.pass_time(20) == ""
    assert line.pass_time(5, RELAY) == ""
    assert line.pass_time(3, RELAY).startswith("the hub stands still")


def test_who_stood_still_itself_blames_nobody_for_it() -> None:
    line = Line()
    line.pass_time(1, RELAY, HUB)
    assert line.pass_time(3600, pause=900) == ""


def test_on_a_busy_machine_all_get_more_time() -> None:
    line = Line(slower=5)
    line.pass_time(1, RELAY, HUB)
    assert line.pass_time(29, RELAY) == ""
    assert line.pass_time(3, RELAY).startswith("the hub stands still")
