from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.kept import Kept
from benchmarks.outcome import ContestOutcome, Entry, Goal, judge
from benchmarks.render import BEGIN, END, insert, markdown, table

ENTRIES = (
    Entry("ours", "ours", "forks", (0.4, 0.5, 0.6), ({"trial 1": 0.1},) * 3),
    Entry("peer", "peer", "imports", (5.0, 6.0, 7.0), ({}, {}, {})),
    Entry("absent", "peer", "would", reason="not to be had"),
)
GOALS = (Goal("ours", "at_most", 0.5), Goal("ours", "times_faster", 20, "peer"))


def outcome(key: str = "trial") -> ContestOutcome:
    judged = tuple(judge(goal, ENTRIES) for goal in GOALS)
    return ContestOutcome(key, f"Title of {key}", "A note.", "s", ENTRIES, judged)


def kept(taken: str, *keys: str) -> Kept:
    return Kept(
        taken, False, {"cores": "2"}, {"torch": "2.13"}, tuple(outcome(key) for key in keys)
    )


def test_terminal_shows_medians_ratios_goals_and_who_can_not() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(table(outcome()))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    ours, peer, absent = (
        next(line for line in shown.splitlines() if f"│ {name} " in line)
        for name in ("ours", "peer", "absent")
    )
    assert "absent: not to be had" in shown
    assert "0.500" in ours
    assert "0.08" in ours
    assert "at most 0.5: met (0.50)" in ours
    assert "at least 20 times faster than peer: missed (12.0 times)" in ours
    assert "6.00" in peer
    assert "can't" in absent


def test_markdown_has_machine_versions_rounds_and_every_number() -> None:
    text = markdown([kept("2026-11-22T10:00:00+00:00", "trial")])
    assert "2026-11-22 at 10:00 UTC" in text
    assert "cores: 2" in text
    assert "torch 2.13" in text
    assert "median of 3 rounds, s" in text
    assert "| ours | 0.500 | 0.400 | 0.600 | 0.08 | at most 0.5: met (0.50); " in text
    assert "| trial | peer | 5.00; 6.00; 7.00 |" in text
    assert "0.400 (trial 1 0.100); 0.500 (trial 1 0.100)" in text
    assert "| absent | can't |  |  |  |  | would. Can't: not to be had |" in text
    assert "| trial | absent | none |" in text


def test_markdown_rows_have_as_many_cells_as_their_heads() -> None:
    text = markdown([kept("2026-11-22T10:00:00+00:00", "trial")])
    tables = text.split("\n\n")
    rows = [part.splitlines() for part in tables if part.startswith("|")]
    assert len(rows) == 2
    for part in rows:
        assert len({line.count("|") for line in part}) == 1


def test_markdown_says_of_each_contest_when_it_was_taken() -> None:
    whole = kept("2026-11-22T10:00:00+00:00", "trial", "sweep")
    text = markdown([whole, kept("2026-11-23T10:00:00+00:00", "sweep")])
    assert text.index("11-22") < text.index("Title of trial") < text.index("11-23")
    assert text.index("11-23") < text.index("Title of sweep")
    assert text.count("Title of sweep") == 1


def test_only_what_is_between_the_markers_is_rewritten() -> None:
    text = f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n"
    assert insert(text, "new\n") == f"before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"


def test_writing_twice_is_writing_once() -> None:
    once = insert("text\n", "new")
    assert insert(once, "new") == once


def test_markers_come_with_the_first_part() -> None:
    assert insert("text\n", "new") == f"text\n\n{BEGIN}\n\nnew\n\n{END}\n"


@pytest.mark.parametrize(
    "text",
    [f"{BEGIN} lonely", f"lonely {END}", f"{END} {BEGIN}", f"{BEGIN}{BEGIN}{END}"],
)
def test_broken_markers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="each once"):
        insert(text, "new")


def test_the_note_can_take_the_part() -> None:
    note = (Path(__file__).parents[4] / "docs" / "benchmarks.md").read_text()
    assert "new figures" in insert(note, "new figures")


def test_few_parts_that_all_share_are_told_in_a_line() -> None:
    entries = (
        Entry("ours", "ours", "", (3.0, 5.0), ({"up": 1.0, "down": 2.0}, {"up": 2.0, "down": 3.0})),
        Entry("raw", "peer", "", (2.0,), ({"up": 1.0, "down": 1.0},)),
        Entry("absent", "peer", "", reason="not to be had"),
    )
    stack = ContestOutcome("stack/2", "Stacks", "", "s", entries, ())
    text = markdown([Kept("2026-11-22T10:00:00+00:00", False, {}, {}, (stack,))])
    assert "Medians of the parts: ours up 1.50, down 2.50; raw up 1.00, down 1.00." in text
    assert "Medians" not in markdown([kept("2026-11-22T10:00:00+00:00", "trial")])
