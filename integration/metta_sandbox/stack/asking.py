"""What agents and the hub of a standing stack say of themselves, asked by a command of ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from metta_sandbox.node.agent.fork_server.client import WARM

#: Seconds within which whoever is well answers.
PATIENCE = 10.0


def groups_on(command: Sequence[str]) -> tuple[str, ...] | None:
    """Ask an agent what it runs; None if it does not answer."""
    groups: list[dict[str, Any]] | None = _asked(command)
    if groups is None:
        return None
    # A process that waits until ranks are forked from it is none of the user's.
    alive = (group for group in groups if group["status"] is None)
    return tuple(_told(group) for group in alive if not group["group"].startswith(WARM))


def nodes_known(command: Sequence[str]) -> tuple[str, ...] | None:
    """Ask the hub which nodes it knows; None if it does not answer."""
    nodes: list[str] | None = _asked(command)
    return None if nodes is None else tuple(nodes)


def _asked(command: Sequence[str]) -> Any:
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None


def _told(group: dict[str, Any]) -> str:
    ranks = [rank["rank"] for rank in group["ranks"] if rank["status"] is None]
    trained = f" (rank {', '.join(map(str, ranks))})" if ranks else ""
    return f"{group['group']}{trained}"
