"""What a node says, held against what it may say. Pure.

The hub tells truly which node speaks. What runs there says the rest, and may say anything: of
another node, of the control plane, or of what the harness alone knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from metta_sandbox.node.agent.events import CATALOGUE, KnownEvent
from metta_sandbox.node.agent.messages import Heard
from metta_sandbox.scenario.names import API
from metta_sandbox.timeline.schema import misfit

_LONGEST_NAME = 200


def heard(message: Heard, hosts: Sequence[str]) -> Heard:
    """Give what a node reports, with the node's name as the hub knows it.

    Args:
        message: What came over the hub.
        hosts: The nodes, by rank.

    Raises:
        ValueError: It is not that node's to say, or can't be what it seems.

    """
    if message["type"] != "event":
        return message
    node = message.get("node", "")
    record = {**message["record"], "node": node}
    name = record.get("event")
    if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME:
        raise ValueError(f"{node} says an event without a name")
    if known := CATALOGUE.get(name):
        _require_theirs(known, node, hosts[0])
        if wrong := misfit(record):
            raise ValueError(f"{node} says {name} {wrong}")
    if node in hosts and "node_rank" in record:
        record["node_rank"] = hosts.index(node)
    return cast("Heard", {**message, "record": record})


def _require_theirs(known: type[KnownEvent], node: str, leader: str) -> None:
    if known.teller == "the harness":
        raise ValueError(f"{node} says {known.name}, which no process of a node can know")
    teller = {"the control plane": API, "rank 0's rollout": leader}.get(known.teller, node)
    if node != teller:
        raise ValueError(f"{node} says {known.name}, which only {teller} can know")
