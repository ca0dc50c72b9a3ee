"""The harness's link, against relays that behave well, badly and not at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.errors import StackError
from metta_sandbox.stack import heartbeat as pulse_module
from metta_sandbox.stack import link as link_module
from metta_sandbox.stack.link import HubLink

StartRelay = Callable[[str], HubLink]

_PRELUDE = """
import json, os, signal, sys, threading, time
def say(**message):
    os.write(1, json.dumps(message).encode() + b"\\n")
def hear():
    line = sys.stdin.readline()
    return json.loads(line) if line else None
said_first = hear()
"""


@pytest.fixture
def relay() -> Iterator[StartRelay]:
    """Start links to programs that play the relay."""
    links: list[HubLink] = []

    def start(program: str) -> HubLink:
        links.append(HubLink([sys.executable, "-I", "-S", "-c", _PRELUDE + program]))
        return links[-1]

    yield start
    for each in links:
        each.close()


def received(link: HubLink) -> Any:
    message = link.receive(20)
    assert message is not None
    return message


def test_a_request_gets_its_own_answer(relay: StartRelay) -> None:
    link = relay("""
asked = [hear(), hear()]
for each in reversed(asked):
    result = [each["to"], each["verb"], each["args"]]
    say(type="reply", id=each["id"], node=each["to"], ok=True, result=result)
hear()
""")
    replies = [link.ask("a", "start", group="g"), link.ask("b", "groups")]
    assert link.result(replies[0], "a", "start", 20) == ["a", "start", {"group": "g"}]
    assert link.result(replies[1], "b", "groups", 20) == ["b", "groups", {}]


def test_the_harness_says_first_who_it_is(relay: StartRelay) -> None:
    assert relay("say(**said_first)").receive(20) == {"type": "harness", "key": ""}


def test_a_node_does_not_answer_for_another(relay: StartRelay) -> None:
    link = relay("""
asked = hear()
say(type="reply", id=asked["id"], node="b", ok=True, result="forged")
say(type="reply", id=asked["id"], node="a", ok=True, result=["real"])
hear()
""")
    assert link.request("a", "dispositions", pid=1, signal=15) == ["real"]


def test_a_hub_that_stands_still_is_named_and_nobody_waits_on(
    relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse_module, "STILL", 0.3)
    link = relay("""
say(type="relayed")
while True:
    say(type="relayed")
    time.sleep(0.02)
""")
    with pytest.raises(StackError, match="the hub stands still: no sign of life for"):
        link.request("a", "groups", patience=60)
    gone = received(link)
    assert (gone["type"], gone["still"]) == ("gone", True)
    assert "the hub stands still" in gone["reason"]


def test_a_refusal_says_who_refused_what_and_why(relay: StartRelay) -> None:
    link = relay(
        'say(type="reply", id=hear()["id"], node="a", ok=False, error="KeyError: 5"); hear()'
    )
    with pytest.raises(StackError, match="a refused 'stop': KeyError: 5"):
        link.request("a", "stop")


def test_no_answer_in_time_is_said_and_a_late_one_does_no_harm(relay: StartRelay) -> None:
    link = relay("""
late = hear()
now = hear()
say(type="reply", id=late["id"], node="a", ok=True, result="late")
say(type="reply", id=now["id"], node="a", ok=True, result=["now"])
hear()
""")
    with pytest.raises(StackError, match="a did not answer 'groups' within 0\\.1 s"):
        link.request("a", "groups", patience=0.1)
    assert link.request("a", "dispositions", patience=20, pid=1, signal=15) == ["now"]


def test_receiving_waits_no_longer_than_told(relay: StartRelay) -> None:
    link = relay("hear()")
    began = time.monotonic()
    assert link.receive(0.05) is None
    assert link.receive(-1) is None
    assert 0.05 <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ('sys.exit("no such container")', "no such container"),
        ('say(type="refused", reason="another harness is connected")', "another harness"),
        ('os.write(1, b"what?\\n"); hear()', "speaks nonsense"),
        ('os.write(1, b"{}\\n"); hear()', "speaks nonsense"),
        ('os.write(1, b"x" * (2 << 20)); hear()', "speaks nonsense"),
    ],
)
def test_the_end_of_the_connection_is_told_with_its_reason(
    relay: StartRelay, program: str, reason: str
) -> None:
    link = relay(program)
    message = received(link)
    assert message["type"] == "gone"
    assert reason in message["reason"]
    with pytest.raises(StackError, match="the connection to the stack is gone"):
        link.ask("a", "groups")


def test_whoever_waits_when_the_connection_ends_is_answered(relay: StartRelay) -> None:
    link = relay("hear()")
    with pytest.raises(StackError, match="the connection to the stack is gone"):
        link.request("a", "groups", patience=20)


def test_whoever_waits_for_a_node_that_is_lost_is_answered(relay: StartRelay) -> None:
    link = relay("""
first, second = hear(), hear()
say(type="lost", node="a")
say(type="reply", id=second["id"], node="b", ok=True, result=5)
hear()
""")
    lost, fine = link.ask("a", "groups"), link.ask("b", "groups")
    assert link.result(fine, "b", "groups", 20) == 5
    assert lost.get(timeout=20)["error"] == "its agent is gone"
    assert received(link)["type"] == "lost"


def test_a_busy_harness_slows_the_stack_but_gets_its_answers(
    relay: StartRelay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(link_module, "_INBOX", 100_000)
    sent = tmp_path / "sent"
    link = relay(f"""
def answer():
    while asked := hear():
        say(type="reply", id=asked["id"], node="a", ok=True, result=None)
answering = threading.Thread(target=answer)
for number in range(4000):
    if number == 3000:
        answering.start()
    say(type="event", node="a", record={{"seq": number, "padding": "x" * 1000}})
    if number == 2000:
        open({str(sent)!r}, "w").close()
""")
    assert received(link)["record"]["seq"] == 0
    # 2000 messages are more than inbox and pipes hold, so it is stuck until somebody asks.
    assert not sent.exists()
    link.request("a", "groups", patience=20)
    assert sent.exists()
    seqs = [received(link)["record"]["seq"] for _ in range(3999)]
    assert seqs == list(range(1, 4000))


def test_closing_does_not_wait_for_a_relay_that_does_not_end(
    relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = relay('say(type="x", node="a"); signal.pause()')
    link.receive(20)
    patience = link._relay.wait
    monkeypatch.setattr(link._relay, "wait", lambda timeout=None: patience(timeout and 0.05))
    began = time.monotonic()
    link.close()
    assert time.monotonic() - began < 5
    assert link._relay.returncode == -9


def test_closing_wakes_a_reader_whose_inbox_is_full(
    relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_INBOX", 10)
    link = relay('[say(type="x", node="a", padding="x" * 1000) for _ in range(9)]; hear()')
    link.receive(20)
    link.close()
    assert not link._reader.is_alive()
