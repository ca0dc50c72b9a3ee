"""Who is let in to a hub, and what an agent may say."""

from __future__ import annotations

from typing import Any

import pytest

from metta_sandbox.node.agent.hub.admission import Admission, named, require_sayable

HARNESS = {"type": "harness"}
MASTER = {"type": "registered", "node": "sweep-master"}
BY_ADDRESS = Admission(named(("sweep-master=10.0.0.4", "sweep-worker=10.0.0.3")), {})
BY_KEY = Admission(named(("sweep-master", "sweep-worker")), {"harness": "h", "sweep-master": "m"})


@pytest.mark.parametrize(
    ("hello", "peer", "refusal"),
    [
        (HARNESS, "127.0.0.1", ""),
        (HARNESS, "10.0.0.4", "harness does not speak from 10.0.0.4"),
        (MASTER, "10.0.0.4", ""),
        (MASTER, "10.0.0.3", "sweep-master does not speak from 10.0.0.3"),
        (MASTER, "127.0.0.1", "sweep-master does not speak from 127.0.0.1"),
        ({**MASTER, "node": "mine"}, "10.0.0.3", "'mine' is no node of this stack"),
        ({**MASTER, "node": ["sweep-master"]}, "10.0.0.4", "is no node of this stack"),
        ({"type": "registered"}, "10.0.0.4", "None is no node of this stack"),
        ({"type": "nodes"}, "10.0.0.4", "harness does not speak from 10.0.0.4"),
        ({"type": "nodes"}, "127.0.0.1", ""),
        ({"type": "event"}, "10.0.0.4", "'event' is no beginning"),
        ({"type": {}}, "10.0.0.4", "{} is no beginning"),
        ({}, "10.0.0.4", "None is no beginning"),
    ],
)
def test_on_a_network_the_address_tells_who_speaks(
    hello: dict[str, Any], peer: str, refusal: str
) -> None:
    said = BY_ADDRESS.refusal(hello, peer)
    assert said == refusal or (refusal and said.endswith(refusal))


@pytest.mark.parametrize(
    ("hello", "allowed"),
    [
        ({**HARNESS, "key": "h"}, True),
        ({**HARNESS, "key": "m"}, False),
        (HARNESS, False),
        ({**MASTER, "key": "m"}, True),
        ({**MASTER, "key": "h"}, False),
        ({**MASTER, "key": ["m"]}, False),
        ({**MASTER, "key": "\ud800"}, False),
        # Nobody was given a secret for this one.
        ({**MASTER, "node": "sweep-worker", "key": ""}, False),
        ({"type": "nodes"}, True),
    ],
)
def test_over_a_local_socket_each_one_proves_itself_by_its_own_secret(
    hello: dict[str, Any], allowed: bool
) -> None:
    assert (BY_KEY.refusal(hello, "") == "") is allowed


@pytest.mark.parametrize("kind", ["lost", "gone", "refused", "beat", "still", "request", 5, None])
def test_an_agent_does_not_speak_for_the_hub_or_the_harness(kind: object) -> None:
    with pytest.raises(ValueError, match="is not an agent's to say"):
        require_sayable({"type": kind, "node": "a"})


@pytest.mark.parametrize(
    "message",
    [
        {"type": "event", "record": [], "held": []},
        {"type": "event", "record": {}},
        {"type": "lines", "source": "x", "lines": "text"},
        {"type": "exit", "group": "x", "status": "0"},
        {"type": "reply", "ok": True},
        {"type": "rank-started", "group": "x", "rank": "0", "pid": 1},
    ],
)
def test_what_has_another_shape_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without"):
        require_sayable(message)
