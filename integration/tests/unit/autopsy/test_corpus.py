"""The corpus of known faults: nothing of the catalogue is forgotten, and all can be played."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from autopsies.corpus import FaultySweep, chosen, corpus, once_each, sweeps
from autopsies.score import Scored, between, each, score
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.report.results import FaultResult, ScenarioResult
from metta_sandbox.scenario.faults import CATALOGUE, names_of
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.verdict import Verdict


def test_every_fault_of_the_catalogue_is_in_it_and_there_are_forty() -> None:
    assert {one.key for one in corpus()} == set(CATALOGUE)
    assert len({one.name for one in corpus()}) == len(corpus()) >= 40


@pytest.mark.parametrize("sweep", sweeps(corpus()), ids=lambda one: one.name)
def test_each_sweep_is_a_scenario(sweep: FaultySweep) -> None:
    scenario = Scenario.model_validate(sweep.scenario)
    assert [item.key for item in scenario.faults] == [one.key for one in sweep.faults]
    assert list(names_of(scenario.faults)) == [one.name for one in sweep.faults]


def test_faults_that_share_a_sweep_have_trials_of_their_own() -> None:
    for sweep in sweeps(corpus()):
        trials = [one.trial for one in sweep.faults]
        assert len(set(trials)) == len(trials), sweep.name


def test_one_of_each_kind_can_be_picked_for_few_sweeps() -> None:
    picked = once_each()

    assert sorted(one.key for one in picked) == sorted(CATALOGUE)
    assert len(sweeps(picked)) <= len(picked) / 2


def test_what_was_said_is_drawn_as_it_was_said() -> None:
    (known,) = (one for one in corpus() if one.name == "sleep-r1-s2")
    said = "[rank0]: [/gloo/pair.cc:537] Connection closed by peer"
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(each([Scored(known, proven=True, sentence=said)]))
    assert said in console.export_text()


def test_some_can_be_picked_by_a_word() -> None:
    assert {one.key for one in chosen(["sleep", "hold"])} == {"sleep", "hold_gil"}
    assert {one.sweep for one in chosen(["of-ours"])} == {"of-ours"}


@pytest.mark.parametrize(
    ("kind", "rank", "right"),
    [
        ("straggler", 1, (True, True)),
        ("straggler", 0, (True, False)),
        ("NaN", 1, (False, True)),
        ("", None, (False, False)),
    ],
)
def test_cause_and_rank_are_scored_apart(
    kind: str, rank: int | None, right: tuple[bool, bool]
) -> None:
    (known,) = (one for one in corpus() if one.name == "sleep-r1-s2")
    scored = Scored(known, proven=True, kind=kind, rank=rank)
    assert (scored.cause_right, scored.rank_right) == right


def test_of_several_faults_of_a_sweep_each_is_scored_by_its_trial(tmp_path: Path) -> None:
    (sweep,) = sweeps(chosen(["of-ours"]))
    said = {1: "half a checkpoint", 2: "no number"}
    kinds = {1: "exception", 2: "NaN"}
    entries = [
        {"fault": "corrupt-checkpoint", "action": "struck", "received": 4.0},
        {"step": "cause: half a checkpoint", "received": 4.5},
        {"fault": "nan-gradients-ours", "action": "struck", "received": 7.0},
        {"step": "cause: no number", "received": 9.0},
    ]
    lines = (json.dumps(entry) + "\n" for entry in entries)
    (tmp_path / "timeline.jsonl").write_text("".join(lines))
    proven = {"corrupt-checkpoint": True, "nan-gradients-ours": False}
    result = ScenarioResult(
        name="of-ours",
        file="of-ours.yaml",
        verdict=Verdict.FAILED,
        engine="process",
        nodes=2,
        seconds=9.0,
        faults=tuple(
            FaultResult(name=name, kind="x", fired=True, proven=seen, proof="")
            for name, seen in proven.items()
        ),
        causes=tuple(
            Cause.model_validate(
                {"kind": kinds[trial], "sentence": said[trial], "rank": trial - 1, "trial": trial}
            )
            for trial in said
        ),
    )

    half, nan, _, again, *_ = score(sweep, result, tmp_path)

    assert (half.cause_right, half.rank_right, half.proven, half.seconds) == (True, True, True, 0.5)
    assert (nan.cause_right, nan.rank_right, nan.proven, nan.seconds) == (True, True, False, 2.0)
    assert (again.cause_right, again.fired, again.seconds) == (False, False, None)


@pytest.mark.parametrize(("told", "seconds"), [(3.0, 1.5), (1.0, None), (None, None)])
def test_what_lasted_from_the_start_has_no_seconds(
    told: float | None, seconds: float | None
) -> None:
    assert between(1.5, told) == seconds
