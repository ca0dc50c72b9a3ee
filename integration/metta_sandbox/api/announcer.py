"""Events out of the event loop: an armed one holds its request, not the whole server."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import NamedTuple

from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import KnownEvent


class _Announcement(NamedTuple):
    event: KnownEvent
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class Announcer:
    """Emits events on a thread of its own, in the order asked for.

    The thread is a daemon: an event that is still held must not keep the process from stopping.

    Args:
        emitter: Where events go.

    """

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter
        self._queue: queue.SimpleQueue[_Announcement | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="announcer", daemon=True).start()

    async def tell(self, event: KnownEvent) -> None:
        """Tell an event and wait until it is out, and let go if something holds it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(_Announcement(event, loop, done))
        await done

    def close(self) -> None:
        """Let the thread end once everything is out."""
        self._queue.put(None)

    def _work(self) -> None:
        while (announcement := self._queue.get()) is not None:
            # When nobody reads our output any more, callers still get their answers.
            with contextlib.suppress(OSError):
                self._emitter.tell(announcement.event)
            try:
                announcement.loop.call_soon_threadsafe(_finish, announcement.done)
            except RuntimeError:
                return  # the loop has ended while the event was held


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
