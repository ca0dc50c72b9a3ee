"""Packets made into others: a TCP segment into resets, an answer of a name server into a refusal.

Pure. TCP's resets follow RFC 9293 (3.5.2) and RFC 5961, names that are not there RFC 1035 (4.1.1).
"""

import struct
from typing import Optional, Tuple

from metta_sandbox.node.agent.sidecars.packets import DNS_PORT, question

_TCP, _UDP = 6, 17
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_TCP_HEADER = struct.Struct("!HHIIBBHHH")
_UDP_HEADER = struct.Struct("!HHHH")
_DNS_HEADER = 12
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_NO_SUCH_NAME = 3


def checksum(data: bytes) -> int:
    """Sum up sixteen bits at a time, in ones' complement (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack("!{}H".format(len(padded) // 2), padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _packet(protocol: int, source: bytes, destination: bytes, body: bytes) -> bytes:
    fields = (0x45, 0, _IPV4.size + len(body), 0, 0x4000, 64, protocol)
    head = _IPV4.pack(*fields, 0, source, destination)
    return _IPV4.pack(*fields, checksum(head), source, destination) + body


def transport(data: bytes) -> Tuple[int, bytes]:
    """Give a packet's protocol, and what follows its IPv4 header."""
    return data[9], data[(data[0] & 0x0F) * 4 :]


def resets(data: bytes) -> Optional[Tuple[Optional[bytes], bytes]]:
    """Make the resets that end a segment's connection on both of its sides.

    Returns:
        The one for whom the segment is for, None if that has no connection yet, and the one for
        its sender; or None for what is no segment of TCP, or itself a reset.

    """
    protocol, segment = transport(data)
    if protocol != _TCP or len(segment) < _TCP_HEADER.size or segment[13] & _RST:
        return None
    source, port, number, acknowledged, _, flags, *_ = _TCP_HEADER.unpack_from(segment)
    ends = data[12:16], data[16:20]
    if not flags & _ACK:
        back = _reset(ends[::-1], (port, source), 0, number + 1, _RST | _ACK)
        return None, back
    here = _reset(ends, (source, port), number, acknowledged, _RST | _ACK)
    return here, _reset(ends[::-1], (port, source), acknowledged, 0, _RST)


def _reset(
    ends: Tuple[bytes, bytes], ports: Tuple[int, int], number: int, acknowledged: int, flags: int
) -> bytes:
    fields = (*ports, number, acknowledged & 0xFFFFFFFF, 0x50, flags, 0)
    bare = _TCP_HEADER.pack(*fields, 0, 0)
    total = checksum(b"".join(ends) + struct.pack("!BBH", 0, _TCP, len(bare)) + bare)
    return _packet(_TCP, *ends, _TCP_HEADER.pack(*fields, total, 0))


def unresolved(data: bytes, name: str) -> Optional[bytes]:
    """Make an answer about a name into one that says that there is no such name.

    Returns:
        None for anything but an answer about this name, or about one of its domain.

    """
    protocol, body = transport(data)
    if protocol != _UDP or len(body) < _UDP_HEADER.size + _DNS_HEADER:
        return None
    source, port, *_ = _UDP_HEADER.unpack_from(body)
    answer = body[_UDP_HEADER.size :]
    if source != DNS_PORT or not answer[2] & 0x80:
        return None
    asked = question(answer[:2] + b"\1\0\0\1" + answer[6:])
    if asked is None or (asked != name and not asked.startswith(name + ".")):
        return None
    flags = bytes((answer[2], answer[3] & 0xF0 | _NO_SUCH_NAME))
    # A name is as long as its text, with a byte before it and one behind; type and class follow.
    asks = answer[_DNS_HEADER : _DNS_HEADER + len(asked) + 2 + 4]
    message = answer[:2] + flags + b"\0\1\0\0\0\0\0\0" + asks
    # A checksum of zero is none.
    head = _UDP_HEADER.pack(source, port, _UDP_HEADER.size + len(message), 0)
    return _packet(_UDP, data[12:16], data[16:20], head + message)
