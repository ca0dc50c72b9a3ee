"""Two listening sockets, one server, one application."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.app import create_app
from metta_sandbox.api.script import HangUps
from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import ApiReady
from metta_sandbox.observatory_tokens import Tokens

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


def run(host: str, observatory_port: int, cogweb_port: int, data: Path, tokens: Tokens) -> None:
    """Serve the control plane until SIGTERM or SIGINT.

    Emits ``api.ready`` (``host``, ``observatory_port``, ``cogweb_port``) once both ports answer.

    Raises:
        MachineError: A port or the data folder can't be used.

    """
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(listen(host, port)) for port in (observatory_port, cogweb_port)
        ]
        ports = [int(sock.getsockname()[1]) for sock in sockets]
        announcer = Announcer(Emitter.from_environment())
        app = create_app(data, announcer, cogweb_port=ports[1], tokens=tokens)
        asyncio.run(_serve(app, sockets, announcer, host, ports))


class _Server(uvicorn.Server):
    """A server that tells when it listens, and leaves the signals to us."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                HangUps(app),
                lifespan="off",  # uvicorn's would not end where calls are cut off
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
    app: FastAPI, sockets: list[socket.socket], announcer: Announcer, host: str, ports: list[int]
) -> None:
    server = _Server(app)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True
        loop.call_later(GRACE, abandon)

    def abandon() -> None:
        # That calls still open are cut off now is meant, and worth no traceback each.
        logging.getLogger("uvicorn.error").disabled = True
        server.force_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with app.router.lifespan_context(app):
        serving = asyncio.create_task(server.serve(sockets))
        await server.listening.wait()
        ready = asyncio.create_task(
            announcer.tell(ApiReady(host=host, observatory_port=ports[0], cogweb_port=ports[1]))
        )
        await serving
        ready.cancel()
