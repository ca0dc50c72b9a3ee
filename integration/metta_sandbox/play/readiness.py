"""Nodes that come up: waiting until all are ready, and running setup on them."""

from __future__ import annotations

import time
from contextlib import suppress

from metta_sandbox.errors import StackError
from metta_sandbox.play.job import Job, set_up_of
from metta_sandbox.play.nodes import GRACE, Nodes
from metta_sandbox.play.outcome import End
from metta_sandbox.scenario.names import API
from metta_sandbox.stack.link import SETUP

#: Seconds that a stack gets from its start until every node is ready.
READY = 60.0
#: Seconds between two looks at whether something has ended that is still waited for.
_LOOK = 1.0


def await_ready(nodes: Nodes, patience: float = READY) -> None:
    """Wait until every agent has registered and the control plane listens.

    Raises:
        StackError: Somebody is missing; names who.

    """
    deadline = time.monotonic() + patience
    looked = time.monotonic()
    while missing := _awaited(nodes):
        now = time.monotonic()
        if now >= deadline:
            raise StackError(
                f"not ready within {patience:g} s: {', '.join(missing)}",
                "the logs in the artifacts say how far they came",
            )
        nodes.receive(min(deadline - now, _LOOK))
        if nodes.ending:
            raise StackError(nodes.explained(nodes.ending).reason)
        if time.monotonic() - looked > _LOOK:
            looked = time.monotonic()
            if fallen := nodes.fallen():
                ends = "; ".join(f"{host} {end}" for host, end in fallen.items())
                raise StackError(f"not ready: {ends}")


def _awaited(nodes: Nodes) -> list[str]:
    missing = [host for host in (*nodes.hosts, API) if host not in nodes.addresses]
    return missing or ([] if nodes.api else [f"{API}'s server"])


def set_up(nodes: Nodes, job: Job, script: str, patience: float) -> None:
    """Run shell commands on every node at once, and wait until they are done.

    SkyPilot gives most of its variables, and the task itself the rest, to ``run`` alone: here,
    too, they are not there.

    Raises:
        StackError: They failed on a node, or were not done within ``patience`` seconds; then
            they are ended on all.

    """
    asked = {}
    for rank, host in enumerate(nodes.hosts):
        first = set_up_of(job, script, rank, nodes.all_addresses)
        asked[host] = nodes.ask(host, SETUP, first.command, job, first.env)
    nodes.require_started(asked, SETUP)
    deadline = time.monotonic() + patience
    while len(nodes.set_up) < len(nodes.hosts) and nodes.ending is None:
        message = nodes.receive(deadline - time.monotonic())
        if message is None or time.monotonic() > deadline + GRACE:
            # Those who print faster than anybody reads have always said something.
            nodes.end(End.OVERDUE, f"setup was not done within {patience:g} s")
    if nodes.ending:
        with suppress(StackError):
            for host in nodes.hosts:
                nodes.link.request(host, "stop", group=SETUP, grace=1.0)
        raise StackError(nodes.explained(nodes.ending).reason)
