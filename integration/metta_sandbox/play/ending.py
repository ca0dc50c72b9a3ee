"""The end of a scenario: its evidence is collected and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from metta_sandbox import removing
from metta_sandbox.checks import trials
from metta_sandbox.checks.evaluation import evaluate
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.limits import Allowance, LimitError
from metta_sandbox.masking import masker
from metta_sandbox.node.agent.told import FOLDER
from metta_sandbox.node.fresh import KEPT
from metta_sandbox.play import collection, steady
from metta_sandbox.play.course import Course, Setting
from metta_sandbox.play.outcome import End
from metta_sandbox.report.hiding import hide_in
from metta_sandbox.report.results import CheckResult, LeftOut, LeftOutFile, TrialResult
from metta_sandbox.safe_text import for_terminal
from metta_sandbox.scenario.artifacts import Artifacts
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.engines.base import RUN_FOLDER, StackPlan
from metta_sandbox.verdict import Verdict, worst

#: Why a file was left out.
_UNMASKABLE = "holds a secret, and is no text"

#: Seconds for all steps of collecting together, for what trials came to, and from Ctrl-C on.
_COLLECTING = 600.0
_READING = 120.0
_HURRIED = 30.0
#: Seconds that each step gets, whatever became of the others.
_LEAST = 10.0


def collect(course: Course, scenario: Scenario, setting: Setting) -> None:
    """Bring all evidence to where it is kept. Each step is tried, whatever became of the others."""
    steps: list[tuple[str, Callable[[], object]]] = []
    if course.nodes:
        steps += [
            ("healing faults", course.strikes.heal),
            ("stopping the sweep on every node", course.nodes.stop),
            ("concluding faults", course.strikes.conclude),
        ]
    steps.append(("ending its turn", setting.turn.end))
    if course.stack and course.plan and course.plan.sidecars:
        # Agents end with the connection, and a node's network with its agent.
        steps.append(("ending what is beside nodes", course.stack.end_sidecars))
    if course.desk and course.plan:
        steps.append(("telling what was installed", partial(course.desk.close, course.plan.folder)))
    if course.link:
        steps.append(("leaving the nodes", course.link.close))
    if course.stack:
        steps.append(("collecting logs", course.stack.collect))
    if course.plan and course.examiner:
        steps.append(
            ("keeping what was examined", partial(course.examiner.keep, course.plan.folder))
        )
    if course.plan and course.stack:
        shared = course.stack.run_folder
        leave_out = partial(_leave_out, course, shared, scenario.artifacts)
        steps.append(("leaving out what can't be kept", leave_out))
        steps.append(("moving trials", partial(_move_evidence, shared, course.plan)))
    if course.timeline:
        steps.append(("ordering the timeline", course.timeline.finish))
    allowance = Allowance(_COLLECTING, _HURRIED, _LEAST)
    for what, step in steps:
        course.attempt(partial(_within, allowance, what, step))


def _within(allowance: Allowance, what: str, step: Callable[[], object]) -> None:
    try:
        allowance.spend(step)
    except LimitError as error:
        raise LimitError(f"{what} was {error}") from None


def judge_evidence(
    course: Course, scenario: Scenario, file: Path, setting: Setting
) -> tuple[tuple[TrialResult, ...], tuple[CheckResult, ...]]:
    """Judge what was left; of a sweep that we broke off ourselves, only its trials are told."""
    why_not = course.ending.reason if course.ending else ""
    states = steady.results(scenario, course.before, course.after, why_not)
    states = (*states, *_notices(course, scenario))
    if course.plan is None or course.timeline is None or course.started is None:
        return (), states
    took = {
        "scenario": course.seconds,
        "up": course.up,
        "sweep": course.swept,
    }
    seconds = {name: value for name, value in took.items() if value is not None}
    evidence = Evidence(
        course.plan.folder,
        scenario,
        course.timeline.events,
        seconds,
        setting.engine.name,
        setting.engine.has,
        course.ending.end.key if course.ending else "",
        left_out={one.file: one.why for one in course.left_out.files},
    )
    checks = evaluate(evidence, file) if course.ending else ()
    over: list[TrialResult] = []
    read = partial(_within, Allowance(_READING, _HURRIED), "reading trials")
    course.attempt(lambda: read(lambda: over.extend(trials.results(evidence))))
    return tuple(over), (*course.strikes.checks, *checks, *states)


def _notices(course: Course, scenario: Scenario) -> Iterator[CheckResult]:
    """Give what is told of nodes and decides nothing."""
    if course.plan is not None and scenario.workload.network == "open":
        yield CheckResult(
            name="network",
            verdict=Verdict.PASSED,
            expected="nodes have a way out, as the scenario asks for",
            seen="workload.network is open",
            warning="its nodes had a way out (workload.network: open): what ran there could reach "
            "whatever this machine can",
        )
    if course.desk is not None and (told := course.desk.result()):
        yield told


def hide_secrets(course: Course) -> None:
    """Mask secrets in all that was collected, and leave out what holds one and is no text."""

    def hide() -> None:
        if course.plan:
            names = hide_in(course.plan.folder, masker())
            found = (LeftOutFile(file=for_terminal(name), why=_UNMASKABLE) for name in names)
            files = (*found, *course.left_out.files)
            count = course.left_out.count + len(names)
            course.left_out = LeftOut(count=count, files=files)

    course.attempt(hide)


def _leave_out(course: Course, shared: Path, limits: Artifacts) -> None:
    """Remove from the nodes' shared folder what can't be kept."""
    # What processes told has been read. What setup left stands in each trial's folder, too, but for
    # what that changed.
    for name in (FOLDER, KEPT):
        removing.remove(shared, name)
    course.left_out = collection.keep_within(shared, limits, (RUN_FOLDER,))


def _move_evidence(shared: Path, plan: StackPlan) -> None:
    """Move trials and W&B runs out of the nodes' shared folder; what users add stays in there."""
    for entry in sorted(shared.iterdir()):
        target = (plan.folder if entry.name in collection.MOVED else plan.run_folder) / entry.name
        if target != entry and not target.exists():
            removing.take(entry, target)


def verdict_on(course: Course, checks: tuple[CheckResult, ...]) -> tuple[Verdict, str]:
    """Say how a scenario came out, and why, worst cause first."""
    if course.unsteady[0] is not Verdict.PASSED and not course.problems:
        return course.unsteady
    if course.problems or course.ending is None or course.ending.end is End.STACK_LOST:
        reasons = [course.ending.reason] if course.ending and course.ending.reason else []
        return Verdict.ERROR, "; ".join([*course.problems, *reasons])
    if unproven := course.strikes.unproven:
        more = [] if course.ending.end is End.FINISHED else [course.ending.reason]
        return Verdict.INCONCLUSIVE, "; ".join([f"not proven: {unproven}", *more])
    if course.ending.end.key not in {"finished", course.wanted_end}:
        return Verdict.FAILED, course.ending.reason
    verdict = worst(check.verdict for check in checks)
    if parts := name_bad_checks(checks):
        return verdict, "; ".join([*parts, *course.failures])
    return verdict, ""


def name_bad_checks(checks: tuple[CheckResult, ...]) -> list[str]:
    """Name the checks that failed, then those that could not be judged; a phrase for either."""
    by_phrase = {
        "did not hold": (Verdict.FAILED,),
        "could not be told": (Verdict.INCONCLUSIVE, Verdict.ERROR),
    }
    named = {
        phrase: ", ".join(check.name for check in checks if check.verdict in verdicts)
        for phrase, verdicts in by_phrase.items()
    }
    return [f"{phrase}: {names}" for phrase, names in named.items() if names]
