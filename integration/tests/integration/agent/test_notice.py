"""A node that is taken away with notice: what runs on it saves what it can, the rest is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.agent.conftest import Harness, SmallStack, WaitUntil

#: Below a shell that dies at once of SIGTERM: one that saves first.
_SAVES = """
import signal, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
print("ready", flush=True)
while not told:
    time.sleep(0.01)
time.sleep(0.5)
print(f"saved, told {len(told)} time", flush=True)
"""
_STAYS = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def _start(harness: Harness, stack: SmallStack, group: str, code: str) -> None:
    script = stack.folder / f"{group}.py"
    script.write_text(code)
    harness.start("n", group, ["bash", "-c", f"python3 {script}; true"])
    while "ready" not in harness.lines(group):
        harness.take()


def test_all_get_their_time_and_no_more(stack: SmallStack) -> None:
    harness = stack.up("n")
    _start(harness, stack, "saves", _SAVES)
    _start(harness, stack, "stays", _STAYS)

    harness.link.request("n", "notice", grace=4.0)
    told = harness.wait("event", event="node.notice")["record"]
    ended = harness.wait("event", event="node.ended")["record"]
    harness.wait("lost")

    assert (told["signal"], told["grace"], told["groups"]) == ("SIGTERM", 4.0, ["saves", "stays"])
    assert "saved, told 1 time" in harness.lines("saves")
    assert ended["killed"] == ["stays"]
    assert ended["ended"] == {"saves": -15, "stays": -15}
    assert ended["seconds"] >= 4.0


def test_a_node_goes_as_soon_as_all_has_ended(stack: SmallStack) -> None:
    harness = stack.up("n")
    _start(harness, stack, "saves", _SAVES)

    harness.link.request("n", "notice", grace=600.0)
    ended = harness.wait("event", event="node.ended")["record"]
    harness.wait("lost")

    assert ended["killed"] == []


def test_a_notice_is_over_when_the_harness_leaves(stack: SmallStack, wait_until: WaitUntil) -> None:
    harness = stack.up("n")
    _start(harness, stack, "stays", _STAYS)

    harness.link.request("n", "notice", grace=600.0)
    harness.wait("event", event="node.notice")
    harness.link.close()

    wait_until(lambda: not stack.alive(), "the end of all processes")
