"""What packets, and the kernel's counters and routes, say of attempts to reach something. Pure.

IPv4 is RFC 791, IPv6 RFC 8200, TCP RFC 9293, UDP RFC 768, DNS RFC 1035.
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple, Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

IPV4 = 0x0800
IPV6 = 0x86DD
#: Where a container's lookups go: Docker's embedded server, whatever port that listens on.
RESOLVER = "127.0.0.11"
DNS_PORT = 53
_TCP, _UDP = 6, 17
#: The fewest bytes of headers, and the most of names.
_IPV4_HEADER, _IPV6_HEADER, _TCP_HEADER, _UDP_HEADER, _DNS_HEADER = 20, 40, 20, 8, 12
_LONGEST_NAME, _LONGEST_LABEL = 255, 63
_PROTOCOLS = {1: "icmp", _TCP: "tcp", _UDP: "udp", 58: "icmp"}
_SYN, _ACK = 0x02, 0x10
#: Loopback, multicast and broadcast, and what never leaves a link.
NEAR: Tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32"),
        *("::/128", "::1/128", "fe80::/10", "ff00::/8"),
    )
)


@dataclass(frozen=True)
class Packet:
    """A packet as far as it matters here.

    Attributes:
        source_port: 0 where there are no ports.
        opens: Whether it begins something: of TCP, only what asks for a connection does.

    """

    protocol: str
    destination: str
    source_port: int = 0
    port: int = 0
    opens: bool = True
    payload: bytes = b""


def read_packet(kind: int, data: bytes) -> Optional[Packet]:
    """Read a packet from its network header on; None if it is none, or cut.

    Args:
        kind: Its EtherType.
        data: The packet.

    """
    if kind == IPV4 and len(data) >= _IPV4_HEADER:
        header = (data[0] & 0x0F) * 4
        if header < _IPV4_HEADER or struct.unpack_from("!H", data, 6)[0] & 0x1FFF:
            return None  # of a fragment, the first one has all that is told
        return _transport(data[9], str(ipaddress.IPv4Address(data[16:20])), data[header:])
    if kind == IPV6 and len(data) >= _IPV6_HEADER:
        return _transport(data[6], str(ipaddress.IPv6Address(data[24:40])), data[40:])
    return None


def _transport(number: int, destination: str, data: bytes) -> Optional[Packet]:
    protocol = _PROTOCOLS.get(number, "protocol {}".format(number))
    if number == _TCP and len(data) >= _TCP_HEADER:
        source, port = struct.unpack_from("!HH", data)
        opens = data[13] & (_SYN | _ACK) == _SYN
        return Packet(protocol, destination, source, port, opens, data[(data[12] >> 4) * 4 :])
    if number == _UDP and len(data) >= _UDP_HEADER:
        source, port = struct.unpack_from("!HH", data)
        return Packet(protocol, destination, source, port, payload=data[8:])
    return None if number in (_TCP, _UDP) else Packet(protocol, destination)


def asked_name(packet: Packet) -> Optional[str]:
    """Read the name that a packet asks a name server for; None if it asks for none."""
    if packet.destination != RESOLVER and packet.port != DNS_PORT:
        return None
    # Over TCP, two bytes of length come first.
    return question(packet.payload[2:] if packet.protocol == "tcp" else packet.payload)


def question(message: bytes) -> Optional[str]:
    """Read the name that a DNS query asks for, in lower case; None if it is no query."""
    if len(message) < _DNS_HEADER:
        return None
    _, flags, questions = struct.unpack_from("!HHH", message)
    if flags & 0xF800 or questions != 1:  # an answer, or anything but a standard query
        return None
    labels: List[str] = []
    at = _DNS_HEADER
    while at < min(len(message), _DNS_HEADER + _LONGEST_NAME):
        length = message[at]
        if length == 0:
            return ".".join(labels) or "." if at + 5 <= len(message) else None
        if length > _LONGEST_LABEL or at + 1 + length > len(message):
            return None
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "backslashreplace").lower())
        at += 1 + length
    return None


def query(name: str, number: int) -> bytes:
    """Build a DNS query for a name's IPv4 address."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def reversed_address(name: str) -> Optional[str]:
    """Give the address that a reverse lookup asks about; None if the name is none of those."""
    labels = name.split(".")
    try:
        if labels[-2:] == ["in-addr", "arpa"]:
            return str(ipaddress.IPv4Address(".".join(reversed(labels[:-2]))))
        if labels[-2:] == ["ip6", "arpa"] and all(len(label) == 1 for label in labels[:-2]):
            return str(ipaddress.IPv6Address(bytes.fromhex("".join(reversed(labels[:-2])))))
    except ValueError:
        pass
    return None


def is_within(address: str, networks: Tuple[Network, ...]) -> bool:
    """Tell whether an address is of one of these networks."""
    known = ipaddress.ip_address(address)
    return any(known in network for network in networks)


def connected(route: str, ipv6_route: str) -> Tuple[Network, ...]:
    """List the networks that are reached without a gateway.

    Args:
        route: ``/proc/net/route``.
        ipv6_route: ``/proc/net/ipv6_route``.

    """
    found: List[Network] = []
    for line in route.splitlines()[1:]:
        _, destination, gateway, _, _, _, _, mask = line.split()[:8]
        if int(gateway, 16) == 0 and int(mask, 16) != 0:
            # In the kernel's own order of bytes, which is little-endian where containers run.
            both = _reversed_ipv4(destination), _reversed_ipv4(mask)
            found.append(ipaddress.IPv4Network("{}/{}".format(*both)))
    for line in ipv6_route.splitlines():
        words = line.split()
        bits = int(words[1], 16)
        if bits and int(words[4], 16) == 0 and words[-1] != "lo":
            found.append(ipaddress.IPv6Network((bytes.fromhex(words[0]), bits)))
    return tuple(found)


def gateways(route: str) -> Tuple[Tuple[str, str], ...]:
    """List where a way out would begin: a network's device, and its gateway's address.

    Args:
        route: ``/proc/net/route``. Where no route leads to a gateway, it is the network's first
            address, which engines give to theirs.

    """
    found: Dict[str, str] = {}
    for line in route.splitlines()[1:]:
        device, destination, gateway, _, _, _, _, mask = line.split()[:8]
        if int(gateway, 16):
            found[device] = str(_reversed_ipv4(gateway))
        elif int(mask, 16):
            found.setdefault(device, str(_reversed_ipv4(destination) + 1))
    return tuple(found.items())


def _reversed_ipv4(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(bytes.fromhex(text)[::-1])


def unrouted(snmp: str, snmp6: str) -> int:
    """Read how many packets and connections the kernel refused as there was no route.

    Args:
        snmp: ``/proc/net/snmp``.
        snmp6: ``/proc/net/snmp6``; empty where there is no IPv6.

    """
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Ip:"))
    count = int(values[names.index("OutNoRoutes")])
    return count + sum(
        int(line.split()[1]) for line in snmp6.splitlines() if line.startswith("Ip6OutNoRoutes")
    )


#: Classic BPF: loads, jumps and returns (``linux/bpf_common.h``), and ancillary data.
_LOAD_WORD, _LOAD_BYTE, _AND, _EQUAL, _RETURN = 0x20, 0x30, 0x54, 0x15, 0x06
_PROTOCOL, _PACKET_TYPE = 0xFFFFF000, 0xFFFFF004
_OUTGOING = 4
_WHOLE = 0xFFFF


def packet_filter(networks: Tuple[Network, ...]) -> bytes:
    """Build the kernel's filter: what goes out, to elsewhere than these and near networks.

    What ranks tell each other never reaches Python then. Packets begin at the network header.

    Returns:
        A program of ``struct sock_filter``, in this machine's order of bytes.

    """
    four = [net for net in (*NEAR, *networks) if isinstance(net, ipaddress.IPv4Network)]
    tests = [
        *((_LOAD_WORD, _PACKET_TYPE), (_EQUAL, _OUTGOING, "on", "drop")),
        *((_LOAD_WORD, _PROTOCOL), (_EQUAL, IPV6, "six", "on"), (_EQUAL, IPV4, "on", "drop")),
        *((_LOAD_WORD, 16), (_EQUAL, int(ipaddress.IPv4Address(RESOLVER)), "keep", "on")),
    ]
    for net in four:
        tests += [(_LOAD_WORD, 16), (_AND, int(net.netmask))]
        tests += [(_EQUAL, int(net.network_address), "drop", "on")]
    tests += [(_RETURN, _WHOLE)]
    six = len(tests)
    tests += [(_LOAD_BYTE, 24), (_EQUAL, 0xFF, "drop", "on"), (_EQUAL, 0xFE, "drop", "on")]
    tests += [(_LOAD_WORD, 24), (_EQUAL, 0, "drop", "keep")]
    keep, drop = len(tests), len(tests) + 1
    tests += [(_RETURN, _WHOLE), (_RETURN, 0)]
    program = b""
    for at, (code, value, *jumps) in enumerate(tests):
        to = {"on": at + 1, "six": six, "keep": keep, "drop": drop}
        yes, no = (to[str(jump)] - at - 1 for jump in jumps) if jumps else (0, 0)
        program += struct.pack("=HBBI", code, yes, no, int(value))
    return program
