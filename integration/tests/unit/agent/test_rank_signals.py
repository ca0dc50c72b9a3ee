"""Signals that reach the rank wrapper at awkward moments."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from metta_sandbox.node.agent.rank import HANDED_ON, _Signals


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in HANDED_ON}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_those_that_come_before_the_trainer_reach_it_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: sent.append((group, number)))
    signals = _Signals()
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    assert sent == []
    signals.hand_on(7)
    signal.raise_signal(signal.SIGUSR2)
    assert sent == [(7, signal.SIGUSR1), (7, signal.SIGTERM), (7, signal.SIGUSR2)]


@pytest.mark.usefixtures("handlers")
def test_those_that_come_after_it_has_ended_do_no_harm() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    _Signals().hand_on(child)
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("handlers")
def test_ignored_ones_stay_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _Signals()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
