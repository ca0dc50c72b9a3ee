"""That a command which talks to the control plane gets somewhere: a run named, and one scored.

Nothing else tells a rollout that catches its own failure and exits with 0 from one that worked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from metta_sandbox.node.agent.events import Name
from metta_sandbox.scenario.base import Part
from metta_sandbox.scenario.expect.judgement import EvidenceError, Finding, Judgement, flat, judge
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.kinds.api import RECORD

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import ApiCall, Evidence

#: Routes by which anybody may look whether there is a control plane.
_LOOKS = frozenset({"/health", "/whoami"})
#: Routes that give a run a name, or take note of one.
_NAMING = frozenset({"/sweeps/{name}/runs/next", "/stats/training-runs"})
#: Routes that take in what a run came to.
_SCORING = frozenset({"/stats/episodes", "/stats/episodes/bulk_upload/complete"})
#: Events that carry a score; those of a trainer may carry it under the metric's name.
_TOLD: tuple[Name, ...] = ("observation.recorded", "eval.finished", "train.finished", "train.step")
#: What a score is called where it is not called by the sweep's metric.
_SCORE = "score"


class ProgressCheck(CheckKind):
    """Whether a run must be named, and one scored."""

    key = "progress"
    about = "Of a command of your own: it has a run named, and one scored."
    example = "progress: false"

    required: bool = Field(
        description="Whether it must. `progress: false` is short for it, and takes the standing "
        "check's place; `progress: true` asks for it of a command that makes no call, too."
    )

    @classmethod
    def spelt(cls) -> Any:
        """``progress: false`` is short for one that is not required."""

        def read(value: Any) -> Any:
            return value if isinstance(value, (Mapping, Part)) else {"required": value}

        return Annotated[cls, BeforeValidator(read, json_schema_input_type=bool | cls)]

    @property
    def voids(self) -> frozenset[str]:
        """It takes the standing check's place."""
        return frozenset({"progress"})

    @property
    def wanted(self) -> str:
        """What must be seen."""
        return "a run named and a score" if self.required else "nothing"

    def __str__(self) -> str:
        return "a run is named, and one is scored" if self.required else "no progress is asked for"


def talked(evidence: Evidence) -> bool:
    """Tell whether somebody asked the control plane for more than whether it is there."""
    try:
        ours = _asked_by_steady_state(evidence)
        return any(
            call.route not in _LOOKS and f"{call.method} {call.path}" not in ours
            for call in evidence.api_calls
        )
    except EvidenceError:
        # Where there is a record, judging it says what is wrong with it.
        return evidence.size(evidence.folder / RECORD) is not None


def _asked_by_steady_state(evidence: Evidence) -> frozenset[str]:
    """Give what the scenario itself asks the control plane for, as method and path."""
    return frozenset(getattr(item.said, "route", "") for item in evidence.scenario.steady_state)


def expect(expected: ProgressCheck, evidence: Evidence) -> Judgement:
    """Ask for progress, or for nothing, as the file says."""
    return check(evidence) if expected.required else judge([], "not asked for")


def check(evidence: Evidence) -> Judgement:
    """Look for a run that was named, and for one that was scored."""
    named, scored = next(_named(evidence), ""), next(_scored(evidence), "")
    problems = []
    if not named:
        problems.append(Finding("expected a run named, saw none", seen="no run was named"))
    if not scored:
        problems.append(Finding("expected a score, saw none", seen="nothing was scored"))
    return judge(problems, "a run was named, and one was scored", filter(None, (named, scored)))


def _named(evidence: Evidence) -> Iterator[str]:
    """Give the places that show that a run was named."""
    yield from (call.place for call in _done(evidence) if call.route in _NAMING)
    yield from (evidence.place_of(event) for event in evidence.of("run.named"))


def _scored(evidence: Evidence) -> Iterator[str]:
    """Give the places that show a score, wherever it went."""
    yield from (call.place for call in _done(evidence) if call.route in _SCORING)
    names = (evidence.scenario.sweep.metric, _SCORE)
    for event in (event for name in _TOLD for event in evidence.of(name)):
        if any(_is_number(event.fields.get(name)) for name in names):
            yield evidence.place_of(event)
    for run in evidence.runs_anywhere():
        summary = flat(run.summary)
        if any(_is_number(summary.get(name)) for name in names):
            yield evidence.where(run.path)


def _done(evidence: Evidence) -> Iterator[ApiCall]:
    for call in evidence.api_calls:
        if call.method == "POST" and (call.status or 0) // 100 == HTTPStatus.OK // 100:
            yield call


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


CHECK = CheckPair(ProgressCheck, expect)
