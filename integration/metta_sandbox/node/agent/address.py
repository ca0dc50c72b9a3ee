"""Where a hub listens: ``tcp:HOST:PORT`` in containers, ``unix:PATH`` between local processes."""

import socket

from metta_sandbox.node.agent.wire import dial


class Address:
    """Where a server listens.

    Args:
        text: ``tcp:HOST:PORT`` or ``unix:PATH``.

    Raises:
        ValueError: The text is neither.

    """

    def __init__(self, text: str) -> None:
        kind, _, rest = text.partition(":")
        if kind not in ("tcp", "unix") or not rest:
            raise ValueError(f"an address is tcp:HOST:PORT or unix:PATH, not {text!r}")
        self.kind = kind
        self.path = rest
        host, _, port = rest.rpartition(":")
        self.host = host.strip("[]")  # an IPv6 address stands in brackets
        self.port = int(port) if kind == "tcp" else 0

    def connect(self) -> socket.socket:
        """Connect once, blocking.

        Raises:
            OSError: Nobody listens there (yet).

        """
        if self.kind == "tcp":
            return socket.create_connection((self.host, self.port))
        return dial(self.path)
