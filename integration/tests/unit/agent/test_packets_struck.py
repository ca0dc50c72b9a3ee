"""What becomes of packets while the network is struck, and what is asked of the kernel for it."""

from __future__ import annotations

import math
import socket
import struct
from typing import Any

import pytest

from metta_sandbox.node.agent.sidecars.netfilter import (
    message,
    read_answers,
    read_arrival,
    rules_request,
    verdict_request,
)
from metta_sandbox.node.agent.sidecars.packet_rules import (
    Active,
    Delay,
    Loss,
    Rate,
    fate_of,
    rule_of,
)
from metta_sandbox.node.agent.sidecars.packets import query
from metta_sandbox.node.agent.sidecars.segments import checksum, resets, unresolved

HERE, THERE = "10.0.0.1", "10.0.0.2"
SYN, RST, ACK = 0x02, 0x04, 0x10


def packet(protocol: int, body: bytes, source: str = THERE, to: str = HERE) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(to) + body


def segment(flags: int, number: int = 1000, acknowledged: int = 2000, data: bytes = b"") -> bytes:
    head = struct.pack("!HHIIBBHHH", 50000, 80, number, acknowledged, 0x50, flags, 512, 0, 0)
    return packet(6, head + data)


def read(data: bytes) -> dict[str, Any]:
    """Read a segment, whose checksums must be right."""
    assert checksum(data[:20]) == 0
    body = data[20:]
    assert checksum(data[12:20] + struct.pack("!BBH", 0, 6, len(body)) + body) == 0
    assert struct.unpack_from("!H", data, 2)[0] == len(data)
    ports = struct.unpack_from("!HHIIBB", body)
    names = ("source", "port", "number", "acknowledged", "_", "flags")
    return {**dict(zip(names, ports, strict=True)), "from": socket.inet_ntoa(data[12:16])}


def test_a_segment_becomes_resets_that_both_ends_accept() -> None:
    made = resets(segment(ACK, data=b"abc"))
    assert made is not None
    here, back = made
    assert here is not None
    to_us, to_them = read(here), read(back)

    # Only what stands exactly where the next byte belongs is accepted (RFC 5961).
    assert to_us == {**to_us, "from": THERE, "source": 50000, "port": 80, "number": 1000}
    assert to_them == {**to_them, "from": HERE, "source": 80, "port": 50000, "number": 2000}
    assert to_us["flags"] & to_them["flags"] & RST


def test_who_opens_a_connection_is_refused_and_nobody_else_hears_of_it() -> None:
    made = resets(segment(SYN, acknowledged=0))
    assert made is not None
    here, back = made

    assert here is None
    assert read(back) == {**read(back), "acknowledged": 1001, "flags": RST | ACK}


def test_resets_and_what_is_no_tcp_are_left_alone() -> None:
    assert resets(segment(RST)) is None
    assert resets(packet(17, b"\0" * 30)) is None


def answer(name: str, port: int = 53) -> bytes:
    asked = query(name, 7)
    reply = asked[:2] + b"\x81\x80" + b"\0\1\0\1\0\0\0\0" + asked[12:]
    reply += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\1"
    return packet(17, struct.pack("!HHHH", port, 40000, 8 + len(reply), 0) + reply, "127.0.0.11")


@pytest.mark.parametrize("asked", ["sweep-master", "Sweep-Master", "sweep-master.stack"])
def test_an_answer_about_the_name_says_that_there_is_none(asked: str) -> None:
    changed = unresolved(answer(asked), "sweep-master")
    assert changed is not None
    dns = changed[28:]

    assert checksum(changed[:20]) == 0
    assert struct.unpack_from("!H", changed, 2)[0] == len(changed)
    assert struct.unpack_from("!H", changed, 24)[0] == len(dns) + 8
    assert struct.unpack_from("!HHHHHH", dns) == (7, 0x8183, 1, 0, 0, 0)
    assert dns[12:] == query(asked, 7)[12:]


@pytest.mark.parametrize(
    "other", [answer("sweep-worker"), answer("sweep-master", port=80), segment(ACK)]
)
def test_other_answers_are_left_alone(other: bytes) -> None:
    assert unresolved(other, "sweep-master") is None


def test_all_or_nothing_is_lost() -> None:
    assert Loss(1.0).fate(b"", 5.0).lost
    assert not Loss(0.0).fate(b"", 5.0).lost
    lost = sum(Loss(0.5).fate(b"", 5.0).lost for _ in range(2000))
    assert 800 < lost < 1200


def test_what_is_late_keeps_its_order() -> None:
    rule = Delay(0.05, 0.04)
    times = [rule.fate(b"", number / 1000).at for number in range(200)]

    assert times == sorted(times)
    assert all(at >= 0.01 + number / 1000 - 1e-9 for number, at in enumerate(times))
    assert times[0] <= 0.09


def test_a_narrow_link_lets_so_much_pass_and_has_a_short_line() -> None:
    rule = Rate(80_000)
    fates = [rule.fate(bytes(1000), 10.0) for _ in range(20)]
    passed = [fate.at for fate in fates if not fate.lost]

    assert passed == pytest.approx([10.1 + number / 10 for number in range(len(passed))])
    assert len(passed) == 6
    # Once the line is empty, no credit is left from before.
    assert rule.fate(bytes(1000), 100.0).at == pytest.approx(100.1)


def test_a_packet_goes_through_all_rules_for_its_source() -> None:
    rules = {
        "slow": Active((THERE,), rule_of({"kind": "delay", "by": 1.0, "jitter": 0.0})),
        "other": Active((HERE,), rule_of({"kind": "loss", "share": 1.0})),
        "narrow": Active((THERE,), rule_of({"kind": "rate", "bits": 8.0})),
    }
    fate = fate_of(rules, THERE, b"xx", 10.0)

    assert fate.at == 13.0
    assert [each.struck for each in rules.values()] == [1, 0, 1]
    rules["cut"] = Active((THERE,), rule_of({"kind": "loss", "share": 1.0}))
    assert fate_of(rules, THERE, b"xx", 10.0).at == math.inf
    with pytest.raises(ValueError, match="no rule like"):
        rule_of({"kind": "magic"})


def steps(request: bytes) -> list[int]:
    kinds = []
    while request:
        length, kind = struct.unpack_from("=IH", request)
        kinds.append(kind & 0xFF)
        request = request[length:]
    return kinds


def test_rules_are_made_and_replaced_in_one_step() -> None:
    begin, end, table, drop, chain, rule = 0x10, 0x11, 0, 2, 3, 6
    made = rules_request([HERE, THERE], replace=False)

    assert steps(made) == [begin, table, chain, rule, rule, end]
    assert steps(rules_request([HERE], replace=True)) == [begin, drop, table, chain, rule, end]
    assert steps(rules_request([], replace=True)) == [begin, drop, end]
    assert socket.inet_aton(HERE) in made
    assert socket.inet_aton(THERE) in made
    # Queue 0, and packets pass when nobody reads it.
    assert b"NFQUEUE\0" in made
    assert struct.pack("=HHH", 0, 1, 1) in made


def test_a_packet_is_read_from_the_kernels_message_and_judged_by_its_number() -> None:
    data = segment(ACK)
    header = struct.pack("=HH", 11, 1) + struct.pack("!IHB", 42, 0x0800, 1) + b"\0"
    payload = struct.pack("=HH", 4 + len(data), 10) + data
    ((kind, body),) = read_answers(message(0x300, 0, 2, 0, header + payload))
    arrival = read_arrival(body)

    assert kind == 0x300
    assert arrival is not None
    assert (arrival.number, arrival.data, arrival.source) == (42, data, THERE)
    assert struct.pack("!II", 0, 42) in verdict_request(42, None, drop=True)
    changed = verdict_request(42, b"other", drop=False)
    assert struct.pack("!II", 1, 42) in changed
    assert b"other" in changed
