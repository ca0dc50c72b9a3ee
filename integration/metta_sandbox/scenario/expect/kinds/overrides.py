"""What settings trials trained with, and whether all nodes had the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field, model_validator
from typing_extensions import Self

from metta_sandbox.scenario.expect.bounds import OF, Wanted, Which, tell, whose
from metta_sandbox.scenario.expect.judgement import Finding, Judgement, differences, flat, unlike
from metta_sandbox.scenario.expect.kind import CheckKind, CheckPair
from metta_sandbox.scenario.expect.selection import across, title
from metta_sandbox.scenario.expect.values import NOTHING, fits, short, unlike_value
from metta_sandbox.scenario.overrides import abridged
from metta_sandbox.words import many

if TYPE_CHECKING:
    from metta_sandbox.checks.evidence import Evidence, TrialRecord
    from metta_sandbox.timeline.recording import Event


class OverridesCheck(CheckKind):
    """What settings trials train with, and on which nodes."""

    key = "overrides"
    about = "Overrides are equal on all ranks and as suggested; given keys have given values."
    example = "overrides: {values: {trainer.batch_size: 512}}"

    of: Which = Field(default="all", description=OF)
    equal: bool = Field(
        default=True, description="Every node received, and the file has, what rank 0 sent."
    )
    as_suggested: bool = Field(
        default=True, description="What was suggested is among them, unchanged."
    )
    values: dict[str, Wanted] = Field(
        default_factory=dict, description="By dotted key, a value or a number's bounds."
    )

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if not self.equal and not self.as_suggested and not self.values:
            raise ValueError("expected equal, as_suggested or values")
        return self

    @property
    def wanted(self) -> str:
        """What of the overrides must hold."""
        words = ["equal on all ranks"] * self.equal + ["as suggested"] * self.as_suggested
        words += [f"{key} {tell(value)}" for key, value in self.values.items()]
        return ", ".join(words)

    def __str__(self) -> str:
        return f"overrides of {whose(self.of)}: {self.wanted}"


def check(expected: OverridesCheck, evidence: Evidence) -> Judgement:
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
            yield from (Finding(each, place) for each in unequal(evidence, event))
        if event is not None and expected.as_suggested:
            place = evidence.place_of(event)
            yield from (Finding(each, place) for each in without_suggestion(evidence, event))
        if expected.values:
            path = evidence.folder / "trials" / trial.run / "overrides.json"
            seen = flat(evidence.overrides(trial.run))
            for key, wanted in expected.values.items():
                if not fits(wanted, seen.get(key, NOTHING)):
                    place = evidence.line_of(path, f'"{key}"')
                    yield unlike_value(
                        f"{title(trial)}: {key}", wanted, seen.get(key, NOTHING), place
                    )

    def tell(trial: TrialRecord) -> Finding:
        seen = flat(evidence.overrides(trial.run))
        told = [f"{key} {short(seen[key])}" for key in expected.values]
        shown = ", ".join(told) or many(len(seen), "override")
        return Finding(f"{shown} in {title(trial)}", file(trial))

    return across(evidence, expected.of, evidence.trials, look, tell)


def unequal(evidence: Evidence, sent: Event) -> Iterator[str]:
    """Tell where overrides that nodes received, or the file of them, differ from what was sent."""
    reached = {event.get("node_rank") for event in received_of(evidence, sent)}
    for rank, host in enumerate(evidence.scenario.hosts):
        if rank not in reached:
            yield f"{title_of(sent)}: {host} never received what rank 0 sent"
    yield from as_sent(evidence, sent)


def title_of(sent: Event) -> str:
    """Name the trial of a hand-off for people."""
    return f"trial {sent.get('trial')} ({sent.get('run')})"


def place_of(event: Event) -> str:
    """Say where and when an event was emitted."""
    return f"{event.get('node')} at +{event.received:.3f}s"


def received_of(evidence: Evidence, sent: Event) -> list[Event]:
    """Give the hand-offs of a trial that arrived."""
    return [e for e in evidence.of("handoff.received") if e.get("trial") == sent.get("trial")]


def as_sent(evidence: Evidence, sent: Event) -> Iterator[str]:
    """Tell where what nodes received, or the file of it, is not what was sent."""
    for event in received_of(evidence, sent):
        for field in ("run", "wandb_run_id"):
            if event.get(field) != sent.get(field):
                yield (
                    f"{title_of(sent)}: {place_of(event)} received {field} {event.get(field)!r}, "
                    f"rank 0 sent {sent.get(field)!r}"
                )
        for difference in differences(_overrides(sent), _overrides(event)):
            yield f"{title_of(sent)}: {place_of(event)} received another {difference}"
    run = str(sent.get("run"))
    for difference in differences(_overrides(sent), abridged(evidence.overrides(run))):
        yield f"{title_of(sent)}: trials/{run}/overrides.json has another {difference}"


def without_suggestion(evidence: Evidence, sent: Event) -> Iterator[str]:
    """Tell what of a suggestion was not sent."""
    made = [e for e in evidence.of("suggestion.made") if e.get("trial") == sent.get("trial")]
    if not made:
        yield f"{title_of(sent)}: no suggestion.made came before it"
        return
    suggestion = flat(made[-1].get("suggestion") or {})
    handed = {key: value for key, value in _overrides(sent).items() if key in suggestion}
    for difference in differences(suggestion, handed):
        yield f"{title_of(sent)}: the suggestion is not what was handed off: {difference}"


def _overrides(event: Event) -> dict[str, object]:
    return flat(event.get("overrides") or {})


CHECK = CheckPair(OverridesCheck, check)
