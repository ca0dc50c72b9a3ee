"""The grown corpus: each cell can be played, and its truth is held against what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from autopsies import playing
from autopsies.cells import ENGINES, LAUNCHERS, AutopsyCell, all_cells, plainest, possible, sampled
from autopsies.judged import JudgedCell, judge, misses, read, table
from autopsies.ways import TRAINERS, WAYS, Way
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.report.results import ScenarioResult
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.verdict import Verdict

_SHARED = {"training.py", "spawned.py", "train.sh", "heavy.py", "slowly.py"}
_WRONG = [one for one in WAYS if not one.fine]


def _way(name: str) -> Way:
    return next(one for one in WAYS if one.name == name)


def test_there_are_sixty_ways_of_going_wrong_and_ten_of_only_looking_so() -> None:
    assert len(_WRONG) >= 60
    assert sum(one.fine for one in WAYS) >= 10
    assert len({one.name for one in WAYS}) == len(WAYS)


def test_each_script_belongs_to_a_way() -> None:
    scripts = {file.name for file in TRAINERS.iterdir() if file.is_file()}
    assert scripts == {one.script for one in WAYS} | _SHARED


@pytest.mark.parametrize("way", _WRONG, ids=lambda one: one.name)
def test_each_way_has_a_truth_whose_places_are_in_the_scripts(way: Way) -> None:
    assert way.words
    assert all(any(group) for group in way.words)
    assert all(("{at}" not in text or way.at) for text in way.says)
    assert all(("{other}" not in text or way.other) for text in way.says)
    assert way.may_be_blamed(1, way.least)


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.name)
def test_what_is_fine_has_no_truth_but_that(way: Way) -> None:
    assert not way.fine or (not way.words and way.may_be_blamed(1, 2) == {None})


def test_cells_are_unique_and_each_way_has_some_on_each_engine() -> None:
    cells = list(all_cells())
    assert len({one.name for one in cells}) == len(cells)
    for way in WAYS:
        assert {one.engine for one in cells if one.way is way} == set(way.engines)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_cell_is_a_scenario(launcher: str) -> None:
    for cell in sampled(WAYS, [launcher], ENGINES, 10, 1):
        scenario = Scenario.model_validate(cell.scenario)
        assert scenario.nodes == cell.nodes
        assert cell.way.least <= cell.ranks


def test_each_rank_is_the_odd_one_once_where_mirrored() -> None:
    cells = plainest([_way("uneven_more")], ["run"], ["process"], mirrored=True)
    assert sorted(one.odd for one in cells) == [0, 1, 2]
    assert {(one.nodes, one.each, one.thread, one.overlay) for one in cells} == {
        (3, 1, False, False)
    }


def test_a_seed_draws_the_same_cells_and_no_way_twice() -> None:
    drawn = [sampled(WAYS, ["run", "own"], ["process"], 20, seed) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    for launcher in ("run", "own"):
        ways = [one.way.name for one in drawn[0] if one.launcher == launcher]
        assert len(set(ways)) == len(ways) == 20


def _said(cell: AutopsyCell, folder: Path, **fields: object) -> JudgedCell:
    causes = (Cause.model_validate(fields),) if fields else ()
    result = ScenarioResult(
        name=cell.name,
        file="x.yaml",
        verdict=Verdict.FAILED if fields else Verdict.PASSED,
        engine="process",
        nodes=2,
        seconds=1.0,
        causes=causes,
    )
    return judge(cell, result, folder)


def test_a_right_sentence_is_right_and_its_seconds_count_from_the_last_step(
    tmp_path: Path,
) -> None:
    cell = next(possible(_way("raises"), "run", "process"))
    sentence = "rank 1 raised IndexError: target 10 is out of bounds"
    entries = [
        {"line": "step 1 loss=0.1", "received": 2.0},
        {"line": "step 5 loss=0.1", "received": 4.0},
        {"line": "Traceback", "received": 4.2},
        {"step": f"cause: {sentence}", "received": 5.5},
    ]
    (tmp_path / "timeline.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))

    judged = _said(cell, tmp_path, kind="exception", rank=1, sentence=sentence)

    assert judged.right
    assert judged.happened
    assert judged.seconds == 1.5


@pytest.mark.parametrize(
    ("name", "said", "rank", "right"),
    [
        ("raises", "rank 0 raised IndexError in `main`, raises.py:12", 0, (True, False, True)),
        ("raises", "raised ChildFailedError in `<module>`", 1, (False, True, False)),
        ("other_shape", "`all_reduce`, other_shape.py:13: 3 against 4", 1, (True, True, False)),
        ("other_shape", "rank 3, other_shape.py:13, step 4", 1, (False, True, False)),
        ("ring", "rank 0 is in `recv`", 0, (True, False, True)),
        ("ring", "all wait in `recv`", None, (True, True, False)),
        ("plain", "rank 1 is slow", 1, (False, False, True)),
        ("other_shape_first", "other_shape_first.py:13: 6, 9", None, (True, True, False)),
        ("named_inf", "FileNotFoundError: configs/inf.yaml", 1, (True, True, False)),
    ],
)
def test_words_rank_and_innocents_are_judged_apart(
    name: str, said: str, rank: int | None, right: tuple[bool, bool, bool], tmp_path: Path
) -> None:
    (tmp_path / "timeline.jsonl").write_text('{"line": "step 1 loss=0.1", "received": 2.0}\n')
    cell = next(possible(_way(name), "warm", "process"))
    judged = _said(cell, tmp_path, kind="exception", rank=rank, sentence=said)
    assert (judged.cause_right, judged.rank_right, judged.innocent_accused) == right


def test_of_three_ranks_a_majority_shows_the_odd_one(tmp_path: Path) -> None:
    cell = AutopsyCell(_way("other_shape_first"), "run", nodes=3)
    said = "other_shape_first.py:13: 6, 9"
    assert not _said(cell, tmp_path, kind="exception", sentence=said).rank_right


def test_what_ended_before_its_first_step_has_not_happened(tmp_path: Path) -> None:
    cells = [next(possible(_way(name), "run", "process")) for name in ("raises", "no_module")]
    judged = [_said(one, tmp_path, kind="exception", sentence="x") for one in cells]
    assert [one.happened for one in judged] == [False, True]


def test_no_cause_is_right_of_what_is_fine_and_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "timeline.jsonl").write_text('{"line": "step 1 loss=0.1", "received": 2.0}\n')
    fine, wrong = (
        _said(next(possible(_way(name), "run", "process")), tmp_path) for name in ("plain", "busy")
    )
    assert fine.right
    assert not wrong.right
    assert not wrong.happened
    assert not wrong.innocent_accused
    assert "did not happen" in misses([fine, wrong])
    assert wrong.cell in misses([fine, wrong])
    assert fine.cell not in misses([fine, wrong])
    assert "| all |  | 2 | 1 | 1 | 1 | 0 |" in table([fine, wrong])


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = plainest(WAYS, ["run"], ["process"])[:30]
    asked: list[str] = []

    def play(some: Sequence[AutopsyCell], *_: object) -> Iterator[JudgedCell]:
        for cell in some:
            if len(asked) == 17:
                raise KeyboardInterrupt
            asked.append(cell.name)
            yield _said(cell, tmp_path)

    monkeypatch.setattr(playing, "_judged", play)
    kept = tmp_path / "cells.jsonl"
    with pytest.raises(KeyboardInterrupt):
        playing.play_cells(cells, tmp_path, kept)
    assert len(read(kept)) == 17
    asked.append("once more")

    judged = playing.play_cells(cells, tmp_path, kept)

    assert [one.cell for one in judged] == [one.name for one in cells]
    assert len(asked) == 31


def test_processors_are_kept_busy_and_let_go() -> None:
    with playing.busy(2) as started:
        assert [one.poll() for one in started] == [None, None]
    assert all(one.poll() is not None for one in started)
