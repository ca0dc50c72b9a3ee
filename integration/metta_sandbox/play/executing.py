"""Commands on nodes, beside whatever runs there: asked for, followed, ended."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from metta_sandbox.errors import StackError
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.node.agent.messages import Answer, Template
from metta_sandbox.play.job import Job
from metta_sandbox.play.node_commands import Executed, NodeCommands
from metta_sandbox.play.nodes import GRACE, Nodes

#: Seconds between two looks at who has begun, where all of them answer soon.
_SOON = 0.2
#: How many times longer than the slowest of the others a node that stands still takes to begin.
_SLOWER = 3.0


def execute(
    nodes: Nodes,
    job: Job,
    group: str,
    commands: Mapping[str, Sequence[str]],
    patience: float,
    *,
    soon: float = GRACE,
    template: Template | None = None,
) -> Mapping[str, Executed]:
    """Run a command on some nodes, beside whatever runs there, and wait for its ends.

    Args:
        nodes: All nodes of the stack.
        job: The sweep's, whose folder and variables it sees.
        group: Names it in logs and in the timeline.
        commands: By host.
        patience: Seconds until it is stopped where it still runs.
        soon: Seconds within which a node must have begun, once all others are done; more where
            the slowest of those took long itself, as on a machine that is busy.
        template: From which template it may be forked, if from one.

    """
    told = nodes.beside = NodeCommands(group, commands)
    began = time.monotonic()
    try:
        asked = _ask(nodes, job, group, commands, told, template)
        slowest = 0.0
        while told.missing and (left := began + patience - time.monotonic()) > 0:
            nodes.receive(min(left, _SOON))
            others_done = told.ends() and set(told.missing) <= set(asked)
            waited = time.monotonic() - began
            if not all(reply.empty() for reply in asked.values()):
                slowest = waited
            limit = max(slowed(soon if others_done else GRACE), _SLOWER * slowest)
            _note_begun(nodes, told, asked, waited, limit)
        for host in told.missing:
            with suppress(StackError):
                nodes.link.request(host, "stop", group=group, grace=1.0, patience=GRACE)
            told.fail(host, f"not done within {patience:g} s")
    finally:
        nodes.beside = None
    return told.ends()


def _ask(
    nodes: Nodes,
    job: Job,
    group: str,
    commands: Mapping[str, Sequence[str]],
    told: NodeCommands,
    template: Template | None,
) -> dict[str, queue.Queue[Answer]]:
    """Ask all nodes at once; returns where their answers come in."""
    asked = {}
    for host, command in commands.items():
        if host not in nodes.addresses:
            told.fail(host, f"{host} is lost")
            continue
        try:
            asked[host] = nodes.ask(host, group, command, job, template=template)
        except StackError as error:
            told.fail(host, str(error))
    return asked


def _note_begun(
    nodes: Nodes,
    told: NodeCommands,
    asked: dict[str, queue.Queue[Answer]],
    waited: float,
    limit: float,
) -> None:
    """Take in who has begun, was refused, or has not answered for too long."""
    for host, reply in list(asked.items()):
        if reply.empty() and waited < limit:
            continue
        del asked[host]
        silent = f"{host} has not answered for {waited:.0f} s" if reply.empty() else ""
        try:
            nodes.link.result(reply, host, "start", patience=0)
        except StackError as error:
            told.fail(host, silent or str(error))
