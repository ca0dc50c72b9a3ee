"""All checks of a scenario: what its file expects, and what must always hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from metta_sandbox.checks import (
    answers,
    api,
    checkpoints,
    commands,
    digests,
    handoff,
    logs,
    run_names,
    tracking,
    trials,
)
from metta_sandbox.checks.evidence import Evidence, EvidenceError
from metta_sandbox.checks.judgement import Judgement
from metta_sandbox.report.results import CheckResult
from metta_sandbox.scenario.expect import Expectation, TrialsExpectation
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.verdict import Verdict

Check = Callable[[Evidence], Judgement]

#: What must hold after every sweep of our rollout.
STANDING: dict[str, Check] = {
    "sweep finished": trials.finished,
    "hand-off": handoff.check,
    "run names": run_names.check,
    "digests": digests.check,
    "W&B runs": tracking.check,
    "checkpoints": checkpoints.check,
    "API calls": api.check,
}


def standing(scenario: Scenario) -> dict[str, Check]:
    """Give the checks that no scenario of this kind need ask for."""
    own = scenario.workload.run is not None
    checks: dict[str, Check] = {"commands": commands.check} if own else dict(STANDING)
    trainer = scenario.workload.trainer
    if not trainer.bundled and (trainer.score is None or trainer.score.source != "evaluate"):
        # Only the bundled trainer, and one that is scored by its checkpoint, must leave one.
        checks.pop("checkpoints", None)
    if scenario.services.api:
        checks["scripted answers"] = answers.check
    return checks


def evaluate(evidence: Evidence) -> tuple[CheckResult, ...]:
    """Evaluate every check: the scenario's own in the order of its file, then the standing ones.

    A check that breaks is inconclusive, and keeps no other from being evaluated.
    """
    named = [*map(_expected, evidence.scenario.expect), *standing(evidence.scenario).items()]
    return tuple(_evaluate(name, check, evidence) for name, check in named)


def _evaluate(name: str, check: Check, evidence: Evidence) -> CheckResult:
    try:
        judgement = check(evidence)
    except EvidenceError as error:
        judgement = Judgement(Verdict.INCONCLUSIVE, str(error))
    except Exception as error:  # noqa: BLE001 - a broken check says unknown, never passed
        broken = f"the check itself broke: {type(error).__name__}: {error}"
        judgement = Judgement(Verdict.INCONCLUSIVE, broken)
    return CheckResult(name=name, verdict=judgement.verdict, detail=judgement.detail)


def _expected(item: Expectation) -> tuple[str, Check]:
    if isinstance(item, TrialsExpectation):
        wanted = item.trials
        parts = (("completed", wanted.completed), ("failed", wanted.failed))
        said = ", ".join(f"{bounds} {what}" for what, bounds in parts if bounds is not None)
        return f"trials: {said}", partial(trials.count, wanted)
    log = item.log
    verb, pattern = ("lacks", log.lacks) if log.contains is None else ("contains", log.contains)
    place = f" on {log.on}" if log.on else ""
    return f"log{place} {verb} '{pattern}'", partial(logs.check, log)
