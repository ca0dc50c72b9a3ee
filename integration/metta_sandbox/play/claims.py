"""What a node says, held against what it may say. Pure.

The hub tells truly which node speaks. What runs there says the rest, and may say anything: of
another node, of the control plane, or of what the harness alone knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metta_sandbox.scenario.names import API
from metta_sandbox.stack.link import Message

#: Told by the rollout that leads the sweep, which is rank 0's.
_LEADERS = frozenset(
    ("suggestion.made", "run.named", "handoff.sent", "observation.recorded", "sweep.resumed")
)
#: Whose fields others reckon with, beside those. What else a trainer emits has fields of its own.
_KNOWN = _LEADERS | {
    *("handoff.received", "trial.launched", "train.started", "train.step", "train.finished"),
    *("checkpoint.saved", "eval.finished", "fault.happened", "rollout.started"),
    *("rollout.finished", "node.notice", "node.ended", "folder.fresh", "folder.reread"),
}
#: Told by the control plane.
_APIS = frozenset(("api.ready", "api.request"))
#: Made by the harness of what agents report.
_HARNESS = frozenset(
    ("rank.started", "rank.exited", "command.exited", "node.lost", "node.rejoined")
)
_NUMBERS = ("trial", "rank", "node_rank", "local_rank", "seq", "pid", "attempt")
_QUANTITIES = ("step", "score", "cost", "seconds", "mono", "wall", "grace")
_TEXTS = ("run", "group", "reason")
_LONGEST_NAME = 200


def heard(message: Message, hosts: Sequence[str]) -> Message:
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
    _require_shape(record)
    name = record["event"]
    if name in _HARNESS:
        raise ValueError(f"{node} says {name}, which no process of a node can know")
    for theirs, teller in ((_APIS, API), (_LEADERS, hosts[0])):
        if name in theirs and node != teller:
            raise ValueError(f"{node} says {name}, which only {teller} can know")
    if node in hosts and "node_rank" in record:
        record["node_rank"] = hosts.index(node)
    return {**message, "record": record}


def _require_shape(record: dict[str, Any]) -> None:
    name = record.get("event")
    if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME:
        raise ValueError(f"{record['node']} says an event without a name")
    if name not in _KNOWN:
        return
    kinds = ((_NUMBERS, int), (_QUANTITIES, (int, float)), (_TEXTS, str))
    for keys, types in kinds:
        for key in keys:
            value = record.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, types)):
                raise ValueError(f"{record['node']} says {name} with an impossible {key}")
