"""What trials read in their working folder that earlier ones left there."""

from __future__ import annotations

from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.timeline.recording import Event
from metta_sandbox.verdict import Verdict


def check(evidence: Evidence) -> Judgement:
    """Tell what was read. That fails nothing: a folder that is not fresh was asked for."""
    events = evidence.of("folder.reread")
    told = [
        f"trial {event.get('trial')} on {event.get('node')}: {_told(event)}" for event in events
    ]
    hint = "workload.fresh: trial starts each in the folder as setup left it"
    places = tuple(evidence.place_of(event) for event in events)
    return Judgement(Verdict.SKIPPED, "\n".join([*told, hint]), "; ".join(told), places)


def _told(event: Event) -> str:
    files, count = event.get("files"), event.get("count")
    if not files:
        return f"can't be told, as {event.get('unknown')}"
    more = f" and {count - len(files)} more" if count > len(files) else ""
    return f"read {', '.join(files)}{more}, written since the sweep began"
