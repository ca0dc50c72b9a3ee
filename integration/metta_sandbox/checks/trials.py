"""How many trials completed and failed, and that the sweep ran to its end."""

from __future__ import annotations

from metta_sandbox.checks.evidence import Evidence, EvidenceError, TrialRecord
from metta_sandbox.checks.judgement import Finding, Judgement, judge
from metta_sandbox.checks.selection import none_completed, record
from metta_sandbox.report.results import TrialResult
from metta_sandbox.scenario.expect import Trials
from metta_sandbox.words import many


def count(expected: Trials, evidence: Evidence) -> Judgement:
    """Check the numbers of trials against those allowed.

    Every trial that began and did not complete has failed, whether or not anybody could write so.
    """
    completed = len(evidence.completed)
    failed = len(evidence.begun) - completed
    problems = [
        Finding(f"expected {bounds} {what}, saw {number}", seen=f"{number} {what}")
        for what, bounds, number in (
            ("completed", expected.completed, completed),
            ("failed", expected.failed, failed),
            ("pending", expected.pending, len(_unfinished(evidence))),
        )
        if bounds is not None and not bounds.hold(number)
    ]
    if not evidence.begun:
        problems.append(Finding("no trial ever began"))
    if problems:
        problems += [_told(trial) for trial in evidence.trials if trial.status != "completed"]
        problems += map(Finding, _unfinished(evidence))
    places = (evidence.where(record(evidence, trial)) for trial in evidence.trials)
    return judge(problems, f"{completed} completed, {failed} failed", places)


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
    problems += _unfinished(evidence)
    return judge(problems, f"after {many(len(evidence.trials), 'trial')}", [place])


def completed(evidence: Evidence) -> Judgement:
    """Check that every trial completed, at the last of its attempts."""
    if not evidence.trials:
        return none_completed(evidence, "as none ended")
    failed = [trial for trial in evidence.trials if trial.status == "failed" and not trial.retried]
    places = (evidence.where(record(evidence, trial)) for trial in evidence.completed)
    told = f"{many(len(evidence.completed), 'trial')} completed"
    return judge([_told(trial) for trial in failed], told, places)


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


def _told(trial: TrialRecord) -> Finding:
    text = f"{trial.status}: {trial.reason or 'no reason given'}"
    return Finding(text, f"trials/{trial.run}/trial.json", f"{trial.run}: {text}")


def _unfinished(evidence: Evidence) -> list[str]:
    over = {trial.trial for trial in evidence.trials}
    return [
        f"trial {number} began and left no trial.json" for number in sorted(evidence.begun - over)
    ]
