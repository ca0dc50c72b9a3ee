"""What a node tells that is taken away with notice, in words."""

from __future__ import annotations

from metta_sandbox.node.agent.events import Told
from metta_sandbox.words import time


def gave_notice(event: Told) -> str:
    """Say of a node what a ``node.notice`` tells."""
    return f"was preempted: {event.get('signal')} with {time(float(event.get('grace')))} notice"


def used_notice(event: Told) -> str:
    """Say what a ``node.ended`` tells."""
    seconds = f"{float(event.get('seconds', 0)):.1f} s"
    if event.get("killed"):
        return f"SIGKILL after {seconds} to what still ran"
    return f"all had ended after {seconds}"
