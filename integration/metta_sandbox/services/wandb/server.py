"""One listening socket, and the server behind it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from metta_sandbox.api.server import KEEP_ALIVE, listen
from metta_sandbox.errors import InputError
from metta_sandbox.services.wandb.app import create_app
from metta_sandbox.services.wandb.service import KEY

#: What only this machine calls itself. Of [::1], the first letter is all that is looked at.
_OWN_NAMES = ["127.0.0.1", "localhost", "["]
#: Seconds that calls in flight get to end.
_GRACE = 2


def run(address: str, port: int, data: Path, key: str | None, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        address: Where to listen.
        port: On which port; 0 takes a free one.
        data: The folder of the store.
        key: The only key that is let in. Other machines are let in by one alone.
        say: Told where the server is, and how clients are pointed at it.

    Raises:
        InputError: The address is not this machine's alone, and there is no key; or it is none.
        MachineError: The port or the data folder can't be used.

    """
    if key is not None and not KEY.fullmatch(key):
        raise InputError("--key: expected 40 to 200 letters, digits, - or _")
    if key is None and not _is_own(address):
        raise InputError(
            f"--listen {address}: expected --key beside it", "choose 40 letters or digits"
        )
    with listen(address, port) as listener:
        app = create_app(data, key=key)
        if key is None:
            # Any key is let in: so no page of somebody else's, under a name that it has point here.
            app = TrustedHostMiddleware(app, allowed_hosts=_OWN_NAMES)
        stand_in = server(app)
        say(f"the stand-in for W&B keeps what comes in {data}; clients find it by\n")
        say(f"  export WANDB_BASE_URL={address_of(listener)}")
        say(f"  export WANDB_API_KEY={'…' if key else '0' * 40}\n")
        say(f"{address_of(listener)}/ lists runs and sweeps; Ctrl-C ends the server")
        stand_in.run(sockets=[listener])


def server(app: ASGIApp) -> uvicorn.Server:
    """Set up a server for an application."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # a caller is who connects
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)


def address_of(listener: socket.socket) -> str:
    """Say where a server is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_own(address: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
