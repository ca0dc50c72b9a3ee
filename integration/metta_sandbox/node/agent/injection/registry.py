"""The ranks of a node that take orders, and who waits for their answers."""

import asyncio
import itertools
import time
from typing import Dict

from metta_sandbox.node.agent.hub.outlet import Outlet
from metta_sandbox.node.agent.messages import InjectorHello, Obeyed, Order, Seen


class Injectors:
    """Every rank that ``injection`` was put into."""

    def __init__(self) -> None:
        self._ranks: Dict[int, Outlet] = {}
        self._ids = itertools.count(1)
        self._answers: Dict[int, "asyncio.Future[Seen]"] = {}
        self._came = asyncio.Event()

    def enter(self, outlet: Outlet, hello: InjectorHello) -> None:
        """Register the connection of a rank that takes orders."""
        self._ranks[int(hello["rank"])] = outlet
        self._came.set()

    def leave(self, outlet: Outlet) -> None:
        """Forget a rank whose connection has ended."""
        for rank in [rank for rank, other in self._ranks.items() if other is outlet]:
            del self._ranks[rank]

    def take(self, message: Obeyed) -> None:
        """Give a rank's answer to whoever waits for it."""
        answer = self._answers.pop(message["id"], None)
        if answer is not None and not answer.done():
            answer.set_result(message["result"])

    async def order(self, rank: int, order: Order, patience: float) -> Seen:
        """Send a rank an order, and return its answer.

        Raises:
            LookupError: The rank takes no orders, refuses this one, or does not answer.

        """
        deadline = time.monotonic() + patience
        while rank not in self._ranks:
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), max(0.0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                raise LookupError(f"rank {rank} takes no orders") from None
        number = next(self._ids)
        answer: "asyncio.Future[Seen]" = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._ranks[rank].send({**order, "type": "order", "id": number})
        try:
            result = await asyncio.wait_for(answer, max(0.1, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            raise LookupError(f"rank {rank} did not answer within {patience:g} s") from None
        finally:
            self._answers.pop(number, None)
        if "error" in result:
            raise LookupError(result["error"])
        return result
