"""What a node says, held against what it may say."""

from __future__ import annotations

from typing import Any

import pytest

from metta_sandbox.node.agent.events import (
    ApiRequest,
    HandoffReceived,
    ObservationRecorded,
    Record,
)
from metta_sandbox.node.agent.messages import Lines
from metta_sandbox.play.claims import heard

HOSTS = ("sweep-master", "sweep-worker")
HANDOFF = HandoffReceived(trial=1, run="r", overrides={}, wandb_run_id="w", port=1)
REQUEST = ApiRequest(
    service="cogweb", method="GET", route=None, path="/", call=1, status=200, seconds=0.1
)
OBSERVATION = ObservationRecorded(
    trial=1,
    run="r",
    score=0.5,
    cost=1,
    failed=False,
    reason="",
    attempt=1,
    retried=False,
    pruned=False,
)


def said(host: str, event: object = None, **fields: Any) -> Any:
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
    ("node", "record"),
    [
        ("sweep-master", OBSERVATION.record()),
        ("sweep-worker", HANDOFF.record()),
        ("sweep-worker", {"event": "train.step"}),
        ("sweep-worker", {"event": "my.own"}),
        ("dummy-api", REQUEST.record()),
    ],
)
def test_the_name_is_the_hub_s_and_the_place_is_its_name_s(node: str, record: Record) -> None:
    whole = {**record, "node": "sweep-master", "node_rank": 0, "rank": 1}
    believed: Any = heard(said(node, **whole), HOSTS)
    record = believed["record"]
    assert record["node"] == node
    assert record["node_rank"] == (1 if node == "sweep-worker" else 0)
    assert record["rank"] == 1


@pytest.mark.parametrize(
    "fields",
    [{"trial": "1"}, {"trial": True}, {"score": "9"}, {"rank": 0.5}, {"run": 5}, {"reason": {}}],
)
def test_fields_that_others_reckon_with_are_what_they_seem(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        heard(said("sweep-master", **{**OBSERVATION.record(), **fields}), HOSTS)
    # What a trainer calls its own is its own.
    assert heard(said("sweep-master", "my.own", **fields), HOSTS)


@pytest.mark.parametrize("field", ["trial", "score", "failed"])
def test_what_an_event_always_has_it_must_have(field: str) -> None:
    record = {key: value for key, value in OBSERVATION.record().items() if key != field}
    with pytest.raises(ValueError, match=f"without {field}"):
        heard(said("sweep-master", **record), HOSTS)


def test_other_messages_pass() -> None:
    lines: Lines = {"type": "lines", "node": "sweep-worker", "source": "sweep", "lines": ["x"]}
    assert heard(lines, HOSTS) is lines
