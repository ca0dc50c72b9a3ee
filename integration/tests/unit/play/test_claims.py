"""What a node says, held against what it may say."""

from __future__ import annotations

from typing import Any

import pytest

from metta_sandbox.play.claims import heard

HOSTS = ("sweep-master", "sweep-worker")


def said(host: str, event: object, **fields: Any) -> dict[str, Any]:
    return {"type": "event", "node": host, "record": {"event": event, **fields}, "held": []}


@pytest.mark.parametrize(
    ("node", "event"),
    [
        ("sweep-worker", "observation.recorded"),
        ("sweep-worker", "suggestion.made"),
        ("sweep-worker", "run.named"),
        ("sweep-worker", "handoff.sent"),
        ("dummy-api", "observation.recorded"),
        ("sweep-master", "api.ready"),
        ("sweep-worker", "api.request"),
        ("sweep-master", "rank.exited"),
        ("sweep-master", "command.exited"),
        ("sweep-worker", "node.lost"),
        ("sweep-worker", ""),
        ("sweep-worker", ["train.step"]),
        ("sweep-worker", None),
    ],
)
def test_what_is_not_a_node_s_to_say_is_refused(node: str, event: object) -> None:
    with pytest.raises(ValueError, match=node):
        heard(said(node, event, trial=1, score=9999.0), HOSTS)


@pytest.mark.parametrize(
    ("node", "event"),
    [
        ("sweep-master", "observation.recorded"),
        ("sweep-worker", "handoff.received"),
        ("sweep-worker", "train.step"),
        ("sweep-worker", "my.own"),
        ("dummy-api", "api.request"),
    ],
)
def test_the_name_is_the_hub_s_and_the_place_is_its_name_s(node: str, event: str) -> None:
    record = heard(said(node, event, node="sweep-master", node_rank=0, rank=1), HOSTS)["record"]
    assert record["node"] == node
    assert record["node_rank"] == (1 if node == "sweep-worker" else 0)
    assert record["rank"] == 1


@pytest.mark.parametrize(
    "fields",
    [{"trial": "1"}, {"trial": True}, {"score": "9"}, {"rank": 0.5}, {"run": 5}, {"reason": {}}],
)
def test_fields_that_others_reckon_with_are_what_they_seem(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        heard(said("sweep-master", "observation.recorded", **fields), HOSTS)
    # What a trainer calls its own is its own.
    assert heard(said("sweep-master", "my.own", **fields), HOSTS)


def test_other_messages_pass() -> None:
    lines = {"type": "lines", "node": "sweep-worker", "source": "sweep", "lines": ["x"]}
    assert heard(lines, HOSTS) is lines
