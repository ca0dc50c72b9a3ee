"""A clock that is off in one process: which clocks, for whom, and that nobody falls over it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import metta_sandbox
from metta_sandbox.node.agent.injection import clock

PACKAGE = Path(metta_sandbox.__file__).parents[1]
SECOND = 10**9
HOUR = 3600 * SECOND
#: More nanoseconds than any machine takes between two readings, and far less than an hour.
SLOW = 600 * SECOND

on_amd64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="it works on x86-64 alone")

_BEGIN = """
import ctypes, json, mmap, os, threading, time
from datetime import datetime
from metta_sandbox.node.agent.injection import clock
mine, hour = clock.Clock(), 3600 * 10**9
def tell(**seen): print(json.dumps(seen), flush=True)
"""
_READ = """
for ahead in (0, hour, -hour, 0):
    mine.set_ahead(ahead)
    tell(
        clocks=clock.read_clocks(),
        apart=time.time_ns() - time.monotonic_ns(),
        now=time.time_ns(),
        ways=[time.time() * 1e9, datetime.now().timestamp() * 1e9, time.clock_gettime(5) * 1e9],
        counters=time.perf_counter_ns() - time.monotonic_ns(),
    )
"""
_THREADS = """
ended, seen = threading.Event(), []
def read():
    while not ended.is_set():
        time.time(); time.time_ns(); datetime.now(); time.monotonic()
        seen.append(0)
threads = [threading.Thread(target=read) for _ in range(4)]
for each in threads: each.start()
for turn in range(50):
    mine.set_ahead((-1) ** turn * hour)
    count = len(seen)
    while len(seen) < count + 20: pass
mine.set_ahead(0)
ended.set()
for each in threads: each.join()
tell(wall=clock.read_clocks()["wall"])
"""
_CHILDREN = """
mine.set_ahead(hour)
(told, tells), (heard, hears) = os.pipe(), os.pipe()
if not os.fork():
    before = clock.read_clocks()["wall"]
    os.write(tells, b"x")
    os.read(heard, 1)
    tell(before=before, after=clock.read_clocks()["wall"])
    os._exit(0)
os.read(told, 1)
mine.set_ahead(0)
os.write(hears, b"x")
os.wait()
"""
#: Functions that Python itself does not call, each by the address of what is put in its place.
_OTHERS = """
word = clock._map(mmap.MAP_SHARED)
at = clock._write(word)
def function(name, *kinds, gives=ctypes.c_int):
    return ctypes.CFUNCTYPE(gives, *kinds)(at[name])
pair = ctypes.c_int64 * 2
of_day = function(b"gettimeofday", ctypes.c_void_p, ctypes.c_void_p)
seconds = function(b"time", ctypes.c_void_p, gives=ctypes.c_long)
clock_of = function(b"clock_gettime", ctypes.c_int, ctypes.c_void_p)
def wait(name, until):
    thing, limit = ctypes.create_string_buffer(256), pair(*divmod(until, 10**9))
    lock = ctypes.create_string_buffer(256)
    what = {
        b"sem_timedwait": (thing, limit),
        b"pthread_cond_timedwait": (thing, lock, limit),
        b"clock_nanosleep": (0, 1, limit),
    }[name]
    if name == b"pthread_cond_timedwait":
        ctypes.CDLL(None).pthread_mutex_lock(lock)
    kinds = [ctypes.c_int if isinstance(each, int) else ctypes.c_void_p for each in what]
    function(name, *kinds)(*what)
for ahead in (0, hour, -hour):
    ctypes.c_int64.from_address(word).value = ahead
    now, day, whole, mono = time.time_ns(), pair(), ctypes.c_int64(), pair()
    tell(
        ahead=ahead,
        status=[of_day(day, None), of_day(None, None), clock_of(77, mono), clock_of(1, mono)],
        day=day[0] * 10**9 + day[1] * 1000 - now,
        below_a_million=0 <= day[1] < 10**6,
        time=[seconds(ctypes.byref(whole)) * 10**9 - now, whole.value * 10**9 - now],
        returned_too=seconds(None) * 10**9 - now,
        monotonic=mono[0] * 10**9 + mono[1] - time.monotonic_ns(),
    )
    for name in (b"sem_timedwait", b"pthread_cond_timedwait", b"clock_nanosleep"):
        began = time.monotonic_ns()
        wait(name, time.time_ns() + ahead + 10**8)
        tell(waited=time.monotonic_ns() - began)
"""


def run(program: str) -> list[dict[str, Any]]:
    """Run a program that does to itself what it wants, and give what it told."""
    path = f"import sys\nsys.path.insert(0, {str(PACKAGE)!r})\n"
    command = [sys.executable, "-c", path + _BEGIN + program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, (ended.returncode, ended.stderr[-2000:])
    return [json.loads(line) for line in ended.stdout.splitlines()]


@on_amd64
def test_the_wall_clock_goes_off_and_no_other() -> None:
    told = run(_READ)

    for one, ahead in zip(told, (0, HOUR, -HOUR, 0), strict=True):
        assert one["clocks"]["wall"] == pytest.approx([ahead] * 2, abs=SLOW)
        assert one["clocks"]["monotonic"] == pytest.approx([0, 0], abs=SLOW)
        assert one["apart"] - told[0]["apart"] == pytest.approx(ahead, abs=SLOW)
        assert one["ways"] == pytest.approx([one["now"]] * 3, abs=SLOW)
        assert one["counters"] == pytest.approx(0, abs=SLOW)


@on_amd64
def test_threads_that_read_it_meanwhile_go_on() -> None:
    (told,) = run(_THREADS)

    assert told["wall"] == pytest.approx([0, 0], abs=SLOW)


@on_amd64
def test_children_go_with_it_and_are_healed_with_it() -> None:
    (told,) = run(_CHILDREN)

    assert told["before"] == pytest.approx([HOUR] * 2, abs=SLOW)
    assert told["after"] == pytest.approx([0, 0], abs=SLOW)


@on_amd64
def test_what_c_libraries_call_tells_the_same_and_timeouts_last_as_long_as_they_should() -> None:
    told = run(_OTHERS)
    readings = [one for one in told if "ahead" in one]
    waits = [one["waited"] for one in told if "waited" in one]

    assert [one["ahead"] for one in readings] == [0, HOUR, -HOUR]
    for one in readings:
        assert one["status"] == [0, 0, -1, 0]
        assert one["below_a_million"]
        ahead = [one["day"], *one["time"], one["returned_too"]]
        assert ahead == pytest.approx([one["ahead"]] * 4, abs=SLOW)
        assert one["monotonic"] == pytest.approx(0, abs=SLOW)
    # A tenth of a second each; the kernel rounds up.
    assert len(waits) == 9
    assert all(0.099 * SECOND < waited < SLOW for waited in waits), waits


def test_nothing_is_needed_for_a_clock_that_was_never_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    clock.Clock().set_ahead(0)


def test_other_machines_say_what_they_can_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    for refused in (clock.read_clocks, lambda: clock.Clock().set_ahead(HOUR)):
        with pytest.raises(LookupError, match="of x86-64 alone, not of 64 bits on aarch64"):
            refused()


def test_an_interpreter_without_ctypes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(clock, "ctypes", None)

    with pytest.raises(LookupError, match="no ctypes"):
        clock.read_clocks()
