"""Values that must be somewhere: in overrides, in W&B runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from metta_sandbox.checks import handoff
from metta_sandbox.checks.evidence import Evidence, TrialRecord
from metta_sandbox.checks.judgement import Finding, Judgement, flat, judge, same, unlike
from metta_sandbox.checks.selection import across, title
from metta_sandbox.checks.tracking import run_id
from metta_sandbox.scenario.expect import Level, Overrides, Wandb
from metta_sandbox.scenario.expect.bounds import tell as in_words
from metta_sandbox.scenario.values import Value
from metta_sandbox.wandb_file import WandbRun
from metta_sandbox.words import many

_NOTHING = object()


def fits(wanted: Level | Value, seen: object) -> bool:
    """Tell whether a value is the one wanted, or within the bounds."""
    if isinstance(wanted, Level):
        number = isinstance(seen, (int, float)) and not isinstance(seen, bool)
        return number and wanted.hold(float(seen))  # type: ignore[arg-type]
    return seen is not _NOTHING and same(wanted, seen)


def overrides(expected: Overrides, evidence: Evidence) -> Judgement:
    """Check that all ranks trained with what rank 0 sent and was suggested, and given values."""
    sent = {event.get("trial"): event for event in evidence.of("handoff.sent")}

    def file(trial: TrialRecord) -> str:
        return evidence.where(evidence.folder / "trials" / trial.run / "overrides.json")

    def look(trial: TrialRecord) -> Iterator[Finding]:
        event = sent.get(trial.trial)
        if event is None and (expected.equal or expected.as_suggested):
            yield unlike(title(trial), "a hand-off", "no handoff.sent", "timeline.jsonl")
            return
        if event is not None and expected.equal:
            place = evidence.place_of(event)
            yield from (Finding(each, place) for each in handoff.unequal(evidence, event))
        if event is not None and expected.as_suggested:
            place = evidence.place_of(event)
            yield from (Finding(each, place) for each in handoff.unlike_suggestion(evidence, event))
        if expected.values:
            path = evidence.folder / "trials" / trial.run / "overrides.json"
            seen = flat(evidence.overrides(trial.run))
            for key, wanted in expected.values.items():
                if not fits(wanted, seen.get(key, _NOTHING)):
                    place = evidence.line_of(path, f'"{key}"')
                    yield _unlike(f"{title(trial)}: {key}", wanted, seen.get(key, _NOTHING), place)

    def tell(trial: TrialRecord) -> Finding:
        seen = flat(evidence.overrides(trial.run))
        told = [f"{key} {_short(seen[key])}" for key in expected.values]
        shown = ", ".join(told) or many(len(seen), "override")
        return Finding(f"{shown} in {title(trial)}", file(trial))

    return across(evidence, expected.of, evidence.trials, look, tell)


def wandb(expected: Wandb, evidence: Evidence) -> Judgement:
    """Check the content of the offline W&B runs of trials."""
    runs: dict[str, list[WandbRun]] = {}
    for run in evidence.wandb_runs:
        runs.setdefault(run_id(run), []).append(run)
    if evidence.scenario.workload.run is not None:
        return _untried(expected, evidence)

    holding: dict[str, WandbRun] = {}

    def look(trial: TrialRecord) -> Iterator[Finding]:
        """Find what is wrong with the first of these that there is: ours, and the trainer's own."""
        tracked = evidence.trainers_runs(trial.run)
        theirs = [run for rank, run in tracked if expected.rank in {None, rank}]
        ours = [] if expected.rank is not None else runs.get(trial.run, [])
        found: list[Finding] = []
        for several in (ours, theirs):
            wrong = [
                each for run in several for each in _content(expected, evidence, run, title(trial))
            ]
            if several and not wrong:
                holding[trial.run] = several[0]
                return
            found += wrong
        rank = "" if expected.rank is None else f" of rank {expected.rank}'s own"
        missing = unlike(title(trial), f"an offline W&B run{rank}", "none", "wandb")
        yield from found or [missing]

    def tell(trial: TrialRecord) -> Finding:
        run = holding[trial.run]
        return Finding(f"{_asked(expected, run)} in {title(trial)}", evidence.where(run.path))

    return across(evidence, expected.of, evidence.trials, look, tell)


def _untried(expected: Wandb, evidence: Evidence) -> Judgement:
    """Look at the runs of a command of the user's, which has no trials that we know."""
    runs = evidence.wandb_runs
    if not runs:
        return judge([unlike("wandb", "an offline W&B run", "none", "wandb")], "")
    found = [list(_content(expected, evidence, run, run_id(run))) for run in runs]
    if expected.of == "any" and not all(found):
        runs = tuple(run for run, wrong in zip(runs, found, strict=True) if not wrong)
        found = []
    held = "; ".join(f"{_asked(expected, run)} in {run_id(run)}" for run in runs)
    wrong = [each for some in found for each in some]
    return judge(wrong, held, (evidence.where(run.path) for run in runs))


def _asked(expected: Wandb, run: WandbRun) -> str:
    """Tell what a run has of what is asked for."""
    told = [] if expected.history is None else [f"{many(len(run.history), 'row')} of history"]
    told += [f"{key} {_short(_find(run.summary, key))}" for key in expected.summary]
    told += [f"{key} {_short(_find(run.config, key))}" for key in expected.config]
    return ", ".join(told)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _content(expected: Wandb, evidence: Evidence, run: WandbRun, who: str) -> Iterator[Finding]:
    place = evidence.where(run.path)
    if expected.history is not None and not expected.history.hold(len(run.history)):
        yield unlike(f"{who}: history", expected.history.of("row"), str(len(run.history)), place)
    for name, wanted, found in (
        ("summary", expected.summary, run.summary),
        ("config", expected.config, run.config),
    ):
        for key, value in wanted.items():
            seen = _find(found, key)
            if not fits(value, seen):
                yield _unlike(f"{who}: {name} {key}", value, seen, place)


def _find(content: Mapping[str, Any], key: str) -> Any:
    return content[key] if key in content else flat(content).get(key, _NOTHING)


def _unlike(about: str, wanted: Level | Value, seen: object, place: str) -> Finding:
    shown = "nothing" if seen is _NOTHING else repr(seen)
    return unlike(about, in_words(wanted), shown, place)
