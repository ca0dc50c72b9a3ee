"""All checks of a scenario: what its file expects, and what must always hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from metta_sandbox.checks import (
    answers,
    commands,
    folders,
    handoff,
    served_wandb,
    tracking,
    trials,
    world_size,
)
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.limits import Allowance, LimitError
from metta_sandbox.matching import UnmatchedError
from metta_sandbox.report.results import CheckResult
from metta_sandbox.scenario.expect.judgement import EvidenceError, Judgement, unclear
from metta_sandbox.scenario.expect.kind import CheckKind
from metta_sandbox.scenario.expect.kinds import CHECKS, api, checkpoint, digests, run_names
from metta_sandbox.scenario.expect.kinds.progress import talked
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario

Check = Callable[[Evidence], Judgement]


@dataclass(frozen=True)
class Standing:
    """A check that no scenario need ask for.

    Attributes:
        check: Judges the evidence.
        expected: What must hold, in words.
        applies: Tells of the evidence whether there is anything to judge.

    """

    check: Check
    expected: str
    applies: Callable[[Evidence], bool] = lambda _: True


@dataclass(frozen=True)
class Seconds:
    """How long judging may take.

    Attributes:
        each: Each check.
        all: All of a scenario's together.

    """

    each: float = 120.0
    all: float = 600.0


#: Seconds that all checks have from Ctrl-C on.
_HURRIED = 5.0

#: What judges each kind of expectation, which it is given with the evidence.
JUDGES: Mapping[type[CheckKind], Callable[[Any, Evidence], Judgement]] = {
    each.kind: each.judge for each in CHECKS
}

#: What must hold after every sweep of our rollout.
STANDING: dict[str, Standing] = {
    "sweep finished": Standing(
        trials.finished, "rank 0's rollout comes to its end and counts what the trials say"
    ),
    "trials": Standing(
        trials.completed, "every trial completes, where neither the file nor a fault says otherwise"
    ),
    "hand-off": Standing(
        handoff.check, "every node receives the run, and the overrides, that rank 0 sent"
    ),
    "run names": Standing(
        run_names.check, "each trial has a name of its own, in order, from the control plane"
    ),
    "digests": Standing(
        digests.check, "parameters are equal on all ranks at the end of each completed trial"
    ),
    "world size": Standing(
        world_size.check, "the ranks of each completed trial form one process group"
    ),
    "W&B runs": Standing(
        tracking.check, "each trial has one offline run, whole, written by rank 0 only"
    ),
    "checkpoints": Standing(checkpoint.check, "each completed trial leaves a whole checkpoint"),
    "API calls": Standing(
        api.check, "the sweep is created once, no name is wasted, no answer is a 5xx"
    ),
}
_COMMANDS = Standing(commands.check, "the command exits with status 0 on every node")
_MET = Standing(
    world_size.check_commands, "the command's ranks on all nodes form one process group, if any"
)
_SERVED = Standing(served_wandb.check, "what is tracked online arrives, each step from one node")
_PROGRESS = Standing(
    commands.progress,
    "a command that talks to the control plane has a run named, and one scored",
    talked,
)
#: What must hold after every command of somebody's own.
_OF_COMMANDS: dict[str, Standing] = {
    "commands": _COMMANDS,
    "world size": _MET,
    "progress": _PROGRESS,
}
#: What is told only where there is something to tell, as it may be meant.
_TOLD: dict[str, Standing] = {
    "trials apart": Standing(
        folders.check,
        "no trial reads what an earlier one wrote",
        lambda evidence: bool(evidence.of("folder.reread")),
    ),
    "API routes": Standing(
        api.check_routes,
        "the control plane is asked for what it has",
        lambda evidence: bool(api.asked_in_vain(evidence)),
    ),
}
_ANSWERS = Standing(answers.check, "every answer that the scenario prescribes is given")


def standing(scenario: Scenario) -> dict[str, Standing]:
    """Give the checks that no scenario of this kind need ask for."""
    own = scenario.workload.run is not None
    checks = dict(_OF_COMMANDS if own else STANDING)
    trainer = scenario.workload.trainer
    if not trainer.bundled and (trainer.score is None or trainer.score.source != "evaluate"):
        # Only the bundled trainer, and one that is scored by its checkpoint, must leave one.
        checks.pop("checkpoints", None)
    if trainer.world_size == "any":
        checks.pop("world size", None)
    for name in _not_asked_for(scenario):
        checks.pop(name, None)
    if scenario.services.api:
        checks["scripted answers"] = _ANSWERS
    if scenario.services.serves_wandb:
        checks["W&B's server"] = _SERVED
    return checks


def _not_asked_for(scenario: Scenario) -> Iterator[str]:
    """Name the checks that what the file itself says, or a fault, goes over."""
    for item in scenario.expect:
        yield from item.said.voids
    if scenario.services.api:
        # A control plane that answers otherwise is a fault, too.
        yield "trials"
    for fault in scenario.faults:
        if not fault.said.harmless:
            yield "trials"
        yield from fault.said.voids


def evaluate(
    evidence: Evidence, loaded: Loaded | None = None, seconds: Seconds = Seconds()
) -> tuple[CheckResult, ...]:
    """Evaluate every check: the scenario's own in the order of its file, then the standing ones.

    A check that breaks, or is not done in time, is inconclusive, and keeps no other from being
    evaluated.

    Args:
        evidence: What was left.
        loaded: The scenario with its places, which complaints name.
        seconds: How long that may take.

    """
    judge = partial(judged, allowance=Allowance(seconds.all, _HURRIED), most=seconds.each)
    results = [
        judge(
            partial(JUDGES[type(item.said)], item.said, evidence),
            name=str(item.said),
            expected=item.said.wanted,
            asked_by=f"expect[{index}]",
            place=partial(_place, loaded, index),
        )
        for index, item in enumerate(evidence.scenario.expect)
    ]
    results += [
        judge(partial(each.check, evidence), name=name, expected=each.expected)
        for name, each in {**standing(evidence.scenario), **_TOLD}.items()
        if each.applies(evidence)
    ]
    evidence.matcher.close()
    return tuple(results)


def _place(loaded: Loaded | None, index: int) -> str:
    """Say where the scenario's file has an expectation."""
    if loaded is None:
        return f"expect[{index}]"
    place = loaded.locate(["expect", index])
    return f"{place.file}:{place.line}"


def judged(
    check: Callable[[], Judgement],
    *,
    allowance: Allowance,
    most: float,
    name: str,
    expected: str,
    asked_by: str = "",
    place: Callable[[], str] = str,
) -> CheckResult:
    """Run one check; a check that breaks is inconclusive."""
    began = time.perf_counter()
    try:
        judgement = allowance.spend(check, most)
    except EvidenceError as error:
        judgement = unclear(str(error), error.where)
    except UnmatchedError as error:
        where = f"{error.where}: " if error.where else ""
        told = f"{where}{error.message} ({place()})\n  -> {error.hint}"
        judgement = unclear(told, error.where)
    except LimitError as error:
        judgement = unclear(f"the check was {error}")
    except Exception as error:  # noqa: BLE001 - a broken check says unknown, never passed
        judgement = unclear(f"the check itself broke: {type(error).__name__}: {error}")
    return CheckResult(
        name=name,
        verdict=judgement.verdict,
        detail=judgement.detail,
        expected=expected,
        seen=judgement.seen or judgement.detail,
        where=judgement.where,
        warning=judgement.doubt,
        asked_by=asked_by,
        seconds=time.perf_counter() - began,
    )
