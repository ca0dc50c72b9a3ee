"""Who is on a network, as ARP (RFC 826) tells, in a network namespace of our own.

To ask needs the capability NET_RAW, to settle an address NET_ADMIN.
"""

import fcntl
import select
import socket
import struct
import time
from typing import Optional, Sequence, Set, Tuple

_ARP = 0x0806
_ETHERNET, _IPV4 = 1, 0x0800
_REQUEST, _REPLY = 1, 2
_MESSAGE = struct.Struct("!HHBBH6s4s6s4s")
_EVERYBODY = b"\xff" * 6
#: ``linux/sockios.h`` and ``linux/if_arp.h``: an interface's addresses, and an entry of ARP's.
_GET_ADDRESS, _GET_HARDWARE_ADDRESS, _SET_ENTRY = 0x8915, 0x8927, 0x8955
_ENTRY = struct.Struct("=H2x4s8xH14si16x16s")
_COMPLETE, _PERMANENT = 0x02, 0x04
_LONGEST = 1 << 16


def request(hardware: bytes, own: str, address: str) -> bytes:
    """Build the question who has an address.

    Args:
        hardware: The hardware address of who asks.
        own: The IPv4 address of who asks.
        address: What is asked for.

    """
    asks = (_ETHERNET, _IPV4, len(hardware), 4, _REQUEST, hardware, socket.inet_aton(own))
    return _MESSAGE.pack(*asks, bytes(6), socket.inet_aton(address))


def replier(message: bytes) -> Optional[str]:
    """Read who says that an address is theirs; None if nobody does."""
    if len(message) < _MESSAGE.size:
        return None
    *_, operation, _, address, _, _ = _MESSAGE.unpack_from(message)
    return socket.inet_ntoa(address) if operation == _REPLY else None


def who_answers(asked: Sequence[Tuple[str, str]], last: str, patience: float) -> Set[str]:
    """Ask who has addresses, and then for one that somebody has; hear whoever answers until then.

    Args:
        asked: Interfaces, and addresses on them.
        last: The address that somebody has, on the last interface.
        patience: Seconds until nobody waits for that answer any more.

    Returns:
        The addresses that somebody has; without ``last``, nothing can be said of the others.

    """
    found: Set[str] = set()
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ARP)) as asking:
        for device, address in (*asked, (asked[-1][0], last)):
            own, hardware = _addresses(device)
            to = (device, _ARP, 0, _ETHERNET, _EVERYBODY)
            asking.sendto(request(hardware, own, address), to)
        while last not in found and (left := deadline - time.monotonic()) > 0:
            if select.select([asking], [], [], left)[0]:
                found |= {replier(asking.recv(_LONGEST)) or ""}
    return found - {""}


def settle(device: str, address: str) -> None:
    """Have packets to an address that nobody has sent all the same, to end at the next bridge.

    They bear the interface's own hardware address, which no bridge sends back to where it is.

    Raises:
        OSError: The capability is missing.

    """
    _, hardware = _addresses(device)
    entry = (socket.AF_INET, socket.inet_aton(address), _ETHERNET, hardware)
    with _any_socket() as any_socket:
        packed = _ENTRY.pack(*entry, _COMPLETE | _PERMANENT, device.encode())
        fcntl.ioctl(any_socket.fileno(), _SET_ENTRY, packed)


def _addresses(device: str) -> Tuple[str, bytes]:
    """Read an interface's IPv4 address, and its hardware address."""
    with _any_socket() as any_socket:
        asked = struct.pack("=16s24x", device.encode())
        own = fcntl.ioctl(any_socket.fileno(), _GET_ADDRESS, asked)
        hardware = fcntl.ioctl(any_socket.fileno(), _GET_HARDWARE_ADDRESS, asked)
    return socket.inet_ntoa(own[20:24]), hardware[18:24]


def _any_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
