"""The end of a scenario: its evidence is collected and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from metta_sandbox import removing
from metta_sandbox.autopsy.cause import Cause
from metta_sandbox.checks import trials
from metta_sandbox.checks.evaluation import evaluate
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.limits import Allowance, LimitError
from metta_sandbox.masking import masker
from metta_sandbox.node.agent.told import FOLDER
from metta_sandbox.node.fresh import KEPT
from metta_sandbox.play import collection, steady
from metta_sandbox.play.outcome import End
from metta_sandbox.play.reached import Reached
from metta_sandbox.play.setting import Setting
from metta_sandbox.report.hiding import hide_in
from metta_sandbox.report.results import (
    CheckResult,
    FaultResult,
    LeftOut,
    LeftOutFile,
    TrialResult,
)
from metta_sandbox.safe_text import for_terminal
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.stack.engines.base import RUN_FOLDER, StackPlan
from metta_sandbox.verdict import Verdict, worst

#: Why a file was left out.
#: Where the stand-in for W&B keeps what nodes send it, in a scenario's folder.
_SERVED = Path("api", "wandb", "files")
_UNMASKABLE = "holds a secret, and is no text"

#: Seconds for all steps of collecting together, for what trials came to, and from Ctrl-C on.
_COLLECTING = 600.0
_READING = 120.0
_HURRIED = 30.0
#: Seconds that each step gets, whatever became of the others.
_LEAST = 10.0


@dataclass(frozen=True)
class Collected:
    """What was brought to where it is kept.

    Args:
        left_out: What of the nodes' files was not.
        faults: What became of each fault.
        fault_checks: What is judged of faults themselves.
        unproven: Which of them were not shown to have happened, in words.
        causes: What the sweep, or a trial, failed of.

    """

    left_out: LeftOut
    faults: tuple[FaultResult, ...]
    fault_checks: tuple[CheckResult, ...]
    unproven: str
    causes: tuple[Cause, ...]


@dataclass(frozen=True)
class Judged:
    """What the evidence says: of each trial, and of each check."""

    trials: tuple[TrialResult, ...]
    checks: tuple[CheckResult, ...]


Step: TypeAlias = tuple[str, Callable[[], object]]


def _endings(reached: Reached, setting: Setting) -> list[Step]:
    """List, each with what it does, the steps that end all that is under way on the nodes."""
    leased, connected, strikes = reached.leased, reached.connected, reached.strikes
    steps: list[Step] = []
    if connected:
        steps += [
            ("healing faults", strikes.heal),
            ("stopping the sweep on every node", connected.nodes.stop),
            ("concluding faults", strikes.conclude),
        ]
        if connected.nodes.task_log:
            steps.append(("ending the task's log", connected.nodes.task_log.close))
    steps.append(("ending its turn", setting.turn.end))
    if leased and leased.plan.sidecars:
        # Agents end with the connection, and a node's network with its agent.
        steps.append(("ending what is beside nodes", leased.stack.end_sidecars))
    if reached.desk and leased:
        close = partial(reached.desk.close, leased.plan.folder)
        steps.append(("telling what was installed", close))
    if connected:
        steps.append(("leaving the nodes", connected.nodes.link.close))
    return steps


def collect(reached: Reached, scenario: Scenario, setting: Setting) -> Collected:
    """Bring all evidence to where it is kept. Each step is tried, whatever became of the others."""
    leased, strikes = reached.leased, reached.strikes
    left_out = LeftOut()

    def leave_out(shared: Path) -> None:
        """Remove from the nodes' shared folder what can't be kept."""
        nonlocal left_out
        # What processes told has been read. What setup left stands in each trial's folder, too,
        # but for what that changed.
        for name in (FOLDER, KEPT):
            removing.remove(shared, name)
        left_out = collection.keep_within(shared, scenario.artifacts, (RUN_FOLDER,))

    def leave_out_served(folder: Path) -> None:
        """Remove what nodes sent to the stand-in for W&B, and is too much."""
        nonlocal left_out
        with suppress(FileNotFoundError):
            more = collection.keep_within(folder, scenario.artifacts, called=str(_SERVED))
            files = (*left_out.files, *more.files)
            left_out = LeftOut(count=left_out.count + more.count, files=files)

    steps = _endings(reached, setting)
    if leased:
        steps.append(("collecting logs", leased.stack.collect))
        if reached.examiner:
            keep = partial(reached.examiner.keep, leased.plan.folder)
            steps.append(("keeping what was examined", keep))
        shared = leased.stack.run_folder
        steps.append(("leaving out what can't be kept", partial(leave_out, shared)))
        served = leased.plan.folder / _SERVED
        steps.append(("leaving out what was sent", partial(leave_out_served, served)))
        steps.append(("moving trials", partial(_move_evidence, shared, leased.plan)))
    steps.append(("ordering the timeline", reached.timeline.finish))
    allowance = Allowance(_COLLECTING, _HURRIED, _LEAST)
    for what, step in steps:
        reached.attempt(partial(_within, allowance, what, step))
    causes = reached.examiner.causes if reached.examiner else ()
    return Collected(left_out, strikes.results, strikes.checks, strikes.unproven, causes)


def _within(allowance: Allowance, what: str, step: Callable[[], object]) -> None:
    try:
        allowance.spend(step)
    except LimitError as error:
        raise LimitError(f"{what} was {error}") from None


def judge_evidence(
    reached: Reached, collected: Collected, loaded: Loaded, setting: Setting
) -> Judged:
    """Judge what was left; of a sweep that we broke off ourselves, only its trials are told."""
    scenario, ending = loaded.scenario, reached.ending
    why_not = ending.reason if ending else ""
    states = steady.results(scenario, reached.before, reached.after, why_not)
    states = (*states, *_notices(reached, scenario))
    if not reached.started:
        return Judged((), states)
    evidence = Evidence(
        reached.timeline.path.parent,
        scenario,
        reached.timeline.events,
        {"scenario": reached.seconds, **reached.took},
        setting.engine.name,
        setting.engine.has,
        ending.end.key if ending else "",
        left_out={one.file: one.why for one in collected.left_out.files},
    )
    checks = evaluate(evidence, loaded) if ending else ()
    over: list[TrialResult] = []
    read = partial(_within, Allowance(_READING, _HURRIED), "reading trials")
    reached.attempt(lambda: read(lambda: over.extend(trials.results(evidence))))
    return Judged(tuple(over), (*collected.fault_checks, *checks, *states))


def _notices(reached: Reached, scenario: Scenario) -> Iterator[CheckResult]:
    """Give what is told of nodes and decides nothing."""
    if reached.leased and scenario.workload.network == "open":
        yield CheckResult(
            name="network",
            verdict=Verdict.PASSED,
            expected="nodes have a way out, as the scenario asks for",
            seen="workload.network is open",
            warning="its nodes had a way out (workload.network: open): what ran there could reach "
            "whatever this machine can",
        )
    if reached.desk is not None and (told := reached.desk.result()):
        yield told


def hide_secrets(reached: Reached, left_out: LeftOut) -> LeftOut:
    """Mask secrets in all that was collected; what holds one and is no text is left out, too."""
    unmaskable: list[LeftOutFile] = []

    def hide() -> None:
        names = hide_in(reached.timeline.path.parent, masker())
        unmaskable.extend(LeftOutFile(file=for_terminal(name), why=_UNMASKABLE) for name in names)

    reached.attempt(hide)
    count = left_out.count + len(unmaskable)
    return LeftOut(count=count, files=(*unmaskable, *left_out.files))


def _move_evidence(shared: Path, plan: StackPlan) -> None:
    """Move trials and W&B runs out of the nodes' shared folder; what users add stays in there."""
    for entry in sorted(shared.iterdir()):
        target = (plan.folder if entry.name in collection.MOVED else plan.run_folder) / entry.name
        if target != entry and not target.exists():
            removing.take(entry, target)


def verdict_on(
    scenario: Scenario, reached: Reached, collected: Collected, checks: tuple[CheckResult, ...]
) -> tuple[Verdict, str]:
    """Say how a scenario came out, and why, worst cause first."""
    ending, problems = reached.ending, reached.problems
    unsteady, reason = steady.fault_of(scenario, reached.before)
    if unsteady is not Verdict.PASSED and not problems:
        return unsteady, reason
    if problems or ending is None or ending.end is End.STACK_LOST:
        reasons = [ending.reason] if ending and ending.reason else []
        return Verdict.ERROR, "; ".join([*problems, *reasons])
    if collected.unproven:
        more = [] if ending.end is End.FINISHED else [ending.reason]
        return Verdict.INCONCLUSIVE, "; ".join([f"not proven: {collected.unproven}", *more])
    wanted = next((item.said.ending for item in scenario.expect if item.said.ending), "")
    if ending.end.key not in {"finished", wanted}:
        return Verdict.FAILED, ending.reason
    verdict = worst(check.verdict for check in checks)
    if parts := name_bad_checks(checks):
        return verdict, "; ".join([*parts, *reached.narrator.failures])
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
