"""Why a trial failed: the cause before what came of it."""

from __future__ import annotations

import pytest

from metta_sandbox.node.handoff import Outcome, why

RAISED = "rank 1 exited with status 1, saying: ValueError: the data of shard 1 is broken"
ALONE = "rank 0 exited with status 1, saying: Connection closed by peer [127.0.0.1]:1234"


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["", ""], ""),
        (["", RAISED], RAISED),
        ([ALONE, RAISED], f"{RAISED}; {ALONE}"),
        ([f"stopped, as {RAISED}", RAISED], RAISED),
        (["rank 0 was killed by signal 15", RAISED], f"{RAISED}; rank 0 was killed by signal 15"),
        ([f"stopped, as {RAISED}", ""], f"stopped, as {RAISED}"),
        ([RAISED, RAISED], RAISED),
    ],
)
def test_the_cause_comes_first_and_once(reasons: list[str], said: str) -> None:
    assert why(Outcome(rank, {}, reason) for rank, reason in enumerate(reasons)) == said
