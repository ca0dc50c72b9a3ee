"""A watcher of a node's network: who is looked up, and what is tried, outside the stack.

It shares the node's network namespace, needs the capability NET_RAW, and tells what it sees as
lines of JSON. It tries something itself when it begins and when it ends, which it must see.
Where a network has no way out at all, the kernel refuses before there is a packet; it counts that.
Where a route leads to a gateway that nobody is, it drops packets unseen: a false entry for that,
which needs the capability NET_ADMIN, has them sent to nobody.
"""

import contextlib
import ctypes
import errno
import ipaddress
import json
import select
import signal
import socket
import sys
import time
from collections import deque
from typing import Any, Deque, Dict, Iterable, Iterator, Optional, Set, Tuple

from metta_sandbox.node.agent.sidecars.arp import settle, who_answers
from metta_sandbox.node.agent.sidecars.packets import (
    DNS_PORT,
    NEAR,
    RESOLVER,
    Network,
    Packet,
    asked_name,
    connected,
    gateways,
    is_within,
    packet_filter,
    query,
    read_packet,
    reversed_address,
    unrouted,
)

_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_OUTGOING = 4
#: Bytes that the kernel keeps of what was not read yet.
_BUFFER = 4 << 20
#: Seconds between two looks at the kernel's counters, and for what it tries itself to be seen.
_LOOK = 0.5
_PATIENCE = 5.0
#: Where nobody is (RFC 5737), and the port that discards.
_NOWHERE = ("198.51.100.1", 9)
#: Who is there before any node, and is one of the stack.
_NEIGHBOUR = "hub"
#: How many lines one thing gets, how many things are told apart, and how many are remembered.
_LINES, _THINGS, _REMEMBERED = 20, 1000, 1000
_REST = "more"


class BlindError(Exception):
    """The watcher did not see its own attempts."""


class Sieve:
    """Tells what reaches outside from what does not.

    Args:
        names: The stack's own.
        networks: Those without a gateway.
        search: The domains in which a name is looked up, too.

    """

    def __init__(
        self, names: Iterable[str], networks: Tuple[Network, ...], search: Iterable[str]
    ) -> None:
        self._names = {"localhost", *(name.lower() for name in names)}
        self._networks = (*NEAR, *networks)
        self._search = tuple("." + domain.lower() for domain in search)
        self._asked: Deque[str] = deque(maxlen=_REMEMBERED)
        self._opened: Deque[Tuple[object, ...]] = deque(maxlen=_REMEMBERED)

    def judge(self, packet: Packet) -> Optional[Dict[str, Any]]:
        """Say what of the outside a packet is after; None if nothing, or nothing new."""
        name = asked_name(packet)
        if packet.destination == RESOLVER:
            if name is None:
                return None
            self._asked.append(name)
            return None if self.is_own(name) else {"kind": "lookup", "name": name}
        near = is_within(packet.destination, self._networks)
        # Of what was asked before, the engine asks on behalf of a node.
        if near or not packet.opens or name in self._asked:
            return None
        if name is not None and not self.is_own(name):
            return {"kind": "lookup", "name": name, "server": packet.destination}
        return self._attempt(packet)

    def _attempt(self, packet: Packet) -> Optional[Dict[str, Any]]:
        flow = (packet.destination, packet.port, packet.source_port)
        if packet.protocol == "tcp":
            if flow in self._opened:
                return None  # the kernel tries again
            self._opened.append(flow)
        told = {"kind": "attempt", "address": packet.destination, "protocol": packet.protocol}
        return {**told, "port": packet.port} if packet.port else told

    def is_own(self, name: str) -> bool:
        """Tell whether a name is the stack's: a host's, or the reverse of an address."""
        address = reversed_address(name)
        if address is not None:
            return is_within(address, self._networks)
        bare = name
        for domain in self._search:
            if name.endswith(domain):
                bare = name[: -len(domain)]
        return bare in self._names or name in self._names or name.endswith(".localhost")


class Tally:
    """Counts what was seen, each thing by itself, and bounds how much of it is told."""

    def __init__(self) -> None:
        self.counts: Dict[str, int] = {}

    def take(self, thing: str, count: int = 1) -> bool:
        """Count something seen; returns whether it is still to be told in a line of its own."""
        if thing not in self.counts and len(self.counts) >= _THINGS:
            thing = _REST
        self.counts[thing] = self.counts.get(thing, 0) + count
        return self.counts[thing] <= max(_LINES, count)


def thing_of(seen: Dict[str, Any]) -> str:
    """Name what something seen is after, so that it is counted with its like."""
    if seen["kind"] == "lookup":
        return str(seen["name"])
    if seen["kind"] == "no route":
        return "no route"
    port = ":{}".format(seen["port"]) if "port" in seen else ""
    return "{}{}/{}".format(seen["address"], port, seen["protocol"])


class Watcher:
    """Watches the network of the node that it is beside.

    Args:
        node: The node's host name.
        names: All names of the stack.

    """

    def __init__(self, node: str, names: Iterable[str]) -> None:
        self._node = node
        resolver, search = resolving(_read("/etc/resolv.conf"))
        self._resolver = resolver
        networks = _connected()
        self._networks = networks
        self._sieve = Sieve(names, networks, search)
        self._socket = _listening(packet_filter(networks))
        self._tally = Tally()
        self._unrouted = _unrouted()
        self._watching = False
        #: What it tries itself: by destination and its own port, and whether that was seen.
        self._own: Dict[Tuple[str, int], str] = {}
        self._missing: Set[str] = set()

    def run(self) -> int:
        """Watch until it is told to end; returns the exit status."""
        awake, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        try:
            proof = self._prove()
            known = {"networks": [str(each) for each in self._networks], "proof": proof}
            self._tell({"kind": "watching", **known})
            self._watching = True
            while awake not in select.select([awake, self._socket], [], [], _LOOK)[0]:
                self._look()
            self._look()
            proof = self._prove()
        except BlindError as error:
            self._tell({"kind": "blind", "reason": str(error)})
            return 1
        lost = int.from_bytes(
            self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)[4:], sys.byteorder
        )
        self._tell({"kind": "end", "proof": proof, "lost": lost, "counts": self._tally.counts})
        return 0

    def _prove(self) -> Dict[str, str]:
        """See who is outside; look a name up and try to reach an address, and see both."""
        outside = self._ask_outside()
        self._own, self._missing = {}, {"lookup", "attempt"}
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with udp as asking, tcp as reaching:
            # The stack's own name servers answer for this name, and ask nobody.
            asking.sendto(query(self._node, 1), (self._resolver, DNS_PORT))
            self._own[self._resolver, asking.getsockname()[1]] = "lookup"
            reaching.setblocking(False)
            how = self._reach(reaching)
            deadline = time.monotonic() + _PATIENCE
            while self._missing:
                left = deadline - time.monotonic()
                if left <= 0:
                    missing = " and ".join(sorted(self._missing))
                    raise BlindError("its own {} was not seen".format(missing))
                select.select([self._socket], [], [], min(left, _LOOK))
                self._look()
        return {"lookup": self._node, "attempt": how, "gateway": outside}

    def _ask_outside(self) -> str:
        """Ask who is where a way out would begin; tell of each that is none of the stack's."""
        found = gateways(_read("/proc/net/route"))
        if not found:
            return "no network"
        try:
            near = socket.gethostbyname(_NEIGHBOUR)
            answering = who_answers(found, near, _PATIENCE)
            if near not in answering:
                raise BlindError("the {} does not say that it has its address".format(_NEIGHBOUR))
            for device, address in found:
                if address not in answering:
                    settle(device, address)
        except OSError as error:
            raise BlindError("asking who is outside: {}".format(error)) from None
        reached = [each for _, each in found if each in answering and not _is_member(each)]
        for address in reached:
            self._tell({"kind": "reached", "address": address})
        return "{} answers".format(", ".join(reached) or "nobody")

    def _reach(self, reaching: socket.socket) -> str:
        try:
            reaching.connect(_NOWHERE)
        except BlockingIOError:
            self._own[_NOWHERE[0], reaching.getsockname()[1]] = "attempt"
            return "packet"
        except OSError as error:
            if error.errno != errno.ENETUNREACH or _unrouted() <= self._unrouted:
                message = "connecting to {}: {}, which is not counted"
                raise BlindError(message.format(_NOWHERE[0], error)) from None
            self._unrouted += 1
            self._missing.discard("attempt")
            return "no route"
        raise BlindError("somebody answers at {}".format(_NOWHERE[0]))

    def _look(self) -> None:
        """Report the packets, and the counts of missing routes, since the last look."""
        for packet in self._packets():
            if self._is_own(packet):
                continue
            seen = self._sieve.judge(packet)
            if seen is not None:
                self._note(seen)
        count = _unrouted()
        if count > self._unrouted:
            # Once the node has ended its network goes, and what connections still say has no route.
            if set(self._networks) <= set(_connected()):
                self._note({"kind": "no route", "count": count - self._unrouted})
            self._unrouted = count

    def _is_own(self, packet: Packet) -> bool:
        own = self._own.get((packet.destination, packet.source_port))
        self._missing.discard(own or "")
        return own is not None

    def _packets(self) -> Iterator[Packet]:
        while True:
            try:
                data, address = self._socket.recvfrom(0xFFFF)
            except BlockingIOError:
                return
            packet = read_packet(address[1], data) if address[2] == _OUTGOING else None
            if packet is not None:
                yield packet

    def _note(self, seen: Dict[str, Any]) -> None:
        if self._watching and self._tally.take(thing_of(seen), seen.get("count", 1)):
            self._tell(seen)

    def _tell(self, record: Dict[str, Any]) -> None:
        when = {"time": time.time(), "mono": time.monotonic(), "node": self._node}
        sys.stdout.write(json.dumps({**when, **record}) + "\n")
        sys.stdout.flush()


def resolving(text: str) -> Tuple[str, Tuple[str, ...]]:
    """Read the first name server and the search domains of a ``resolv.conf``."""
    rows = [line.split() for line in text.splitlines()]
    servers = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
    four = [server for server in servers if _is_ipv4(server)]
    search = [row[1:] for row in rows if row and row[0] in ("search", "domain")]
    return (four or [RESOLVER])[0], tuple(search[-1]) if search else ()


def _is_member(address: str) -> bool:
    """Tell whether the engine has given an address to one of the stack, which has a name then."""
    with contextlib.suppress(OSError):
        return bool(socket.gethostbyaddr(address))
    return False


def _is_ipv4(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(ipaddress.ip_address(text), ipaddress.IPv4Address)
    return False


def _connected() -> Tuple[Network, ...]:
    return connected(_read("/proc/net/route"), _read("/proc/net/ipv6_route"))


def _unrouted() -> int:
    return unrouted(_read("/proc/net/snmp"), _read("/proc/net/snmp6"))


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:  # no IPv6
        return ""


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _listening(program: bytes) -> socket.socket:
    """Open a socket that gets what a filter lets through, on every interface."""
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    given = bytes(_Program(len(program) // 8, program))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    listener.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:  # what came before the filter was there
            listener.recv(1)
    return listener
