"""The sockets that the control plane listens on, and one event loop for them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.app import Settings, create_app
from metta_sandbox.api.script import HangUps, read_services
from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import ApiReady
from metta_sandbox.observatory_tokens import Tokens

#: The folder of W&B's stand-in, in that of the control plane.
WANDB = "wandb"
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
    except socket.gaierror as error:
        reason = error.strerror
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    except OverflowError:
        reason = "ports go from 0 to 65535"
    else:
        # Connections inherit it. An answer is sent in two parts, and would wait 40 ms in between.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    raise MachineError(
        f"cannot listen on {host}:{port}: {reason}", "choose another --host or port; 0 is any free"
    )


def run(
    host: str, ports: tuple[int, int], data: Path, tokens: Tokens, wandb_port: int | None = None
) -> None:
    """Serve the control plane until SIGTERM or SIGINT, and W&B if that has a port.

    Emits ``api.ready`` once all ports answer.

    Args:
        host: The address to listen on.
        ports: Observatory's and Cogweb's; 0 takes a free one.
        data: The folder of state and transcript.
        tokens: Who may call.
        wandb_port: The port of W&B's stand-in, or None.

    Raises:
        MachineError: A port or the data folder can't be used.

    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(listen(host, port)) for port in ports]
        numbers = [int(sock.getsockname()[1]) for sock in sockets]
        announcer = Announcer(Emitter.from_environment())
        app = create_app(Settings(data=data, cogweb_port=numbers[1], tokens=tokens), announcer)
        serving = [(_Server(app), sock) for sock in sockets]
        if wandb_port is not None:
            sock = stack.enter_context(listen(host, wandb_port))
            serving.append((_Server(_wandb(data), lifespan="on"), sock))
            numbers.append(int(sock.getsockname()[1]))
        ready = ApiReady(
            host=host,
            observatory_port=numbers[0],
            cogweb_port=numbers[1],
            wandb_port=numbers[2] if len(numbers) > len(ports) else None,
        )
        asyncio.run(_serve(app, serving, announcer, ready))


def _wandb(data: Path) -> ASGIApp:
    """Make W&B's stand-in, with the answers that the scenario prescribes."""
    from metta_sandbox.services.wandb.app import create_app as create  # noqa: PLC0415 - seldom
    from metta_sandbox.services.wandb.script import Scripted  # noqa: PLC0415

    said = read_services(data).wandb
    script = [
        Scripted(**answer.model_dump(exclude={"call"}), first=first, last=last)
        for answer in (said.answers if said else ())
        for first, last in ([(call, call) for call in answer.call] if answer.call else [(1, None)])
    ]
    return create(data / WANDB, script=script)


class _Server(uvicorn.Server):
    """A server that tells when it listens, and leaves the signals to us."""

    def __init__(self, app: ASGIApp, lifespan: Literal["on", "off"] = "off") -> None:
        super().__init__(
            uvicorn.Config(
                HangUps(app),
                lifespan=lifespan,  # off where two servers share one application
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
    serving: Sequence[tuple[_Server, socket.socket]],
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
        tasks = [asyncio.create_task(server.serve([sock])) for server, sock in serving]
        for server in servers:
            await server.listening.wait()
        told = asyncio.create_task(announcer.tell(ready))
        await asyncio.gather(*tasks)
        told.cancel()
