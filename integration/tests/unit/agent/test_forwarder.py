"""What is forwarded of what was printed: bounded, marked where cut, and counted to the line."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metta_sandbox.node.agent import forward
from metta_sandbox.node.agent.events import Record
from metta_sandbox.node.agent.forward import BURST, LONGEST_FORWARDED, Forwarder, Tail
from metta_sandbox.node.agent.wire import LONGEST_LINE, encode

_MARK = re.compile(r"\[\.\.\. (\d+) lines of rank-0 not forwarded\]")


class _Sink:
    """Takes what a forwarder sends, at a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.full = False
        self.heard = False
        self.messages: list[Any] = []

    def forwarder(self) -> Forwarder:
        return Forwarder(
            "rank-0", "[rank 0] ", self.messages.append, lambda: self.full, self._take_printed
        )

    def _take_printed(self, record: Record, tell: Callable[[Record], None]) -> None:
        if not self.heard:
            tell(record)

    @property
    def lines(self) -> list[str]:
        return [
            line
            for message in self.messages
            if message["type"] == "lines"
            for line in message["lines"]
        ]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [message["record"] for message in self.messages if message["type"] == "event"]

    @property
    def accounted(self) -> int:
        marks = [_MARK.fullmatch(line) for line in self.lines]
        return len(self.events) + sum(int(mark[1]) if mark else 1 for mark in marks)


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> _Sink:
    sink = _Sink()
    monkeypatch.setattr("time.monotonic", lambda: sink.now)
    return sink


def test_lines_are_forwarded_and_printed_with_their_prefix(
    sink: _Sink, capfd: pytest.CaptureFixture[str]
) -> None:
    forwarder = sink.forwarder()
    forwarder.feed(b"one\ntw")
    forwarder.feed(b"o\r\n\nlast")
    forwarder.close()
    assert sink.lines == ["one", "two", "", "last"]
    assert capfd.readouterr().out == "[rank 0] one\n[rank 0] two\n[rank 0] \n[rank 0] last\n"


def test_a_flood_is_cut_where_the_burst_ends_and_the_cut_is_marked(sink: _Sink) -> None:
    forwarder = sink.forwarder()
    many = int(BURST) + 700
    forwarder.feed(b"".join(b"%d\n" % number for number in range(many)))
    assert sink.lines == [str(number) for number in range(int(BURST))]
    sink.now += 0.01  # room for ten
    forwarder.feed(b"next\n")
    assert sink.lines[-2:] == ["[... 700 lines of rank-0 not forwarded]", "next"]


def test_the_end_of_a_flood_is_marked_though_nothing_follows(sink: _Sink, tmp_path: Path) -> None:
    forwarder = sink.forwarder()
    file = tmp_path / "rank-0.log"
    file.write_bytes(b"x\n" * (int(BURST) + 5))
    tail = Tail(str(file), forwarder)
    tail.poll()
    sink.now += 1
    tail.poll()
    assert sink.lines[-1] == "[... 5 lines of rank-0 not forwarded]"


def test_a_flood_lasts_as_long_as_it_likes_within_the_rate(sink: _Sink) -> None:
    forwarder = sink.forwarder()
    for _ in range(100):
        forwarder.feed(b"x\n" * 1000)
        sink.now += 0.01
    forwarder.close()
    shown = [line for line in sink.lines if line == "x"]
    assert BURST <= len(shown) <= BURST + 1000 + 1
    assert sink.accounted == 100_000


def test_a_slow_harness_has_all_cut_and_told_later(sink: _Sink) -> None:
    forwarder = sink.forwarder()
    sink.full = True
    forwarder.feed(b"a\nb\nc")
    assert sink.messages == []
    sink.full = False
    forwarder.feed(b"c\nd\n")
    assert sink.lines == ["[... 2 lines of rank-0 not forwarded]", "cc", "d"]


def test_a_long_line_is_cut_marked_and_costs_its_length(sink: _Sink) -> None:
    forwarder = sink.forwarder()
    long = 3_000_000
    for _ in range(long // 1000):
        forwarder.feed(b"x" * 1000)
    forwarder.feed(b"\nshort\n")
    cut = f"[... {long - LONGEST_FORWARDED} bytes not forwarded]"
    assert sink.lines == ["x" * LONGEST_FORWARDED + f" {cut}", "short"]
    assert forwarder._tokens <= BURST - long // LONGEST_FORWARDED


def test_no_message_is_longer_than_the_wire_carries(sink: _Sink) -> None:
    forwarder = sink.forwarder()
    forwarder.feed(b"\xff" * 8000 + b"\n")
    forwarder.feed((b"\x00" * 8000 + b"\n") * 4000)
    assert len(sink.lines) == 4001
    assert max(len(encode(message)) for message in sink.messages) < LONGEST_LINE


@given(
    parts=st.lists(st.sampled_from([b"", b"a", b"\n", b"ab\ncd", b"\n" * 30, b"x" * 90_000])),
    pauses=st.lists(st.sampled_from([0.0, 0.002, 1.0]), min_size=1),
    full=st.lists(st.booleans(), min_size=1),
)
def test_every_line_is_forwarded_or_counted(
    parts: list[bytes], pauses: list[float], full: list[bool]
) -> None:
    sink = _Sink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: sink.now)
        patch.setattr(forward, "BURST", 20.0)
        forwarder = sink.forwarder()
        for number, part in enumerate(parts):
            sink.now += pauses[number % len(pauses)]
            sink.full = full[number % len(full)]
            forwarder.feed(part)
        sink.full = False
        forwarder.close()
    printed = b"".join(parts)
    last = 1 if printed and not printed.endswith(b"\n") else 0
    assert sink.accounted == printed.count(b"\n") + last


_GOOD = {"event": "step", "pid": 7, "seq": 1, "step": 20}


def test_a_mirrored_event_is_sent_unless_it_was_heard(
    sink: _Sink, capfd: pytest.CaptureFixture[str]
) -> None:
    forwarder = sink.forwarder()
    line = json.dumps(_GOOD).encode()
    forwarder.feed(b"before\n" + line + b"\nafter\n")
    assert [message["type"] for message in sink.messages] == ["lines", "event", "lines"]
    assert sink.events == [_GOOD]
    sink.heard = True
    forwarder.feed(line + b"\n")
    assert sink.events == [_GOOD]
    assert sink.lines == ["before", "after"]
    # On the agent's own output, an event is a line of JSON without a prefix.
    assert capfd.readouterr().out.splitlines().count(line.decode()) == 2


@pytest.mark.parametrize(
    "junk",
    [
        '{"event": "x", "pid": [1], "seq": 1}',
        '{"event": "x", "pid": 1, "seq": "1"}',
        '{"event": "from another logger", "level": "info"}',
        '{"event": 5, "pid": 1, "seq": 1}',
        '{"event": "x", "pid": 1, "seq": 1',
        '{"event": null}',
        '{"event":' + "[" * 8000,
        '{"event":' + "1" * 8000 + "}",
    ],
)
def test_what_only_looks_like_an_event_is_a_line(sink: _Sink, junk: str) -> None:
    sink.forwarder().feed(junk.encode() + b"\n")
    assert sink.lines == [junk]
    assert sink.events == []


def test_output_that_nobody_takes_hurts_nobody(
    sink: _Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        sink.forwarder().feed(b"one\n")
        # What could not be written would be tried again on closing.
        with pytest.raises(OSError, match="space"):
            full.close()
    assert sink.lines == ["one"]


def test_a_tail_starts_where_told_and_misses_nothing(sink: _Sink, tmp_path: Path) -> None:
    file = tmp_path / "rank-0.log"
    tail = Tail(str(file), sink.forwarder(), start=4)
    tail.poll()
    file.write_bytes(b"old\nnew\nne")
    tail.poll()
    with file.open("ab") as more:
        more.write(b"xt\n")
    tail.poll()
    assert sink.lines == ["new", "next"]


def test_a_tail_of_very_much_takes_turns(sink: _Sink, tmp_path: Path) -> None:
    file = tmp_path / "rank-0.log"
    with file.open("wb") as huge:
        huge.truncate(64 << 20)
    tail = Tail(str(file), sink.forwarder())
    tail.poll()
    assert 0 < tail._position < 16 << 20


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_nothing_is_forwarded_that_took_a_logs_place(
    sink: _Sink, tmp_path: Path, kind: str
) -> None:
    secret, log = tmp_path / "secret", tmp_path / "rank-0.log"
    secret.write_text("only for the caller\n")
    if kind == "pipe":
        os.mkfifo(log)
    elif kind == "folder":
        log.mkdir()
    else:
        (log.symlink_to if kind == "link" else log.hardlink_to)(secret)
    tail = Tail(str(log), sink.forwarder())
    tail.poll()
    asyncio.run(tail.finish())
    assert sink.lines == []
