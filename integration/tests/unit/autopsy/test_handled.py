"""A rank that raised waits in its ``finally`` for others that know nothing of it."""

from __future__ import annotations

import pytest

from metta_sandbox.autopsy.diagnose import diagnose
from metta_sandbox.autopsy.seen import Frame, RaisedOne, Recorded
from tests.unit.autopsy.test_sequences import TURN, recorded, seen

RAISED = RaisedOne(
    kind="KeyError",
    message="'row 4'",
    frames=(Frame(function="label_of", file="/work/train.py", line=11),),
)


def handling(one: Recorded, *numbers: int, error: RaisedOne = RAISED) -> Recorded:
    """Have a rank enter what it did under these numbers as it handles an exception."""
    entries = [
        each.model_copy(update={"handling": error}) if each.number in numbers else each
        for each in one.entries
    ]
    return one.model_copy(update={"entries": tuple(entries)})


@pytest.mark.parametrize("odd", [0, 1])
@pytest.mark.parametrize("turns", [1, 3])
def test_who_raised_and_waits_as_it_cleans_up_is_told_with_what_it_raised(
    odd: int, turns: int
) -> None:
    ways = [recorded(*TURN * turns, "backward", "mean")] * 2
    ways[odd] = handling(recorded(*TURN * turns, "backward", "barrier"), 2 * turns + 2)

    cause = diagnose(seen(ways))

    assert cause is not None
    assert (cause.kind, cause.rank, cause.certainty) == ("exception", odd, "likely")
    assert (
        f"rank {odd} (node-{odd}) raised KeyError: 'row 4' in `label_of`, train.py:11, "
        "and waits in `barrier`, train.py:30 as it handles that"
    ) in cause.sentence


def test_who_came_there_in_this_way_before_is_not_told() -> None:
    usual = handling(recorded(*TURN, *TURN), 2, 4)
    cause = diagnose(seen([usual, recorded(*TURN, "backward", "barrier")]))
    assert cause is not None
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)


def test_who_is_where_it_was_due_is_not_told_if_another_one_is_not() -> None:
    due = handling(recorded(*TURN, *TURN, "backward", "mean"), 6)
    cause = diagnose(seen([due, recorded(*TURN, *TURN, "backward", "barrier")]))
    assert cause is not None
    assert (cause.kind, cause.rank) == ("collective mismatch", 1)


def test_who_only_waited_in_vain_is_not_told() -> None:
    torch = Frame(function="barrier", file="/x/torch/distributed/c10d.py", line=2)
    vain = RaisedOne(kind="RuntimeError", message="Connection closed by peer", frames=(torch,))
    ways = [recorded(*TURN, *TURN, "backward", "mean")] * 2
    ways[1] = handling(recorded(*TURN, *TURN, "backward", "barrier"), 6, error=vain)
    cause = diagnose(seen(ways))
    assert cause is not None
    assert cause.kind == "collective mismatch"
