"""Lines, messages and addresses."""

from __future__ import annotations

import pytest

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.wire import LONGEST_LINE, Arm, LineReader, decode, encode


def test_a_message_comes_out_as_it_went_in() -> None:
    message = {"type": "x", "text": "a\nb \u2028 \udcff", "list": [1, None, {"a": 0.5}]}
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize("junk", [b"", b"\xff", b"[]", b"5", b"{", b"[" * 100_000])
def test_what_is_no_message_is_a_value_error(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a message|Expecting|decode"):
        decode(junk)


def test_a_stream_is_cut_into_lines_however_it_comes() -> None:
    stream = b"one\n\ntwo\nthree\n"
    for size in range(1, len(stream)):
        reader = LineReader()
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [line for part in parts for line in reader.feed(part)] == [
            b"one",
            b"",
            b"two",
            b"three",
        ]


def test_a_line_without_end_is_refused() -> None:
    reader = LineReader()
    with pytest.raises(ValueError, match="without an end"):
        reader.feed(b"x" * (LONGEST_LINE + 1))


def test_an_arm_matches_by_every_field_it_names() -> None:
    arm = Arm.from_wire(Arm("a", {"event": "train.step", "step": 20, "rank": 1}).to_wire())
    event = {"event": "train.step", "step": 20, "rank": 1, "trial": 2}
    assert arm.matches(event)
    assert not arm.matches({**event, "step": 21})
    assert not arm.matches({"event": "train.step"})


@pytest.mark.parametrize(
    ("text", "kind", "host", "port"),
    [("tcp:hub:7077", "tcp", "hub", 7077), ("tcp:[::1]:80", "tcp", "::1", 80)],
)
def test_a_network_address_has_host_and_port(text: str, kind: str, host: str, port: int) -> None:
    address = Address(text)
    assert (address.kind, address.host, address.port) == (kind, host, port)


def test_a_local_address_has_a_path() -> None:
    assert Address("unix:/tmp/a:b").path == "/tmp/a:b"


@pytest.mark.parametrize("text", ["", "hub:7077", "tcp:", "udp:hub:1", "tcp:hub:port"])
def test_what_is_no_address_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"an address is tcp:HOST:PORT|invalid literal"):
        Address(text)
