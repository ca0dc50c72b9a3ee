"""A node that is taken away with notice: all is told to end, gets its time, and is killed then."""

import asyncio
import contextlib
import signal
import time
from typing import Callable, List

from metta_sandbox.node.agent.events import KnownEvent, NodeEnded, NodeNotice
from metta_sandbox.node.agent.process_group import Group

#: Seconds that what was killed gets to be gone.
_PATIENCE = 5.0


async def give_notice(
    groups: List[Group], grace: float, cut: asyncio.Event, tell: Callable[[KnownEvent], None]
) -> None:
    """Tell groups to end, wait until all their processes have, and kill those that have not.

    Args:
        groups: What runs on the node.
        grace: Seconds that they get.
        cut: Ends the waiting before, when it is set.
        tell: Takes events: ``node.notice`` when they are told, ``node.ended`` once all are gone.

    """
    began = time.monotonic()
    names = [group.id for group in groups]
    tell(NodeNotice(signal="SIGTERM", grace=grace, groups=names))
    for group in groups:
        group.has_notice = True
        with contextlib.suppress(ProcessLookupError):
            group.signal(signal.SIGTERM)
    await _all_over(groups, grace, cut)
    killed = [group for group in groups if not group.over.is_set()]
    for group in killed:
        group.kill()
    await _all_over(killed, _PATIENCE, cut)
    tell(
        NodeEnded(
            seconds=round(time.monotonic() - began, 3),
            ended={group.id: group.status for group in groups},
            killed=[group.id for group in killed],
        )
    )


async def _all_over(groups: List[Group], patience: float, cut: asyncio.Event) -> None:
    """Wait until all groups have ended, time is up, or ``cut`` is set."""

    async def over() -> None:
        for group in groups:
            await group.over.wait()

    waited = {asyncio.ensure_future(over()), asyncio.ensure_future(cut.wait())}
    await asyncio.wait(waited, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    for each in waited:
        each.cancel()
