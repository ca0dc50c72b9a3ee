"""Turns on nodes that are kept: whose log is whose, and what is lent to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.stack.engines.compose.turns import (
    left_in,
    lend,
    look_of,
    of_turn,
    problems_in,
    take_back,
)

LOG = b"""\
[turn a begins]
one
[turn a is over]
[turn b begins]
two
no end of line[turn b is over]
[turn c begins]
three
"""


@pytest.mark.parametrize(
    ("mark", "part", "whole"),
    [
        ("turn a", b"one\n", True),
        ("turn b", b"two\nno end of line", True),
        ("turn c", b"three\n", False),
        ("turn d", LOG, False),
    ],
)
def test_a_log_is_cut_by_turn(mark: str, part: bytes, whole: bool) -> None:
    assert of_turn(LOG, mark) == (part, whole)


def test_what_is_not_as_it_was_is_told_with_where() -> None:
    answers: dict[str, dict[str, Any]] = {
        "one": {"left": []},
        "two": {"left": ["/tmp/x"]},
        "three": {"problem": "gone"},
    }
    assert left_in(answers) == ["three: gone", "two: /tmp/x"]
    assert problems_in(answers) == ["three: gone"]


def test_a_folder_is_lent_with_what_it_holds_and_left_empty(tmp_path: Path) -> None:
    own, place = tmp_path / ".stacks" / "1" / "shared", tmp_path / "one" / "shared"
    own.mkdir(parents=True)
    place.mkdir(parents=True)
    (place / "scenario.yaml").write_text("first")
    before = look_of(own)

    lend(own, place)
    assert (own / "scenario.yaml").read_text() == "first"
    (own / "made").mkdir()
    (place / "made" / "there").write_text("seen from both sides")
    (own / "made").chmod(0o500)
    take_back(own, place)

    assert not place.is_symlink()
    assert (place / "made" / "there").read_text() == "seen from both sides"
    assert look_of(own) == before
    take_back(own, place)  # which changes nothing
    assert (place / "scenario.yaml").read_text() == "first"
    own.chmod(0o711)
    assert look_of(own) != before
