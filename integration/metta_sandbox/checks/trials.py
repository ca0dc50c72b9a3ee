"""That every trial completed, and the sweep ran to its end."""

from __future__ import annotations

from metta_sandbox.checks.evidence import Evidence, TrialRecord
from metta_sandbox.report.results import TrialResult
from metta_sandbox.scenario.expect.judgement import EvidenceError, Finding, Judgement, judge
from metta_sandbox.scenario.expect.kinds.trials import told_of, unfinished
from metta_sandbox.scenario.expect.selection import none_completed, record
from metta_sandbox.words import many


def finished(evidence: Evidence) -> Judgement:
    """Check that rank 0's rollout came to its end and counted what its trials say."""
    ends = [event for event in evidence.of("rollout.finished") if event.get("node_rank") == 0]
    if not ends:
        last = evidence.events[-1].name if evidence.events else "none at all"
        return judge(
            [f"rank 0's rollout never said rollout.finished; the last event was {last}"], ""
        )
    if not evidence.trials:
        return judge(["the sweep ended without one trial: trials/*/trial.json is not there"], "")
    place = evidence.place_of(ends[-1])
    told = (ends[-1].get("completed"), ends[-1].get("failed"))
    written = (len(evidence.completed), len(evidence.trials) - len(evidence.completed))
    problems: list[Finding | str] = []
    if told != written:
        problems.append(
            Finding(
                f"rollout.finished says {told[0]} completed and {told[1]} failed, "
                f"but trials/*/trial.json say {written[0]} and {written[1]}",
                place,
            )
        )
    problems += unfinished(evidence)
    return judge(problems, f"after {many(len(evidence.trials), 'trial')}", [place])


def completed(evidence: Evidence) -> Judgement:
    """Check that every trial completed, at the last of its attempts."""
    if not evidence.trials:
        return none_completed(evidence, "as none ended")
    failed = [trial for trial in evidence.trials if trial.status == "failed" and not trial.retried]
    places = (evidence.where(record(evidence, trial)) for trial in evidence.completed)
    told = f"{many(len(evidence.completed), 'trial')} completed"
    return judge([told_of(trial) for trial in failed], told, places)


def results(evidence: Evidence) -> tuple[TrialResult, ...]:
    """List a scenario's trials for the report, in the order they began; never raises.

    A trial that began but left no readable record is ``pending``.
    """
    try:
        over = {trial.trial: trial for trial in evidence.trials}
    except EvidenceError:
        over = {}
    begun: dict[int, str] = dict.fromkeys(over, "")
    for event in (*evidence.of("suggestion.made"), *evidence.of("run.named")):
        if isinstance(number := event.get("trial"), int):
            begun[number] = str(event.get("run") or "")
    return tuple(
        _result(over[number]) if number in over else TrialResult(run=run, status="pending")
        for number, run in sorted(begun.items())
    )


def _result(trial: TrialRecord) -> TrialResult:
    kept = trial.model_dump(include=set(TrialResult.model_fields))
    return TrialResult(**kept)
