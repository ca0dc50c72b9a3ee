"""The user's own command ended well on every node, and got somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from metta_sandbox.autopsy.printed import printed_last
from metta_sandbox.autopsy.words import Exc, last_said, parse
from metta_sandbox.checks import world_size
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.node.agent.events import told_by
from metta_sandbox.scenario.expect.judgement import Judgement, judge, unlike
from metta_sandbox.scenario.expect.kinds import progress as kind
from metta_sandbox.verdict import Verdict
from metta_sandbox.words import many

#: Events of whoever tells of a command whatever it does.
_ALWAYS = told_by("the harness") | told_by("the agent") | told_by("the control plane")
_NOTHING = (
    "nothing was expected of the command, and nothing was seen of it: no process group, no call of "
    "the control plane, no event, no W&B run"
)


def check(evidence: Evidence) -> Judgement:
    """Check that every node's command exited with status 0.

    One that did so right behind a traceback, or of which nobody can tell whether it did anything,
    passes with a warning.
    """
    statuses = {event.get("node"): event.get("status") for event in evidence.of("command.exited")}
    problems = [
        unlike(host, "exit status 0", str(statuses.get(host, "no end of its command")))
        for host in evidence.scenario.hosts
        if statuses.get(host) != 0
    ]
    places = (evidence.place_of(event) for event in evidence.of("command.exited"))
    nodes = many(evidence.scenario.nodes, "node")
    judgement = judge(problems, f"exited with status 0 on {nodes}", places)
    if problems:
        return judgement
    told = _tracebacks(evidence, _ended_it)
    return judgement.warning("; ".join(told) or ("" if _is_seen(evidence) else _NOTHING))


def progress(evidence: Evidence) -> Judgement:
    """Check that a run was named and one scored; else tell what commands printed of failures."""
    judgement = kind.check(evidence)
    if judgement.verdict is not Verdict.FAILED or any(_tracebacks(evidence, _ended_it)):
        return judgement
    told = _tracebacks(evidence, lambda lines: parse("\n".join(lines)))
    return judgement.warning("; ".join(told))


def _ended_it(lines: list[str]) -> Exc | None:
    """Find the traceback that is the last that a command printed."""
    said = last_said(lines)
    return said if said is not None and said.kind else None


def _tracebacks(evidence: Evidence, look: Callable[[list[str]], Exc | None]) -> Iterator[str]:
    """Tell of commands that exited with 0 all the same what they raised, together where alike."""
    path = evidence.folder / "timeline.jsonl"
    printed = printed_last(path) if evidence.size(path) is not None else {}
    hosts: dict[str, list[str]] = {}
    for event in evidence.of("command.exited"):
        host = str(event.get("node"))
        if event.get("status") == 0 and (said := look(printed.get(host, []))) is not None:
            hosts.setdefault(str(said), []).append(host)
    for raised, of in hosts.items():
        yield f"{' and '.join(of)} exited with status 0 after a traceback: {raised}"


def _is_seen(evidence: Evidence) -> bool:
    """Tell whether the file expects something, or the command did what can be seen."""
    scenario = evidence.scenario
    return bool(
        scenario.expect
        or scenario.faults
        or scenario.steady_state
        or any(event.name not in _ALWAYS for event in evidence.events)
        or kind.talked(evidence)
        or world_size.formed_groups(evidence)
        or evidence.find("wandb/*/run-*.wandb")
    )
