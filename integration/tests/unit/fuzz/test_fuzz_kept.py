from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fuzz.generate import generate
from fuzz.kept import PlayedProgram, keep, kept
from fuzz.score import ProgramScore

PLAYED = PlayedProgram(
    seed=3,
    engine="process",
    load=0,
    program=generate(3).as_json(),
    verdict="failed",
    reason="",
    causes=[{"rank": 1, "sentence": "rank 1 sleeps"}],
    seconds=4.5,
    score=ProgramScore(rank=True, place=False, said=True, accused=(1,)),
)


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "played.jsonl"
    keep(path, PLAYED)
    keep(path, replace(PLAYED, seed=4))
    found = kept(path)
    assert [one.seed for one in found] == [3, 4]
    assert found[0].score == PLAYED.score


def test_the_last_of_a_seed_counts_and_a_torn_line_does_not(tmp_path: Path) -> None:
    path = tmp_path / "played.jsonl"
    keep(path, PLAYED)
    keep(path, replace(PLAYED, verdict="passed"))
    with path.open("a") as file:
        file.write('{"seed": 5, "engi')
    assert [one.verdict for one in kept(path)] == ["passed"]


def test_nothing_was_kept_yet(tmp_path: Path) -> None:
    assert kept(tmp_path / "played.jsonl") == []
