"""What a node tells that is taken away with notice, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metta_sandbox.words import time

#: Told when all on a node was told to end: ``signal``, ``grace`` in seconds, ``groups``.
NODE_NOTICE = "node.notice"
#: Told when all of that is gone: ``seconds`` since then, ``ended`` (statuses by group), ``killed``.
NODE_ENDED = "node.ended"


def gave_notice(record: Mapping[str, Any]) -> str:
    """Say of a node what a ``node.notice`` tells."""
    return f"was preempted: {record.get('signal')} with {time(float(record['grace']))} notice"


def used_notice(record: Mapping[str, Any]) -> str:
    """Say what a ``node.ended`` tells."""
    seconds = f"{float(record.get('seconds', 0)):.1f} s"
    if record.get("killed"):
        return f"SIGKILL after {seconds} to what still ran"
    return f"all had ended after {seconds}"
