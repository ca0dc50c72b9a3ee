"""What ``sky logs`` shows of a task: every line with who said it, and how the job ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from metta_sandbox.skypilot.played import SkyPilot

#: What SkyPilot counts for a node whose command it ended because another one's failed.
CANCELLED = 137
_SEGFAULT = 139


def prefix(task: SkyPilot, rank: int, addresses: Sequence[str], pid: int, *, setup: bool) -> str:
    """Write what stands before a line.

    Args:
        task: Whose line it is.
        rank: The node's index.
        addresses: All nodes' addresses, by rank.
        pid: Of the process that runs the commands.
        setup: Whether these are ``setup``.

    """
    address = f", ip={addresses[rank]}" if rank else ""
    if setup:
        return f"(setup pid={pid}{address})"
    if len(addresses) == 1:
        return f"({task.name or 'task'}, pid={pid})"
    node = f"worker{rank}" if rank else "head"
    return f"({node}, rank={rank}, pid={pid}{address})"


def end_of_setup(statuses: Sequence[tuple[int, int]]) -> str:
    """Say that ``setup`` failed, of pids and statuses; nothing if it did not."""
    failed = [(pid, status) for pid, status in statuses if status not in {0, CANCELLED}]
    if not failed:
        return ""
    who = ", ".join(f"(pid={pid}, returncode={status})" for pid, status in failed)
    return f"ERROR: Job 1's setup failed. Failed workers: {who}."


def end_of_job(statuses: Sequence[int | None]) -> str:
    """Say how the job ended.

    Args:
        statuses: Of each node's ``run``, by rank; None where it was ended because another failed.

    """
    codes = [CANCELLED if status is None else _as_shell(status) for status in statuses]
    if not any(codes):
        return "Job finished (status: SUCCEEDED)."
    reason = ""
    if _SEGFAULT in codes:
        reason = " (likely due to a segmentation fault)"
    first = next((code for code in codes if code not in {0, CANCELLED}), None)
    if first is not None and CANCELLED in codes:
        reason = f" (a node failed with {first}; the commands of others were ended, with 137)"
    return f"ERROR: Job 1 failed with return code list: {codes}{reason}"


def _as_shell(status: int) -> int:
    """Give the status that a shell would say: of one ended by signal 11, 139."""
    return 128 - status if status < 0 else status
