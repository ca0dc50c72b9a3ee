"""What a watcher makes of packets, names, routes and counters."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest

from metta_sandbox.node.agent.sidecars import arp as neighbours
from metta_sandbox.node.agent.sidecars import packets
from metta_sandbox.node.agent.sidecars.network_watch import Sieve, Tally, resolving

STACK = (ipaddress.ip_network("10.9.8.0/27"),)
RESOLVER = packets.RESOLVER


def ipv4(destination: str, transport: bytes, protocol: int = 17, fragment: int = 0) -> bytes:
    to = ipaddress.IPv4Address(destination).packed
    length = 20 + len(transport)
    return (
        struct.pack("!BBHHHBBH", 0x45, 0, length, 1, fragment, 64, protocol, 0)
        + bytes(4)
        + to
        + transport
    )


def udp(destination: str, payload: bytes, port: int = 53, source: int = 4000) -> packets.Packet:
    header = struct.pack("!HHHH", source, port, 8 + len(payload), 0)
    found = packets.read_packet(packets.IPV4, ipv4(destination, header + payload))
    assert found is not None
    return found


def tcp(
    destination: str, flags: int = 2, port: int = 80, source: int = 4000, payload: bytes = b""
) -> packets.Packet:
    header = struct.pack("!HHIIBBHHH", source, port, 0, 0, 5 << 4, flags, 0, 0, 0)
    found = packets.read_packet(packets.IPV4, ipv4(destination, header + payload, 6))
    assert found is not None
    return found


@pytest.fixture
def sieve() -> Sieve:
    return Sieve(["sweep-master", "hub", "metta-x-hub"], STACK, ["corp.example"])


def test_a_query_is_read_as_it_was_built() -> None:
    assert packets.question(packets.query("Example.COM", 7)) == "example.com"
    assert packets.question(packets.query("a.b", 7) + b"\0\0\x29rest") == "a.b"
    assert packets.question(struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\0\0\x02\0\x01") == "."


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0" * 11,
        packets.query("example.com", 1)[:12],
        packets.query("example.com", 1)[:20],
        packets.query("example.com", 1)[:-1],
        # An answer, an update, two questions.
        b"\0\1\x81\x80" + packets.query("example.com", 1)[4:],
        b"\0\1\x28\0" + packets.query("example.com", 1)[4:],
        packets.query("example.com", 1)[:4] + b"\0\2" + packets.query("example.com", 1)[6:],
        # A pointer to itself, a name without end, a label without letters.
        packets.query("x", 1)[:12] + b"\xc0\x0c\0\1\0\1",
        packets.query("x", 1)[:12] + b"\x3f" + b"a" * 63 + b"\x3f",
        packets.query("x", 1)[:12] + (b"\x3f" + b"a" * 63) * 9 + b"\0\0\1\0\1",
        packets.query("x", 1)[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
    ],
)
def test_what_is_no_query_is_none(message: bytes) -> None:
    assert packets.question(message) is None


def test_any_bytes_are_read_or_not_but_never_break() -> None:
    whole = ipv4("192.0.2.1", struct.pack("!HHHH", 1, 53, 8, 0) + packets.query("a.example", 1))
    for at in range(len(whole)):
        for value in (0, 0x3F, 0x80, 0xFF):
            spoilt = whole[:at] + bytes([value]) + whole[at + 1 :]
            for data in (spoilt, spoilt[:at]):
                for kind in (packets.IPV4, packets.IPV6, 0x0806):
                    found = packets.read_packet(kind, data)
                    if found:
                        packets.asked_name(found)


def test_names_with_bytes_that_are_no_letters_are_told() -> None:
    message = packets.query("x", 1)[:12] + b"\x02\xff\n\0\0\1\0\1"
    assert packets.question(message) == "\\xff\n"


def test_lookups_outside_are_seen_and_those_of_the_stack_are_not(sieve: Sieve) -> None:
    def ask(name: str, port: int = 40000) -> Any:
        return sieve.judge(udp(RESOLVER, packets.query(name, 1), port))

    assert ask("Example.com") == {"kind": "lookup", "name": "example.com"}
    for name in (
        *("sweep-master", "HUB", "metta-x-hub", "localhost", "a.localhost", "hub.corp.example"),
        *("3.8.9.10.in-addr.arpa", "1.0.0.127.in-addr.arpa", f"1{'.0' * 31}.ip6.arpa"),
    ):
        assert ask(name) is None, name
    for name in ("8.8.8.8.in-addr.arpa", "corp.example", "x.corp.example", "hub.example"):
        assert ask(name) == {"kind": "lookup", "name": name}


def test_lookups_over_tcp_are_seen(sieve: Sieve) -> None:
    message = packets.query("example.com", 1)
    framed = struct.pack("!H", len(message)) + message
    assert sieve.judge(tcp(RESOLVER, 2)) is None
    assert sieve.judge(tcp(RESOLVER, 0x18, payload=framed)) == {
        "kind": "lookup",
        "name": "example.com",
    }


def test_what_the_engine_asks_on_behalf_of_a_node_is_no_attempt(sieve: Sieve) -> None:
    message = packets.query("example.com", 1)
    assert sieve.judge(udp("8.8.8.8", message)) == {
        "kind": "lookup",
        "name": "example.com",
        "server": "8.8.8.8",
    }
    sieve.judge(udp(RESOLVER, message, 40000))
    assert sieve.judge(udp("8.8.8.8", message)) is None
    # A name of the stack's, which only a node would ask a stranger for.
    seen = sieve.judge(udp("8.8.8.8", packets.query("hub", 1)))
    assert seen is not None
    assert seen["kind"] == "attempt"


def test_attempts_are_seen_once_for_each_connection(sieve: Sieve) -> None:
    seen = {"kind": "attempt", "address": "192.0.2.1", "protocol": "tcp", "port": 80}
    assert sieve.judge(tcp("192.0.2.1")) == seen
    assert sieve.judge(tcp("192.0.2.1")) is None  # the kernel tries again
    assert sieve.judge(tcp("192.0.2.1", source=4001)) == seen
    assert sieve.judge(tcp("192.0.2.1", 0x10, source=4002)) is None
    assert sieve.judge(udp("192.0.2.1", b"x", 9)) == {**seen, "protocol": "udp", "port": 9}
    assert sieve.judge(udp("192.0.2.1", b"x", 9)) is not None


@pytest.mark.parametrize("near", ["10.9.8.3", "127.0.0.1", "224.0.0.251", "255.255.255.255"])
def test_what_stays_near_is_no_attempt(sieve: Sieve, near: str) -> None:
    assert sieve.judge(tcp(near)) is None
    assert sieve.judge(udp(near, b"x", 9)) is None


def test_other_protocols_and_ipv6_are_read(sieve: Sieve) -> None:
    ping = packets.read_packet(packets.IPV4, ipv4("192.0.2.1", b"\x08\0", 1))
    assert ping is not None
    assert sieve.judge(ping) == {"kind": "attempt", "address": "192.0.2.1", "protocol": "icmp"}
    header = struct.pack("!IHBB", 6 << 28, 8, 17, 64) + bytes(16)
    to = ipaddress.IPv6Address("2001:db8::1").packed
    found = packets.read_packet(packets.IPV6, header + to + struct.pack("!HHHH", 1, 9, 8, 0))
    assert found is not None
    assert (found.destination, found.protocol, found.port) == ("2001:db8::1", "udp", 9)
    assert packets.read_packet(packets.IPV4, ipv4("192.0.2.1", b"12345678", fragment=1)) is None


def test_routes_without_a_gateway_are_the_stack() -> None:
    route = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    nothing, zeros = "0" * 32, "0" * 8
    ipv6 = (
        f"fd00{'0' * 28} 40 {nothing} 00 {nothing} 00000100 {zeros} {zeros} 00000001 eth0\n"
        f"{nothing} 00 {nothing} 00 {nothing} ffffffff 00000001 {zeros} 00200200 lo\n"
    )
    assert [str(each) for each in packets.connected(route, ipv6)] == ["172.18.0.0/16", "fd00::/64"]


def test_a_way_out_begins_at_a_gateway_or_where_engines_have_theirs() -> None:
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    near = "eth0\t104DD50A\t00000000\t0001\t0\t0\t0\tF0FFFFFF\t0\t0\t0\n"
    default = "eth0\t00000000\t1E4DD50A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    assert packets.gateways(head) == ()
    assert packets.gateways(head + near) == (("eth0", "10.213.77.17"),)
    for routes in (default + near, near + default):
        assert packets.gateways(head + routes) == (("eth0", "10.213.77.30"),)


def test_who_has_an_address_is_asked_and_heard() -> None:
    asked = neighbours.request(b"\2" + bytes(5), "10.9.8.2", "10.9.8.1")
    assert asked.hex() == "00010800060400010200000000000a0908020000000000000a090801"
    assert neighbours.replier(asked) is None
    assert neighbours.replier(asked[:7] + b"\2" + asked[8:]) == "10.9.8.2"
    assert neighbours.replier(asked[:27]) is None


def test_the_kernels_counters_are_added() -> None:
    snmp = "Ip: Forwarding InReceives OutNoRoutes\nIp: 1 5 3\nIcmp: A B\nIcmp: 1 2\n"
    assert packets.unrouted(snmp, "") == 3
    assert packets.unrouted(snmp, "Ip6InReceives\t9\nIp6OutNoRoutes   \t4\n") == 7


def test_the_first_server_and_the_search_domains_are_read() -> None:
    text = "# x\nnameserver ::1\nnameserver 127.0.0.11\nsearch old\nsearch a.example b.example\n"
    assert resolving(text) == ("127.0.0.11", ("a.example", "b.example"))
    assert resolving("options ndots:0\n") == (RESOLVER, ())


def test_a_flood_is_counted_and_told_in_few_lines() -> None:
    tally = Tally()
    assert sum(tally.take("example.com") for _ in range(5000)) == 20
    told = sum(tally.take(f"{number}.example") for number in range(5000))
    assert told < 1100
    assert sum(tally.counts.values()) == 10_000
    assert len(tally.counts) <= 1001


def passes(program: bytes, packet: bytes, protocol: int = packets.IPV4, kind: int = 4) -> bool:
    """Run a classic BPF program as the kernel does (Documentation/networking/filter.rst)."""
    steps = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        code, yes, no, given = steps[at]
        at += 1
        if code == 0x06:
            return bool(given)
        if code == 0x15:
            at += yes if value == given else no
        elif code == 0x54:
            value &= given
        elif given >= 0xFFFFF000:
            value = {0: protocol, 4: kind}[given - 0xFFFFF000]
        else:
            size = {0x20: 4, 0x30: 1}[code]
            value = int.from_bytes(packet[given : given + size], "big")


@pytest.mark.parametrize(
    ("address", "through"),
    [
        *((RESOLVER, True), ("192.0.2.1", True), ("10.9.8.32", True), ("128.0.0.1", True)),
        *(("10.9.8.1", False), ("10.9.8.31", False), ("127.0.0.1", False), ("224.0.0.1", False)),
    ],
)
def test_the_kernel_hands_over_only_what_may_reach_outside(address: str, through: bool) -> None:
    program = packets.packet_filter(STACK)
    packet = ipv4(address, b"")
    assert passes(program, packet) is through
    assert not passes(program, packet, kind=0), "what comes in"
    assert not passes(program, packet, protocol=0x0806), "ARP"


@pytest.mark.parametrize(
    ("address", "through"),
    [
        ("2001:db8::1", True),
        ("fd00::1", True),
        ("::1", False),
        ("fe80::1", False),
        ("ff02::1", False),
    ],
)
def test_the_kernel_hands_over_what_leaves_by_ipv6(address: str, through: bool) -> None:
    packet = bytes(24) + ipaddress.IPv6Address(address).packed
    assert passes(packets.packet_filter(STACK), packet, packets.IPV6) is through
