"""How a sweep came to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from metta_sandbox.scenario.expect.judgement import Judgement, judge, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence

_UNFINISHED = frozenset(
    (
        *("trials", "sweep finished", "hand-off", "W&B runs", "API calls", "commands"),
        *("world size", "progress"),
    )
)


class EndsCheck(CheckKind):
    """How the sweep comes to its end. A plain word is ``how``."""

    key = "ends"
    about = "How the sweep ends."
    example = "ends: node_lost"
    word = "how"

    how: Literal["finished", "node_failed", "node_lost", "silent", "overdue"] = Field(
        description="By itself on all nodes; its command failed on one, or it gave up; a node was "
        "lost; `longest_silence`, or `deadline`, was reached. `ends: silent` is short "
        "for it. An end that is neither `finished` nor this one fails the scenario."
    )

    @property
    def voids(self) -> frozenset[str]:
        """The standing checks of what a sweep leaves that does not end by itself."""
        return _UNFINISHED if self.how != "finished" else frozenset()

    @property
    def wanted(self) -> str:
        """Which end the sweep must come to."""
        return self.how.replace("_", " ")

    @property
    def ending(self) -> str:
        """The end that the sweep must come to."""
        return self.how

    def __str__(self) -> str:
        return f"the sweep ends {self.wanted}"


def check(expected: EndsCheck, evidence: Evidence) -> Judgement:
    """Check the end that the harness saw."""
    seen = evidence.ending.replace("_", " ")
    if evidence.ending == expected.how:
        return judge([], seen)
    return judge([unlike("the sweep", f"ends {expected.wanted}", seen)], "")


CHECK = CheckPair(EndsCheck, check)
