"""A sweep that is under way: followed until it has ended, or must be ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from metta_sandbox.play.last_seen import is_sign_of_life
from metta_sandbox.play.nodes import GRACE, Nodes
from metta_sandbox.play.outcome import End, Ending, Limits
from metta_sandbox.play.rejoining import Absentees

_IN_VAIN = ", but that PyTorch tries to connect again,"

GetsOn = Callable[[int], str]


def follow(nodes: Nodes, limits: Limits, gets_on: GetsOn = lambda _times: "") -> Ending:
    """Take in what the nodes report until the sweep has ended or must be ended.

    Args:
        nodes: All nodes of the stack.
        limits: How long it may take, and be silent.
        gets_on: Asked when it was silent for too long: says who is still at work, if anybody
            is and nobody hangs. It is told how often it has said so already.

    Raises:
        MachineError: What they report can't be kept.

    """
    began = heard = time.monotonic()
    but, patience = "", 0
    listener = nodes.listener
    nodes.absentees = Absentees(limits.rejoin)
    while (ending := nodes.ending) is None:
        if overdue := nodes.absentees.overdue:
            nodes.end(End.NODE_LOST, overdue[1])
            continue
        silent_at = heard + limits.longest_silence
        until = min(began + limits.deadline, silent_at, nodes.absentees.deadline)
        if listener and listener.due <= time.monotonic():
            listener.act()
        due = min(until, listener.due) if listener else until
        message = nodes.receive(due - time.monotonic())
        if message is not None:
            nodes.timeline.require_whole()
            alive = is_sign_of_life(message)
            heard = time.monotonic() if alive else heard
            but, patience = ("", 0) if alive else (_IN_VAIN, patience)
            if time.monotonic() > began + limits.deadline + GRACE:
                nodes.end(End.OVERDUE, _overdue(limits))
        elif due < until or until == nodes.absentees.deadline:
            continue
        elif until == silent_at:
            asked = time.monotonic()
            if working := gets_on(patience):
                nodes.timeline.step(f"silent for {limits.longest_silence:g} s: {working}")
                heard, patience = time.monotonic(), patience + 1
            elif nodes.alive >= asked:
                # Somebody was heard of while all were looked at, which may take long.
                heard, but, patience = nodes.alive, "", 0
            else:
                nodes.end(End.SILENT, _silence(nodes, limits, but))
        else:
            nodes.end(End.OVERDUE, _overdue(limits))
    return nodes.explained(ending)


def _silence(nodes: Nodes, limits: Limits, but: str) -> str:
    left = (host for host in nodes.hosts if host not in nodes.statuses)
    silence = f"no event and no log line{but} for {limits.longest_silence:g} s"
    return f"{silence}{nodes.last_seen.describe(left)}"


def _overdue(limits: Limits) -> str:
    return f"the sweep was not over after its deadline of {limits.deadline:g} s"
