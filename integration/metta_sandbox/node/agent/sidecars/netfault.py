"""What strikes a node's network from beside it, and sees whether it did.

It shares the node's network namespace, and nothing else. Orders come as lines of JSON; it ends, and
with it all that it does, when there are no more of them. Beside the node's own packets it handles
its own: datagrams and connections to others of its kind, by which it is seen what gets through.
"""

import contextlib
import heapq
import itertools
import os
import select
import socket
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from metta_sandbox.node.agent.sidecars.netfilter import Arrival, Netfilter
from metta_sandbox.node.agent.sidecars.orders import follow, say
from metta_sandbox.node.agent.sidecars.packet_rules import Active, fate_of, rule_of
from metta_sandbox.node.agent.sidecars.packets import DNS_PORT, RESOLVER, query
from metta_sandbox.node.agent.sidecars.segments import transport

_UDP = 17
_UDP_HEADER = 8
_MARK = b"metta-probe "
_LONGEST = 1 << 16
#: Seconds that a probe's own steps get.
_PATIENCE = 5.0
_OK, _NO_SUCH_NAME = 0, 3


class Gate:
    """Hands packets over or back, as the rules in force have it. A thread of its own runs it."""

    def __init__(self, on_lost: Callable[[bytes], None]) -> None:
        self._netfilter = Netfilter()
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._on_lost = on_lost
        self._rules: Dict[str, Active] = {}
        self._lock = threading.Lock()
        self._count = itertools.count()
        self._held: List[Tuple[float, int, Arrival, Optional[bytes]]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def change(self, name: str, active: Optional[Active]) -> int:
        """Set a fault's rule, or lift it; returns how many packets its rule before has struck."""
        with self._lock:
            before = self._rules.pop(name, None)
            if active is not None:
                self._rules[name] = active
            elif before is not None:
                # What is still held goes at once: with their last rule, the kernel forgets them.
                for _, _, arrival, payload in sorted(self._held):
                    self._netfilter.judge(arrival.number, payload)
                self._held.clear()
            peers = [peer for each in self._rules.values() for peer in each.peers]
            self._netfilter.hand_over(peers)
        return before.struck if before else 0

    def open(self) -> None:
        """Lift all rules, so that packets pass again."""
        for name in list(self._rules):
            self.change(name, None)

    def _run(self) -> None:
        while True:
            with self._lock:
                left = self._held[0][0] - time.monotonic() if self._held else None
            ready, _, _ = select.select(
                [self._netfilter.queue], [], [], None if left is None else max(0.0, left)
            )
            with self._lock:
                if ready:
                    for arrival in self._netfilter.read():
                        self._take(arrival)
                self._let_go()

    def _take(self, arrival: Arrival) -> None:
        now = time.monotonic()
        fate = fate_of(self._rules, arrival.source, arrival.data, now)
        if fate.reply is not None:
            self._reply(fate.reply)
        if fate.lost:
            self._netfilter.judge(arrival.number, drop=True)
            self._on_lost(arrival.data)
        elif fate.at <= now:
            self._netfilter.judge(arrival.number, fate.payload)
        else:
            heapq.heappush(self._held, (fate.at, next(self._count), arrival, fate.payload))

    def _reply(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # it may be lost like any other
            self._raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    def _let_go(self) -> None:
        while self._held and self._held[0][0] <= time.monotonic():
            _, _, arrival, payload = heapq.heappop(self._held)
            self._netfilter.judge(arrival.number, payload)


class Probes:
    """Datagrams and connections between those beside nodes, and what became of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrived: Dict[str, List[Tuple[float, float]]] = {}
        self._lost: Dict[str, int] = {}
        self._ends: List[str] = []
        self._connections: Dict[str, socket.socket] = {}
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("", 0))
        self.listener = socket.create_server(("", 0))
        for run in (self._receive, self._accept):
            threading.Thread(target=run, daemon=True).start()

    def _receive(self) -> None:
        while True:
            data = self.datagrams.recv(_LONGEST)
            read = time.monotonic()
            if data.startswith(_MARK):
                _, tag, sent = data.split(b" ", 3)[:3]
                with self._changed:
                    found = self._arrived.setdefault(tag.decode(), [])
                    found.append((read, read - float(sent)))
                    self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        end = "closed"
        try:
            for data in iter(lambda: connection.recv(_LONGEST), b""):
                connection.sendall(data)
        except OSError as error:
            end = type(error).__name__
        with self._changed:
            self._ends.append(end)
            self._changed.notify_all()

    def lost(self, packet: bytes) -> None:
        """Count a dropped packet, if it was a probe's."""
        protocol, body = transport(packet)
        data = body[_UDP_HEADER:]
        if protocol == _UDP and data.startswith(_MARK):
            tag = data.split(b" ", 2)[1].decode()
            with self._changed:
                self._lost[tag] = self._lost.get(tag, 0) + 1
                self._changed.notify_all()

    def send(self, to: List[Any], tag: str, count: int, size: int) -> None:
        """Send so many datagrams of so many bytes, as fast as it goes."""
        for _ in range(count):
            head = _MARK + "{} {!r} ".format(tag, time.monotonic()).encode()
            self.datagrams.sendto(head.ljust(size, b"."), (to[0], to[1]))

    def seen(self, tag: str, count: int, within: float) -> Dict[str, Any]:
        """Wait until so many datagrams have arrived or were dropped here, and tell of them."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._arrived.get(tag, ())) + self._lost.get(tag, 0) >= count, within
            )
            arrived = list(self._arrived.get(tag, ()))
            return {
                "arrived": len(arrived),
                "lost": self._lost.get(tag, 0),
                "delays": [delay for _, delay in arrived],
                # From when the first was sent to when the last was read.
                "span": arrived[-1][0] - arrived[0][0] + arrived[0][1] if arrived else 0.0,
            }

    def connect(self, name: str, to: List[Any]) -> str:
        """Open a connection, and say how it answers."""
        self._forget(name)
        try:
            self._connections[name] = socket.create_connection((to[0], to[1]), _PATIENCE)
        except OSError as error:
            return type(error).__name__
        return self.say(name)

    def say(self, name: str) -> str:
        """Send a byte on a connection; ``answers`` if it comes back, or what came instead."""
        connection = self._connections[name]
        try:
            connection.sendall(b"?")
            return "answers" if connection.recv(1) else "closed"
        except OSError as error:
            return type(error).__name__

    def ends(self) -> List[str]:
        """Tell how connections from others have ended, in order."""
        with self._changed:
            return list(self._ends)

    def _forget(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            self._connections.pop(name).close()


def lookup(name: str) -> str:
    """Ask the node's name server for a name; ``answers``, ``no such name``, or else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_PATIENCE)
        asking.connect((RESOLVER, DNS_PORT))
        try:
            asking.send(query(name, os.getpid() & 0xFFFF))
            code = asking.recv(_LONGEST)[3] & 0x0F
        except OSError as error:
            return type(error).__name__
    return {_OK: "answers", _NO_SUCH_NAME: "no such name"}.get(code, "error {}".format(code))


class NetworkFaults:
    """Follows orders to strike and probe a node's network, one after another."""

    def __init__(self) -> None:
        self._probes = Probes()
        self._gate = Gate(self._probes.lost)
        self._taken: Dict[int, socket.socket] = {}
        self._verbs: Dict[str, Callable[..., Any]] = {
            "strike": self._strike,
            "heal": lambda name: self._gate.change(name, None),
            "send": self._probes.send,
            "seen": self._probes.seen,
            "connect": self._probes.connect,
            "say": self._probes.say,
            "ends": self._probes.ends,
            "lookup": lookup,
            "take": self._take,
            "release": self._release,
            "free": self._free,
        }

    def run(self, orders: Iterator[str]) -> int:
        """Say where probes are to go to, and follow orders until there are no more."""
        ports = self._probes.datagrams.getsockname()[1], self._probes.listener.getsockname()[1]
        say({"datagrams": ports[0], "connections": ports[1]})
        try:
            follow(self._verbs, orders)
        finally:
            self._gate.open()
        return 0

    def _strike(self, name: str, peers: List[str], **said: Any) -> None:
        try:
            self._gate.change(name, Active(tuple(peers), rule_of(said)))
        except OSError:
            self._gate.change(name, None)
            raise

    def _take(self, port: int) -> None:
        self._taken[port] = socket.create_server(("", port))

    def _release(self, port: int) -> None:
        if port in self._taken:
            self._taken.pop(port).close()

    def _free(self, port: int) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                return False
            return True


def run() -> int:
    """Follow orders from standard input."""
    return NetworkFaults().run(iter(sys.stdin.readline, ""))
