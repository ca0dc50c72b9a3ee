"""Connections of those who serve many at once. Apart, as asyncio takes longest to import."""

import asyncio
from typing import Awaitable, Callable, Tuple

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.wire import LONGEST_LINE

Streams = Tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listen(address: Address, handler: Handler) -> asyncio.AbstractServer:
    """Start a server."""
    if address.kind == "unix":
        return await asyncio.start_unix_server(handler, address.path, limit=LONGEST_LINE)
    return await asyncio.start_server(handler, address.host, address.port, limit=LONGEST_LINE)


async def dial(address: Address) -> Streams:
    """Connect once.

    Raises:
        OSError: Nobody listens there (yet).

    """
    if address.kind == "unix":
        return await asyncio.open_unix_connection(address.path, limit=LONGEST_LINE)
    return await asyncio.open_connection(address.host, address.port, limit=LONGEST_LINE)
