"""Steps that must not take for ever are ended, and say so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from metta_sandbox.interrupt import Bell, Interrupted, uninterrupted
from metta_sandbox.limits import Allowance, LimitError

#: Far more than any test takes.
LONG = 1000.0


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "step":
            thread.join(LONG / 10)
            assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    # Who runs in the background of a shell has inherited that it is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def for_ever() -> None:
    while True:
        time.sleep(0.01)


def test_what_a_step_gives_and_raises_comes_through() -> None:
    allowance = Allowance(LONG, LONG)

    assert allowance.spend(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        allowance.spend(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        allowance.spend(lambda: exec("raise SystemExit"))


def test_a_step_gets_no_more_than_it_may() -> None:
    allowance = Allowance(LONG, LONG)

    with pytest.raises(LimitError, match=r"^not done within 0\.2 s$"):
        allowance.spend(for_ever, 0.2)

    assert allowance.spend(lambda: 3) == 3


def test_a_step_can_not_catch_its_end() -> None:
    def stubborn() -> None:
        while True:
            try:
                for_ever()
            except Exception:  # noqa: BLE001
                pytest.fail("caught")

    with pytest.raises(LimitError):
        Allowance(LONG, LONG).spend(stubborn, 0.2)


def test_steps_together_get_no_more_than_they_may() -> None:
    allowance = Allowance(0.3, LONG)

    with pytest.raises(LimitError, match=r"^not done when the 0\.3 s for all of it were over$"):
        allowance.spend(for_ever)
    with pytest.raises(LimitError):
        allowance.spend(lambda: pytest.fail("begun all the same"))


def test_a_step_gets_a_little_in_any_case() -> None:
    allowance = Allowance(0.0, LONG, least=LONG)

    assert allowance.spend(lambda: 3) == 3


def test_a_signal_that_is_put_off_ends_a_step() -> None:
    allowance, told = Allowance(LONG, 0.2), []

    def work() -> None:
        with uninterrupted():
            for step in (for_ever, lambda: pytest.fail("begun all the same")):
                try:
                    allowance.spend(step)
                except LimitError as error:
                    told.append(str(error))

    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        work()

    assert told == ["not done when the run was interrupted"] * 2


def test_a_signal_that_is_not_put_off_ends_it_at_once() -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        Allowance(LONG, LONG).spend(for_ever)


def test_a_bell_that_is_put_off_ends_a_step_of_a_thread() -> None:
    bell, told = Bell(), []

    def work() -> None:
        try:
            with bell.heard(), uninterrupted():
                Allowance(LONG, 0.2).spend(for_ever)
        except (LimitError, Interrupted) as error:
            told.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    bell.ring()
    thread.join(LONG / 10)

    assert [type(each) for each in told] == [Interrupted]
