"""The corpus of known faults: nothing of the catalogue is forgotten, and all can be played."""

from __future__ import annotations

import pytest

from autopsies.corpus import Known, chosen, corpus
from autopsies.score import Scored
from metta_sandbox.scenario.faults import CATALOGUE
from metta_sandbox.scenario.model import Scenario


def test_every_fault_of_the_catalogue_is_in_it_and_there_are_forty() -> None:
    assert {one.key for one in corpus()} == set(CATALOGUE)
    assert len({one.name for one in corpus()}) == len(corpus()) >= 40


@pytest.mark.parametrize("known", corpus(), ids=lambda one: one.name)
def test_each_is_a_scenario(known: Known) -> None:
    scenario = Scenario.model_validate(known.scenario)
    assert [item.key for item in scenario.faults] == [known.key]


def test_some_can_be_picked_by_a_word() -> None:
    assert {one.key for one in chosen(["sleep", "hold"])} == {"sleep", "hold_gil"}


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
    (known,) = (one for one in corpus() if one.name == "sleep-r1-t1-s2")
    scored = Scored(known, proven=True, kind=kind, rank=rank)
    assert (scored.cause_right, scored.rank_right) == right
