"""The sockets that the control plane listens on, and one event loop for them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.app import create_app
from metta_sandbox.api.script import HangUps
from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import ApiReady, KnownEvent
from metta_sandbox.observatory_tokens import Tokens

Tell = Callable[[KnownEvent], Awaitable[None]]

#: Seconds that calls in flight get to end once the process is told to stop.
GRACE = 0.25
#: Seconds an idle connection stays open. Longer than a rollout pauses between calls, so that
#: a caller seldom writes into a connection that is being closed.
KEEP_ALIVE = 600


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 takes a free one.

    Raises:
        MachineError: The address can't be had; says which and why.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        number = error.errno or 0  # below zero where a name was looked up in vain
        reason = os.strerror(number) if number > 0 else "no machine has that name"
    except OverflowError:
        reason = "ports go from 0 to 65535"
    else:
        # Connections inherit it. An answer is sent in two parts, and would wait 40 ms in between.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    raise MachineError(
        f"cannot listen on {host}:{port}: {reason}", "choose another address or port; 0 is any free"
    )


@dataclass(frozen=True)
class StandIn:
    """Another server of the same process.

    Args:
        make: Makes the application, which tells its events by what it is given.
        port: Where it listens; 0 takes a free port.
        lifespan: ``on`` if the application ends something when the server ends.

    """

    make: Callable[[Tell], ASGIApp]
    port: int
    lifespan: Literal["on", "off"] = "off"


def run(
    host: str,
    ports: tuple[int, int],
    data: Path,
    tokens: Tokens,
    *,
    wandb: StandIn | None = None,
    packages: StandIn | None = None,
) -> None:
    """Serve the control plane until SIGTERM or SIGINT, and what else stands in beside it.

    Emits ``api.ready`` once all ports answer.

    Args:
        host: The address to listen on.
        ports: Observatory's and Cogweb's; 0 takes a free one.
        data: The folder of state and transcript.
        tokens: Who may call.
        wandb: W&B's server, or None.
        packages: The package index, or None.

    Raises:
        MachineError: A port or the data folder can't be used.

    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(listen(host, port)) for port in ports]
        observatory, cogweb = map(_port_of, sockets)
        announcer = Announcer(Emitter.from_environment())
        app = create_app(data, announcer, cogweb_port=cogweb, tokens=tokens)
        serving = [(_Server(app), sockets)]

        def add(other: StandIn | None) -> int | None:
            if other is None:
                return None
            sock = stack.enter_context(listen(host, other.port))
            serving.append((_Server(other.make(announcer.tell), other.lifespan), [sock]))
            return _port_of(sock)

        ready = ApiReady(
            host=host,
            observatory_port=observatory,
            cogweb_port=cogweb,
            wandb_port=add(wandb),
            packages_port=add(packages),
        )
        asyncio.run(_serve(app, serving, announcer, ready))


def _port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


class _Server(uvicorn.Server):
    """A server that tells when it listens, and leaves the signals to us."""

    def __init__(self, app: ASGIApp, lifespan: Literal["on", "off"] = "off") -> None:
        super().__init__(
            uvicorn.Config(
                HangUps(app),
                lifespan=lifespan,  # off where calls that are cut off would keep it from ending
                log_config=None,
                access_log=False,
                proxy_headers=False,  # a caller is who connects
                timeout_keep_alive=KEEP_ALIVE,
            )
        )
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(
    app: FastAPI,
    serving: Sequence[tuple[_Server, list[socket.socket]]],
    announcer: Announcer,
    ready: ApiReady,
) -> None:
    servers = [server for server, _ in serving]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.should_exit = True
        loop.call_later(GRACE, abandon)

    def abandon() -> None:
        # That calls still open are cut off now is meant, and worth no traceback each.
        logging.getLogger("uvicorn.error").disabled = True
        for server in servers:
            server.force_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with app.router.lifespan_context(app):
        tasks = [asyncio.create_task(server.serve(sockets)) for server, sockets in serving]
        for server in servers:
            await server.listening.wait()
        told = asyncio.create_task(announcer.tell(ready))
        await asyncio.gather(*tasks)
        told.cancel()
