"""Listening sockets, the applications behind them, one event loop."""

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
from starlette.applications import Starlette

from metta_sandbox.api.announcer import Announcer
from metta_sandbox.api.app import Settings, create_app
from metta_sandbox.api.script import HangUps
from metta_sandbox.errors import MachineError
from metta_sandbox.node.agent.emitter import Emitter
from metta_sandbox.node.agent.events import ApiReady
from metta_sandbox.observatory_tokens import Tokens
from metta_sandbox.services.packages.index import create_index

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
    host: str,
    ports: tuple[int, int, int],
    data: Path,
    tokens: Tokens,
    packages: Path | None = None,
) -> None:
    """Serve the control plane until SIGTERM or SIGINT.

    Emits ``api.ready`` once all ports answer.

    Args:
        host: The address to listen on.
        ports: Of Observatory, of Cogweb and of the package index.
        data: The folder of state and transcript.
        tokens: Who may call.
        packages: Where the harness answers for the package index; None for no index.

    Raises:
        MachineError: A port or the data folder can't be used.

    """
    with ExitStack() as stack:
        wanted = ports if packages else ports[:2]
        sockets = [stack.enter_context(listen(host, port)) for port in wanted]
        bound = [int(sock.getsockname()[1]) for sock in sockets]
        announcer = Announcer(Emitter.from_environment())
        app = create_app(Settings(data=data, cogweb_port=bound[1], tokens=tokens), announcer)
        apps: list[Starlette] = [app, app]
        if packages:
            apps.append(create_index(packages, announcer.tell))
        ready = ApiReady(
            host=host,
            observatory_port=bound[0],
            cogweb_port=bound[1],
            packages_port=bound[2] if packages else None,
        )
        asyncio.run(_serve(apps, sockets, announcer, ready))


class _Server(uvicorn.Server):
    """A server that tells when it listens, and leaves the signals to us."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                HangUps(app),
                lifespan="off",  # two servers share one application, and that is begun below
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
    apps: list[Starlette], sockets: list[socket.socket], announcer: Announcer, ready: ApiReady
) -> None:
    servers = [_Server(app) for app in apps]
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
    async with apps[0].router.lifespan_context(apps[0]):
        serving = [
            asyncio.create_task(server.serve([sock]))
            for server, sock in zip(servers, sockets, strict=True)
        ]
        for server in servers:
            await server.listening.wait()
        telling = asyncio.create_task(announcer.tell(ready))
        await asyncio.gather(*serving)
        telling.cancel()
