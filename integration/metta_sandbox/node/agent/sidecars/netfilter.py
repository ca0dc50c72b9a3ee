"""Packets that the kernel hands over before they are delivered, over its own sockets.

In a network namespace of our own, with the capability NET_ADMIN. What is asked of the kernel is
built by pure functions: nf_tables for the rules (``linux/netfilter/nf_tables.h``), and its queue
for packets (``linux/netfilter/nfnetlink_queue.h``). A rule whose queue nobody reads lets packets
pass, so nothing stays behind when whoever made it dies.
"""

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from typing import Iterable, Iterator, Optional, Tuple

#: ``linux/netlink.h`` and ``linux/netfilter/nfnetlink.h``.
_NETLINK_NETFILTER, _SOL_NETLINK, _NO_ENOBUFS = 12, 270, 5
_ERROR, _BATCH_BEGIN, _BATCH_END = 2, 0x10, 0x11
_REQUEST, _ACK, _CREATE = 0x01, 0x04, 0x400
_NESTED, _TYPE = 0x8000, 0x3FFF
_TABLES, _QUEUE = 10, 3
_IPV4 = 2
_HEADER, _FAMILY_HEADER = struct.Struct("=IHHII"), struct.Struct("!BBH")
#: Messages of nf_tables, and the hook at which a packet is delivered to a process.
_NEW_TABLE, _DEL_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 2, 3, 6
_LOCAL_IN, _BEFORE_FILTERS = 1, -150
_TABLE = b"metta_faults\0"
_CHAIN = b"arrivals\0"
#: Messages and commands of the queue; the most packets that it holds.
_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_BIND, _COPY_PACKET, _LONGEST = 1, 2, 1 << 16
_PAYLOAD = 10
_DROP, _ACCEPT, _BYPASS = 0, 1, 1
_BUFFER = 16 << 20


@dataclass(frozen=True)
class Arrival:
    """A packet that waits for a verdict: its number in the queue, and its bytes from IPv4 on."""

    number: int
    data: bytes

    @property
    def source(self) -> str:
        """The address that it comes from."""
        return socket.inet_ntoa(self.data[12:16])


def attribute(kind: int, value: bytes) -> bytes:
    """Build an attribute; what it holds is padded to four bytes."""
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """Build an attribute of attributes."""
    return attribute(kind | _NESTED, b"".join(parts))


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!i" if value < 0 else "!I", value))


def message(kind: int, flags: int, family: int, resource: int, body: bytes = b"") -> bytes:
    """Build a message to netfilter; a ``resource`` is a queue's number, or a batch's subsystem."""
    length = _HEADER.size + _FAMILY_HEADER.size + len(body)
    head = _HEADER.pack(length, kind, _REQUEST | flags, 0, 0)
    return head + _FAMILY_HEADER.pack(family, 0, resource) + body


def rules_request(sources: Iterable[str], *, replace: bool) -> bytes:
    """Build the batch that has the kernel hand over what arrives from these addresses alone.

    Args:
        sources: IPv4 addresses; without any, there is no rule left.
        replace: Whether there are rules from before, which these take the place of.

    """
    found = list(sources)
    steps = [_step(_DEL_TABLE, 0, attribute(1, _TABLE))] if replace else []
    if found:
        hook = nested(4, _number(1, _LOCAL_IN), _number(2, _BEFORE_FILTERS))
        chain = attribute(1, _TABLE) + attribute(3, _CHAIN) + hook + attribute(7, b"filter\0")
        steps.append(_step(_NEW_TABLE, _CREATE, attribute(1, _TABLE) + _number(2, 0)))
        steps.append(_step(_NEW_CHAIN, _CREATE, chain))
        steps += [_step(_NEW_RULE, _CREATE | 0x800, _rule(each)) for each in found]
    begin = message(_BATCH_BEGIN, 0, 0, _TABLES)
    return begin + b"".join(steps) + message(_BATCH_END, 0, 0, _TABLES)


def _step(kind: int, flags: int, body: bytes) -> bytes:
    return message(_TABLES << 8 | kind, flags | _ACK, _IPV4, 0, body)


def _rule(source: str) -> bytes:
    """Queue what has this source. Kernels know the target by its name of old, as iptables does."""
    load = _number(1, 1) + _number(2, 1) + _number(3, 12) + _number(4, 4)
    same = _number(1, 1) + _number(2, 0) + nested(3, attribute(1, socket.inet_aton(source)))
    # struct xt_NFQ_info_v3, padded: the queue's number, one queue, and what if nobody reads it.
    queue = struct.pack("=HHHxx", 0, 1, _BYPASS)
    target = attribute(1, b"NFQUEUE\0") + _number(2, 3) + attribute(3, queue)
    steps = ((b"payload\0", load), (b"cmp\0", same), (b"target\0", target))
    listed = [nested(1, attribute(1, name), nested(2, body)) for name, body in steps]
    return attribute(1, _TABLE) + attribute(2, _CHAIN) + nested(4, *listed)


def verdict_request(number: int, payload: Optional[bytes], *, drop: bool) -> bytes:
    """Build what becomes of a packet: dropped, or delivered, as another one if it has a payload."""
    body = attribute(2, struct.pack("!II", _DROP if drop else _ACCEPT, number))
    if payload is not None:
        body += attribute(_PAYLOAD, payload)
    return message(_QUEUE << 8 | _VERDICT, 0, 0, 0, body)


def read_answers(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """Read what the kernel says: the kind of each message, and what follows its header."""
    while len(data) >= _HEADER.size:
        length, kind = _HEADER.unpack_from(data)[:2]
        yield kind, data[_HEADER.size : length]
        data = data[max(length + 3 & ~3, _HEADER.size) :]


def read_arrival(body: bytes) -> Optional[Arrival]:
    """Read a packet of the queue from its message; None if it is none of IPv4."""
    number, data = None, b""
    at = _FAMILY_HEADER.size
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        value = body[at + 4 : at + length]
        if kind & _TYPE == 1:
            (number,) = struct.unpack_from("!I", value)
        elif kind & _TYPE == _PAYLOAD:
            data = value
        at += max(length + 3 & ~3, 4)
    return None if number is None else Arrival(number, data)


class Netfilter:
    """The kernel's queue of arriving packets, and the rules that fill it.

    Raises:
        OSError: The kernel has no such queue, or the capability is missing.

    """

    def __init__(self) -> None:
        self._rules = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self.queue = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self.queue.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
        # Beyond what others may have, where we may.
        with contextlib.suppress(OSError):
            self.queue.setsockopt(socket.SOL_SOCKET, 33, _BUFFER)
        self._there = False
        bind = attribute(1, struct.pack("!BxH", _BIND, _IPV4))
        copy = attribute(2, struct.pack("!IB", 0xFFFF, _COPY_PACKET))
        for body in (bind, copy + _number(3, _LONGEST)):
            self.queue.send(message(_QUEUE << 8 | _CONFIG, _ACK, 0, 0, body))
            _raise_error(self.queue.recv(_LONGEST))

    def hand_over(self, sources: Iterable[str]) -> None:
        """Have what arrives from these addresses handed over, and nothing else.

        Raises:
            OSError: The kernel does not know how.

        """
        found = sorted(set(sources))
        if not found and not self._there:
            return
        request = rules_request(found, replace=self._there)
        self._rules.send(request)
        answers = int(self._there) + (2 + len(found) if found else 0)
        while answers > 0:
            answers -= _raise_error(self._rules.recv(_LONGEST))
        self._there = bool(found)

    def read(self) -> Iterator[Arrival]:
        """Read the packets that have come; the queue can be read."""
        for kind, body in read_answers(self.queue.recv(1 << 17)):
            if kind == _QUEUE << 8 | _PACKET:
                arrival = read_arrival(body)
                if arrival is not None:
                    yield arrival

    def judge(self, number: int, payload: Optional[bytes] = None, *, drop: bool = False) -> None:
        """Tell the kernel to deliver or drop a packet; one that is gone by now is no error."""
        with contextlib.suppress(OSError):
            self.queue.send(verdict_request(number, payload, drop=drop))


def _raise_error(data: bytes) -> int:
    """Raise an error if the kernel refuses a request; else count its answers."""
    answers = 0
    for kind, body in read_answers(data):
        if kind == _ERROR:
            answers += 1
            (code,) = struct.unpack_from("=i", body)
            if code:
                raise OSError(-code, "netfilter: {}".format(os.strerror(-code)))
    return answers
