"""Says who is where a way out of the stack would begin: ``{"asked": […], "answering": […]}``.

That is a network's gateway, or its first address, which engines give to theirs. Arguments are the
stack's own names, whose addresses are left out.
"""

import contextlib
import errno
import json
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

#: Nobody listens there (RFC 863), but the kernel must know who has the address to find out.
DISCARD = 9
#: Seconds; a kernel gives an address up that nobody has after three.
PATIENCE = 15.0
UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH)
#: An entry of the kernel's for an address that somebody has; that was put there by hand.
COMPLETE, PERMANENT = 0x02, 0x04


def gateways(route: str, own: Any) -> Any:
    """List the addresses to ask for, from ``/proc/net/route``."""
    found = set()
    for line in route.splitlines()[1:]:
        _, destination, gateway, _, _, _, _, mask = line.split()[:8]
        if int(gateway, 16):
            found.add(_address(gateway, 0))
        elif int(mask, 16):
            found.add(_address(destination, 1))
    return sorted(found - own)


def _address(text: str, more: int) -> str:
    number = int.from_bytes(bytes.fromhex(text), "little") + more
    return socket.inet_ntoa(number.to_bytes(4, "big"))


def addresses(names: Any) -> Any:
    """Look up the addresses of names, as far as they have some."""
    found = set()
    for name in names:
        with contextlib.suppress(OSError):
            found.add(socket.gethostbyname(name))
    return found


def answering(asked: Any) -> Any:
    """List those addresses of which the kernel does not say that nobody has them."""
    waiting = {}
    found = set()
    with contextlib.ExitStack() as sockets:
        for address in set(asked) - _entries(PERMANENT, PERMANENT):
            trying = sockets.enter_context(socket.socket())
            trying.setblocking(False)
            if trying.connect_ex((address, DISCARD)) not in UNREACHABLE:
                waiting[trying] = address
        deadline = time.monotonic() + PATIENCE
        while waiting and time.monotonic() < deadline:
            left = max(0.0, deadline - time.monotonic())
            for ended in select.select([], list(waiting), [], left)[1]:
                address = waiting.pop(ended)
                if ended.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) not in UNREACHABLE:
                    found.add(address)
        # One that refuses by saying that it can't be reached is there, too.
        there = _entries(COMPLETE | PERMANENT, COMPLETE)
    return sorted(found.union(waiting.values(), there.intersection(asked)))


def _entries(mask: int, value: int) -> Any:
    """List the addresses that the kernel has an entry for with these flags."""
    rows = [line.split() for line in Path("/proc/net/arp").read_text().splitlines()[1:]]
    return {row[0] for row in rows if int(row[2], 16) & mask == value}


if __name__ == "__main__":
    wanted = gateways(Path("/proc/net/route").read_text(), addresses(sys.argv[1:]))
    print(json.dumps({"asked": wanted, "answering": answering(wanted)}))  # noqa: T201
