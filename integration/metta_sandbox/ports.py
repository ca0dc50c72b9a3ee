"""Ports that one process chooses and another one binds, without a moment in which a third can."""

from __future__ import annotations

import socket
import sys
from types import TracebackType

from typing_extensions import Self


class HeldPort:
    """A port that nobody else is given by the kernel for as long as it is held.

    It is bound, but nobody listens there. Whoever asks for this very number with ``SO_REUSEADDR``
    can bind it all the same and listen, as torch's stores, ``torchrun`` and most servers do; who
    asks for any port, or connects from any, is never given it. It is let go with the object at the
    latest. On other systems than Linux it could not be shared, so there it is free again at once.
    """

    def __init__(self) -> None:
        # In both families, as whoever binds it may want either.
        try:
            self._socket = socket.socket(socket.AF_INET6)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self._socket.bind(("::", 0))
        except OSError:  # a machine without IPv6
            self._socket = socket.socket()
            self._socket.bind(("", 0))
        self.number: int = self._socket.getsockname()[1]
        # Only now: from among those that others have bound like this, none may be chosen.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux":
            self._socket.close()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a process inherits to hold the port, too."""
        return () if self._socket.fileno() < 0 else (self._socket.fileno(),)

    def release(self) -> None:
        """Let the port go in this process; who inherited it still holds it."""
        self._socket.close()

    def __del__(self) -> None:
        """Let the port go."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Hold the port for as long as a block lasts."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the port go."""
        self.release()
