"""What is there of runs without a lease here: theirs to remove, or not to be told."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import cast

import pytest

from metta_sandbox.stack.engines.base import Engine
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.lost import RunTraces, look
from metta_sandbox.stack.owners import here

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing can be proven")

#: A process of this boot that has ended, or never was.
GONE = replace(Owner("gone"), pid=2**22 + 1, started=1, leases="")


class Asked:
    """An engine that has one run's containers."""

    def __init__(self, owner: Owner, *, running: bool) -> None:
        self._made = RunTraces(owner, running)
        self._made.things["docker rm -f"].append("c")

    def made(self) -> dict[str, RunTraces]:
        return {self._made.owner.run: self._made}


def found(owner: Owner, *, running: bool) -> tuple[list[str], list[str]]:
    gone, doubtful = look([cast("Engine", Asked(owner, running=running))])
    return [run for run in gone if run == owner.run], [
        f"{each.run}: {each.why}" for each in doubtful if each.run == owner.run
    ]


def test_what_runs_of_an_ended_run_of_this_boot_goes() -> None:
    assert GONE.boot == here().boot
    assert found(GONE, running=True) == (["gone"], [])


def test_what_runs_of_another_boot_is_somebody_elses() -> None:
    other = replace(GONE, boot="another")
    assert found(other, running=True) == ([], ["gone: it runs, and was made in another boot"])
    assert found(other, running=False) == (["gone"], [])
