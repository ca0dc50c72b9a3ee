"""How a sweep may end, and what is not asked for where faults strike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metta_sandbox.checks.evaluation import STANDING, evaluate, standing
from metta_sandbox.scenario.faults import CATALOGUE
from metta_sandbox.scenario.faults.base import FaultKind
from metta_sandbox.scenario.loading import parse
from metta_sandbox.scenario.model import Scenario

if TYPE_CHECKING:
    from tests.unit.checks.conftest import Played


def read(text: str) -> Scenario:
    return parse(f"version: 1\nname: x\n{text}\n", Path("x.yaml"))


@pytest.mark.parametrize(("ending", "verdict"), [("node_lost", "passed"), ("finished", "failed")])
def test_an_end_is_the_one_expected(played: Played, ending: str, verdict: str) -> None:
    evidence = replace(played.evidence({"ends": "node_lost"}), ending=ending)

    assert evaluate(evidence)[0].verdict.value == verdict


def test_a_sweep_that_breaks_off_is_not_asked_for_its_end() -> None:
    lost = standing(read("expect: [{ends: node_lost}]"))

    assert {"sweep finished", "hand-off", "W&B runs"} & set(lost) == set()
    assert "digests" in lost
    assert list(standing(read("expect: [{ends: finished}]"))) == list(STANDING)


def test_what_no_trial_can_leave_is_not_asked_for() -> None:
    assert "checkpoints" not in standing(read("expect: [{trials: {completed: 0}}]"))
    assert "checkpoints" in standing(read("expect: [{trials: {completed: 1}}]"))


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=list(CATALOGUE))
def test_a_fault_makes_moot_what_it_says_and_nothing_else(kind: type[FaultKind]) -> None:
    checks = standing(read(f"faults: [{kind.example}]"))

    assert kind.voids <= set(STANDING)
    moot = kind.voids if kind.harmless else kind.voids | {"trials"}
    assert set(checks) == set(STANDING) - moot


@pytest.mark.parametrize(
    "said",
    [
        "expect: [{trials: {completed: 1}}]",
        "expect: [{exits: {status: 1, of: 1}}]",
        "expect: [{ends: node_failed}]",
        "faults: [{kill: {node: sweep-worker}, when: {after: 1s}}]",
        "services: {api: [{route: 'POST /sweeps/{name}/runs/next', call: 1, status: 503}]}",
    ],
)
def test_a_trial_may_fail_where_the_file_says_so(said: str) -> None:
    assert "trials" not in standing(read(said))


@pytest.mark.parametrize(
    "said",
    [
        "",
        "expect: [{ends: finished}]",
        "expect: [{log: {contains: x}}]",
        "faults: [{clock: {rank: 1, by: 1h}, when: {after: 1s}}]",
    ],
)
def test_a_trial_must_complete_where_it_says_nothing_of_it(said: str) -> None:
    assert "trials" in standing(read(said))


def test_a_trial_that_was_tried_again_has_not_failed(played: Played) -> None:
    played.change("trials/basic.r.2/trial.json", status="failed", retried=True)

    assert played.judged("trials")[0] == "passed"


@pytest.mark.parametrize("check", ["digests", "checkpoints", "trials"])
def test_of_a_sweep_that_breaks_off_no_trial_need_complete(played: Played, check: str) -> None:
    for run in ("basic.r.1", "basic.r.2"):
        (played.folder / "trials" / run / "trial.json").unlink()
    for ending, verdict in (("finished", "failed"), ("silent", "skipped")):
        evidence = replace(played.evidence(), ending=ending)
        assert STANDING[check].check(evidence).verdict == verdict
