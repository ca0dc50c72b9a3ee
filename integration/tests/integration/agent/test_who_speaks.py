"""What a rank can't say through the sockets that it reaches, and parts that stand still."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.wire import decode, encode

if TYPE_CHECKING:
    from tests.integration.agent.conftest import SmallStack

FORGED = {"event": "observation.recorded", "score": 9999, "pid": 1, "seq": 1}
_HELLO = {"type": "hello", "pid": 1, "who": {}}


def say(path: str, *messages: dict[str, Any] | bytes) -> list[dict[str, Any]]:
    """Say something over a socket, and return what is answered until nothing more is."""
    said = b""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(path)
        channel.settimeout(60)
        # It may be closed before all is said.
        with contextlib.suppress(OSError):
            for each in messages:
                channel.sendall(each if isinstance(each, bytes) else encode(each))
            channel.shutdown(socket.SHUT_WR)
            while data := channel.recv(65536):
                said += data
    return [decode(line) for line in said.splitlines()]


def test_a_rank_is_nobody_else_to_the_hub(stack: SmallStack) -> None:
    harness = stack.up("a", "b")
    hub = str(stack.folder / "hub")
    event = {"type": "event", "record": FORGED, "held": []}
    for hello in (
        {"type": "registered", "node": "a", "address": "x"},
        {"type": "registered", "node": "a", "address": "x", "key": stack.keys["b"]},
        {"type": "registered", "node": "mine", "address": "x", "key": stack.keys["b"]},
        {"type": "harness", "key": stack.keys["b"]},
        b"\xff\n",
    ):
        assert say(hub, hello, event) == []
        assert "a local process" in harness.wait("turned-away")["reason"]
        harness.messages.clear()
    # Even with the secret, nobody takes the place of one that lives.
    (refused,) = say(hub, {"type": "registered", "node": "a", "key": stack.keys["a"]}, event)
    assert refused["reason"] == "a is there already"
    assert harness.link.request("a", "groups") == []
    assert not harness.find("event")
    assert not harness.find("lost")
    assert len((stack.folder / "hub.log").read_text().splitlines()) == 6


def test_a_rank_asks_its_agent_for_nothing_that_is_the_harness_s(stack: SmallStack) -> None:
    harness = stack.up("a")
    harness.start("a", "sweep", ["sleep", "1000"])
    local = stack.socket("a")
    asked = {
        "notice": {"grace": 0},
        "arm": {"arms": []},
        "order": {"rank": 0, "order": {}, "within": 1},
        "signal-process": {"pid": os.getpid(), "signal": 0},
        "processes": {},
        "stop": {"group": "sweep"},
        "signal": {"group": "sweep", "signal": signal.SIGKILL},
        "start": {"group": "sweep", "command": ["true"], "env": {}},
    }
    for verb, args in asked.items():
        (answer,) = say(local, {"type": "request", "id": 1, "verb": verb, "args": args})
        assert answer["error"].startswith("PermissionError"), verb
    (group,) = harness.link.request("a", "groups")
    assert group["status"] is None


@pytest.mark.parametrize(
    "junk",
    [
        b"[]\n",
        b"\xff\n",
        b"{}\n",
        b'{"type": "hello", "pid": "Infinity"}\n',
        b'{"type": "hello", "pid": Infinity}\n',
        b'{"type": "event", "record": {"event": ["x"]}}\n',
        b'{"type": "rank-exited", "log": "' + b"x" * 10_000 + b'"}\n',
        b"x" * (3 << 20),
        encode(_HELLO) + encode({"type": "event", "record": {**FORGED, "event": "node.ended"}}),
    ],
)
def test_nonsense_costs_a_rank_its_connection_and_the_agent_one_line(
    stack: SmallStack, junk: bytes
) -> None:
    harness = stack.up("a")
    say(stack.socket("a"), junk)
    assert harness.link.request("a", "groups") == []
    assert not harness.find("event")
    (line,) = stack.log("a").splitlines()
    assert line.startswith("agent: a local process speaks nonsense: ")


def test_an_event_is_its_own_node_s_and_holds_only_what_is_armed(stack: SmallStack) -> None:
    harness = stack.up("a")
    harness.arm("a", pause={"event": "observation.recorded", "score": 1})
    say(stack.socket("a"), _HELLO, {"type": "event", "record": FORGED, "held": ["pause", "x"]})
    told = harness.wait("event")
    assert (told["node"], told["held"]) == ("a", [])


@pytest.mark.parametrize("part", ["hub", pytest.param("relay", marks=pytest.mark.slow), "agent"])
def test_a_part_that_stands_still_is_named_within_ten_seconds(stack: SmallStack, part: str) -> None:
    hub = stack.hub()
    agents = {node: stack.agent(node) for node in ("a", "b")}
    harness = stack.harness()
    for node in agents:
        harness.wait("registered", node=node)
    parts = {"hub": hub.pid, "relay": harness.link._relay.pid, "agent": agents["b"].pid}
    os.kill(parts[part], signal.SIGSTOP)
    try:
        told: Any = harness.link.receive(slowed(12))
    finally:
        os.kill(parts[part], signal.SIGCONT)
    assert told is not None
    if part == "agent":
        assert (told["type"], set(told["nodes"]), told["of"]) == ("still", {"b"}, 2)
    else:
        assert told["type"] == "gone"
        assert told["reason"].startswith(f"the {part} stands still: no sign of life for ")
