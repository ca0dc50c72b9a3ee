"""The emitter by itself: who it says it is, and what can't stop it."""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import pytest

from metta_sandbox.node.agent import emitter as emitter_module
from metta_sandbox.node.agent.emitter import LONGEST_EVENT, Emitter, identity
from metta_sandbox.node.agent.wire import decode, encode


def _records(mirror: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in mirror.getvalue().splitlines()]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[socket.socket]:
    """An agent of one connection: accepts when asked to, and says nothing by itself."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()
        listener.settimeout(20)
        yield listener


def _connect(agent: socket.socket, mirror: TextIO | None) -> tuple[Emitter, socket.socket]:
    """Connect an emitter; the agent's answer waits for it already."""
    accepted: list[socket.socket] = []

    def accept() -> None:
        channel, _ = agent.accept()
        channel.settimeout(20)
        channel.sendall(encode({"type": "arms", "arms": []}))
        accepted.append(channel)

    worker = threading.Thread(target=accept)
    worker.start()
    emitter = Emitter({}, agent.getsockname(), mirror)
    worker.join()
    return emitter, accepted[0]


def test_identity_comes_from_the_environment() -> None:
    environ = {"METTA_NODE": "n", "NODE_INDEX": "1", "RANK": "3", "METTA_GROUP": "trial-2"}
    assert identity(environ) == {"node": "n", "node_rank": 1, "rank": 3, "group": "trial-2"}
    trial = {"METTA_TRIAL": "2", "METTA_RUN_ID": "s.r.2"}
    assert identity(trial) == {"trial": 2, "run": "s.r.2"}
    assert identity({"METTA_RUN_ID": "s"}) == {}


def test_without_an_agent_events_go_to_the_mirror() -> None:
    mirror = io.StringIO()
    emitter = Emitter({"rank": 1}, None, mirror)
    emitter.emit("train.step", step=1)
    emitter.emit("train.step", step=2, rank=5)
    first, second = _records(mirror)
    assert first.items() >= {"event": "train.step", "rank": 1, "step": 1, "seq": 1}.items()
    assert second.items() >= {"rank": 5, "step": 2, "seq": 2, "pid": os.getpid()}.items()
    assert first["mono"] <= second["mono"]


def test_an_agent_that_is_not_there_is_said_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = io.StringIO()
    Emitter({}, str(tmp_path / "nobody"), mirror).emit("fine")
    assert "no agent at" in capsys.readouterr().err
    assert len(_records(mirror)) == 1


@pytest.mark.parametrize("broken", ["closed", "full"])
def test_a_mirror_that_takes_nothing_does_not_keep_events_from_the_agent(
    agent: socket.socket, broken: str
) -> None:
    mirror = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, as is to be seen
    if broken == "closed":
        mirror.close()
    emitter, channel = _connect(agent, mirror)
    with channel, channel.makefile("rb") as lines:
        lines.readline()
        emitter.emit("fine")
        assert decode(lines.readline())["record"]["event"] == "fine"
    emitter.close()
    if broken == "full":
        with pytest.raises(OSError, match="space"):
            mirror.close()


def test_numbers_of_other_libraries_stay_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    mirror = io.StringIO()
    emitter = Emitter({}, None, mirror)
    emitter.emit("x", loss=numpy.float32(0.5), step=numpy.int64(3), many=numpy.zeros(2), path=os)
    record = _records(mirror)[0]
    assert (record["loss"], record["step"]) == (0.5, 3)
    assert record["many"] == "[0. 0.]"
    assert record["path"].startswith("<module")


def test_an_event_that_no_wire_carries_is_refused_before_anything_is_sent() -> None:
    mirror = io.StringIO()
    emitter = Emitter({}, None, mirror)
    with pytest.raises(ValueError, match="event 'huge' has"):
        emitter.emit("huge", padding="x" * LONGEST_EVENT)
    emitter.emit("fine")
    assert [record["seq"] for record in _records(mirror)] == [1]


def test_an_agent_that_goes_away_stops_nobody(agent: socket.socket) -> None:
    mirror = io.StringIO()
    emitter, channel = _connect(agent, mirror)
    channel.close()
    for _ in range(3):
        emitter.emit("on")
    assert len(_records(mirror)) == 3


@pytest.fixture
def interrupted_by() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Let something be done by a signal handler in a moment."""

    def interrupt(act: Callable[[], None]) -> None:
        signal.signal(signal.SIGALRM, lambda *_: act())
        signal.setitimer(signal.ITIMER_REAL, 0.2)

    before = signal.getsignal(signal.SIGALRM)
    yield interrupt
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def _fill(emitter: Emitter) -> None:
    """Emit until nothing more is taken."""
    while True:
        emitter.emit("much", padding="x" * 100_000)


def test_an_interrupted_event_is_not_followed_by_others_on_the_same_line(
    agent: socket.socket, interrupted_by: Callable[[Callable[[], None]], None]
) -> None:
    """Half a line is sent when Ctrl-C comes; then only the mirror may go on."""
    mirror = io.StringIO()
    emitter, channel = _connect(agent, mirror)

    def stop() -> None:
        raise KeyboardInterrupt

    interrupted_by(stop)
    with pytest.raises(KeyboardInterrupt):
        _fill(emitter)
    emitter.emit("whole")
    with channel, channel.makefile("rb") as lines:
        assert decode(lines.readline())["type"] == "hello"
        *whole, half = lines.read().split(b"\n")
    assert all(decode(line)["record"]["event"] == "much" for line in whole)
    assert half.startswith(b'{"type": "event"')
    assert [one["event"] for one in _records(mirror)] == ["much"] * (len(whole) + 1) + ["whole"]


def test_one_emitted_from_a_handler_in_the_middle_of_another_comes_after_it(
    agent: socket.socket, interrupted_by: Callable[[Callable[[], None]], None]
) -> None:
    emitter, channel = _connect(agent, None)
    said: list[Any] = []

    def read() -> None:
        with channel.makefile("rb") as lines:
            said.extend(decode(line)["record"]["event"] for line in lines if b"record" in line)

    reader = threading.Thread(target=read)

    def act() -> None:
        emitter.emit("inner")
        reader.start()

    interrupted_by(act)
    while not reader.ident:
        emitter.emit("outer", padding="x" * 100_000)
    emitter.close()
    reader.join()
    channel.close()
    assert said.pop() == "inner"
    assert set(said) == {"outer"}


def test_what_a_fault_tells_as_it_strikes_is_not_lost(agent: socket.socket) -> None:
    """One that the agent orders as it reads an event may strike before the sender has moved on."""
    emitter, channel = _connect(agent, None)
    main = ctypes.c_ulong(threading.get_ident())

    def made(_: BaseException) -> None:
        emitter.emit("struck")

    struck = type("Struck", (Exception,), {"__init__": made})
    lines = channel.makefile("rb")
    assert decode(lines.readline())["type"] == "hello"
    said: list[str] = []

    def strike() -> None:
        said.append(decode(lines.readline())["record"]["event"])
        ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(struck))
        said.append(decode(lines.readline())["record"]["event"])

    with channel, lines:
        for _ in range(300):
            said.clear()
            agents = threading.Thread(target=strike)
            agents.start()
            with suppress(struck):
                emitter.emit("step")
                while len(said) < 2:
                    time.sleep(0.001)
            agents.join()
            assert said == ["step", "struck"]
        emitter.close()


class _StrikesAt:
    """A tracer that does something before one instruction of the emitter's own code."""

    def __init__(self, place: int, act: Callable[[], None]) -> None:
        self._left, self._act = place, act
        self.struck = False

    def __call__(self, frame: FrameType, what: str, _: object) -> _StrikesAt | None:
        if frame.f_code.co_filename != emitter_module.__file__:
            return None
        frame.f_trace_opcodes = True
        if what == "opcode":
            self._left -= 1
            if self._left < 0 and not self.struck:
                self.struck = True
                self._act()
        return self


@pytest.mark.parametrize(("finishes", "raises"), [(False, False), (False, True), (True, True)])
def test_nothing_is_lost_wherever_an_event_is_interrupted(
    agent: socket.socket, finishes: bool, raises: bool
) -> None:
    """As handlers do that return or raise, and a rank that is told to sleep, which does neither."""
    emitter, channel = _connect(agent, None)

    class Gone(BaseException):
        pass

    def strike() -> None:
        emitter.emit("inner")
        if finishes:
            emitter.finish()
        if raises:
            raise Gone

    said: list[tuple[str, ...]] = []

    def struck_at(place: int) -> bool:
        tracer = _StrikesAt(place, strike)
        with suppress(Gone):
            sys.settrace(tracer)
            try:
                emitter.emit("outer")
            finally:
                sys.settrace(None)
        return tracer.struck

    def play() -> None:
        with channel, channel.makefile("rb") as lines:
            assert decode(lines.readline())["type"] == "hello"
            while struck_at(len(said)):
                emitter.emit("after")
                events = (decode(line)["record"]["event"] for line in lines)
                said.append(tuple(takewhile(lambda event: event != "after", events)))

    # CPython 3.11 goes on to handle an exception in whose handler a tracer raised another one: on a
    # thread of its own that does not go into the next test.
    plays = threading.Thread(target=play)
    plays.start()
    plays.join()
    emitter.close()
    assert len(said) > 100
    whole = {("inner", "outer"), ("outer", "inner")}
    # What is never returned to may not have come to send its own.
    assert set(said) <= ({*whole, ("inner",)} if raises else whole)
