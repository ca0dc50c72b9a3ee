"""One scenario being played, from its plan to its result."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from metta_sandbox.checks import trials
from metta_sandbox.checks.evaluation import evaluate
from metta_sandbox.checks.evidence import Evidence
from metta_sandbox.checks.judgement import Judgement
from metta_sandbox.errors import SandboxError
from metta_sandbox.interrupt import uninterrupted
from metta_sandbox.play import steady, workspace
from metta_sandbox.play.beside_nodes import sides
from metta_sandbox.play.brought import provision
from metta_sandbox.play.examiner import Examiner
from metta_sandbox.play.nodes import End, Ending, Job, Limits, Nodes
from metta_sandbox.play.proving import prove
from metta_sandbox.play.resume import resume
from metta_sandbox.play.steady import Execute
from metta_sandbox.play.striking import Strikes
from metta_sandbox.play.turn import Alone, Turn
from metta_sandbox.progress import Progress
from metta_sandbox.report.artifacts import create_scenario_folder
from metta_sandbox.report.results import CheckResult, ScenarioResult, Timings, TrialResult
from metta_sandbox.scenario.expect import Ends
from metta_sandbox.scenario.loading import to_yaml
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import lacking
from metta_sandbox.scenario.services import ANSWERS
from metta_sandbox.stack.base import Stack, StackPlan
from metta_sandbox.stack.credentials import find_credentials
from metta_sandbox.stack.engines import Engine
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.link import HubLink
from metta_sandbox.timeline.recording import Event, Timeline
from metta_sandbox.verdict import Verdict, worst

#: Seconds that a stack gets from its start until every node is ready.
_READY = 60.0


@dataclass(frozen=True)
class Setting:
    """What all scenarios of a run have in common.

    Args:
        engine: What stacks run on.
        owner: The run.
        folder: The run's artifacts.
        progress: Gets lines for whoever watches.
        watch: Gets every event, for whoever watches.
        source: A working copy that every node sees, or None.
        words: The command that starts on every node; made from the scenario if empty.
        credentials: Whether nodes see the caller's credentials, also if a scenario asks for none.
        turn: Says when the scenario may work, of several that are played beside each other.
        place: The name of the scenario's folder; the scenario's, or one like it, if empty.

    """

    engine: Engine
    owner: Owner
    folder: Path
    progress: Progress
    watch: Callable[[Event], None]
    source: Path | None = None
    words: tuple[str, ...] = ()
    credentials: bool = False
    turn: Turn = field(default_factory=Alone)
    place: str = ""


@dataclass
class _Course:
    """What has happened so far to the scenario being played."""

    began: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    timeline: Timeline | None = None
    plan: StackPlan | None = None
    stack: Stack | None = None
    link: HubLink | None = None
    nodes: Nodes | None = None
    job: Job | None = None
    strikes: Strikes = field(default_factory=Strikes)
    before: tuple[Judgement, ...] = ()
    after: tuple[Judgement, ...] = ()
    unsteady: tuple[Verdict, str] = (Verdict.PASSED, "")
    ending: Ending | None = None
    wanted_end: str = ""
    examiner: Examiner | None = None
    problems: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    first_exits: dict[str, Event] = field(default_factory=dict)
    interrupted: bool = False
    up: float | None = None
    started: float | None = None
    first_trial: float | None = None
    swept: float | None = None
    down: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has taken so far, but for waiting until others were done."""
        return time.perf_counter() - self.began - self.waited

    def note(self, error: BaseException) -> None:
        """Keep an error; the first one is the reason, later ones never hide it."""
        if isinstance(error, (SandboxError, OSError)):
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return
        self.problems.append(f"{type(error).__name__}: {error} (a fault of the sandbox itself)")
        if self.timeline:
            self.timeline.step("".join(traceback.format_exception(error)))

    def interrupt(self) -> None:
        """Keep that Ctrl-C has ended it."""
        self.interrupted = True
        self.problems.append("interrupted")
        if self.timeline:
            self.timeline.step("interrupted")

    def attempt(self, step: Callable[[], object]) -> None:
        """Do something that must not keep what follows from being done."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - see above
            self.note(error)


@dataclass(frozen=True)
class Played:
    """A scenario's result, and whether Ctrl-C ended it."""

    result: ScenarioResult
    interrupted: bool
    stack: dict[str, Any]


def play(scenario: Scenario, file: Path, setting: Setting) -> Played:
    """Play one scenario.

    Plan, lease a stack, prove it ready and steady, start the sweep, wait, look again, collect,
    check, return the stack.
    Whatever happens, what was started is collected and ended.

    Args:
        scenario: What to play.
        file: Where it was read from.
        setting: What all scenarios of the run share.

    """
    if reason := lacking(scenario, setting.engine.name):
        return _skipped(scenario, file, setting, reason)
    course = _Course()
    try:
        _prepare(course, scenario, file, setting)
        _bring_up(course, setting)
        course.waited = setting.turn.begin()
        course.job = _job(course, scenario, setting)
        course.examiner = _examiner(course, scenario, setting)
        if _is_steady(course, scenario, setting):
            _start(course, scenario, setting)
            _wait(course, scenario)
            _look_again(course, scenario)
    except Exception as error:  # noqa: BLE001 - whatever it was, the evidence must be kept
        course.note(error)
    except KeyboardInterrupt:
        course.interrupt()
        setting.progress("interrupted: keeping the evidence, ending what was started")
    try:
        with uninterrupted():
            _collect(course, setting)
            over, checks = _evaluate(course, scenario, setting)
            _return(course, setting)
            verdict, reason = _judge(course, checks)
            result = ScenarioResult(
                name=scenario.name,
                file=str(file),
                verdict=verdict,
                reason=reason,
                engine=setting.engine.name,
                nodes=scenario.nodes,
                seconds=course.seconds,
                trials=over,
                faults=course.strikes.results,
                checks=checks,
                causes=course.examiner.causes if course.examiner else (),
                timings=Timings(up=course.up, first_trial=course.first_trial, down=course.down),
            )
    except KeyboardInterrupt:
        course.interrupted = True
    description = course.stack.describe() if course.stack else {}
    return Played(result, course.interrupted, description)


def _skipped(scenario: Scenario, file: Path, setting: Setting, reason: str) -> Played:
    result = ScenarioResult(
        name=scenario.name,
        file=str(file),
        verdict=Verdict.SKIPPED,
        reason=reason,
        engine=setting.engine.name,
        nodes=scenario.nodes,
        seconds=0.0,
    )
    return Played(result, interrupted=False, stack={})


def _prepare(course: _Course, scenario: Scenario, file: Path, setting: Setting) -> None:
    folder = create_scenario_folder(setting.folder, setting.place or scenario.name)
    course.timeline = Timeline(folder / "timeline.jsonl")
    course.plan = _plan(scenario, file, folder, setting)


def _plan(scenario: Scenario, file: Path, folder: Path, setting: Setting) -> StackPlan:
    plan = StackPlan(
        run=setting.owner.run,
        scenario=folder.name,
        hosts=scenario.hosts,
        folder=folder.resolve(),
        hardware=scenario.hardware,
        source=setting.source,
        credentials=find_credentials() if scenario.credentials or setting.credentials else (),
        provision=provision(scenario, file),
        sides=sides(scenario),
    )
    for each in plan.credentials:
        setting.progress(f"nodes see ~/{each.name}, read-only")
    plan.run_folder.mkdir()
    text = to_yaml(scenario)
    (folder / "scenario.yaml").write_text(text)
    plan.scenario_file.write_text(text)
    workspace.place(scenario, file, plan)
    if scenario.sweep.resume:
        resume(scenario, file, plan, setting.progress)
    if scenario.services.api:
        answers = folder / "api" / ANSWERS
        answers.parent.mkdir(exist_ok=True)
        answers.write_text(scenario.services.model_dump_json(indent=2) + "\n")
    return plan


def _bring_up(course: _Course, setting: Setting) -> None:
    assert course.plan is not None
    assert course.timeline is not None
    plan, timeline = course.plan, course.timeline

    def on_event(event: Event) -> None:
        setting.watch(event)
        _show(course, event, setting.progress)

    def progress(text: str) -> None:
        timeline.step(text)
        setting.progress(text)

    course.stack = setting.engine.lease(plan, setting.owner, progress)
    course.stack.up(progress)
    with uninterrupted():
        course.link = course.stack.connect()
    course.nodes = Nodes(
        course.link, plan.hosts, timeline, on_event, course.stack.fallen, course.stack.ready
    )
    course.nodes.await_ready(_READY)
    course.up = time.perf_counter() - course.began
    progress(f"ready: {', '.join(plan.hosts)} after {course.up:.1f} s")


def _job(course: _Course, scenario: Scenario, setting: Setting) -> Job:
    assert course.plan is not None
    assert course.stack is not None
    assert course.nodes is not None
    base = course.stack.working_folder()
    return Job(
        python=course.stack.python,
        run=scenario.sweep.name,
        words=setting.words or sweep_words(scenario),
        cwd=base,
        env=course.stack.service_environment(course.nodes.api),
        num_gpus=course.plan.num_gpus,
        folders={
            host: workspace.working_folder(scenario, course.plan, base, host)
            for host in scenario.hosts
        },
        variables=scenario.workload.env,
        script=scenario.workload.run,
    )


def _examiner(course: _Course, scenario: Scenario, setting: Setting) -> Examiner:
    assert course.plan is not None
    assert course.stack is not None
    assert course.timeline is not None
    return Examiner(
        scenario,
        course.timeline,
        run_folder=course.plan.run_folder,
        python=course.stack.python,
        execute=_execute(course),
        tell=lambda sentence: _tell_cause(course, setting.progress, sentence),
    )


def _tell_cause(course: _Course, progress: Progress, sentence: str) -> None:
    assert course.timeline is not None
    course.timeline.step(f"cause: {sentence}")
    progress(f"cause: {sentence}")


def _examine(course: _Course) -> None:
    """See what hangs, while it does."""
    assert course.ending is not None
    assert course.examiner is not None
    assert course.stack is not None
    lost = course.ending.lost
    gone = {lost: course.stack.fallen().get(lost, "is lost")} if lost else {}
    course.examiner.sweep_broke(gone)


def _execute(course: _Course) -> Execute:
    """Give what runs commands on nodes beside the sweep."""
    assert course.nodes is not None
    assert course.job is not None
    return partial(course.nodes.execute, course.job)


def _observe(course: _Course, scenario: Scenario) -> tuple[Judgement, ...]:
    assert course.stack is not None
    observer = steady.Observer(
        hosts=scenario.hosts,
        python=course.stack.python,
        local=course.stack.engine == "process",
        execute=_execute(course),
    )
    return tuple(observer.look(item) for item in scenario.steady_state)


def _is_steady(course: _Course, scenario: Scenario, setting: Setting) -> bool:
    """Look at the steady state; where it does not hold, nothing is started."""
    assert course.timeline is not None
    if not scenario.steady_state:
        return True
    setting.progress("looking at the steady state")
    course.before = _observe(course, scenario)
    course.unsteady = steady.fault_of(scenario, course.before)
    course.timeline.step(course.unsteady[1] or "steady state holds")
    return course.unsteady[0] is Verdict.PASSED


def _look_again(course: _Course, scenario: Scenario) -> None:
    """See what only nodes can show, once the sweep is over and while they are still there."""
    assert course.ending is not None
    assert course.plan is not None
    assert course.stack is not None
    if course.ending.end not in (End.FINISHED, End.NODE_FAILED, End.NODE_LOST):
        return
    if scenario.steady_state:
        course.after = _observe(course, scenario)
    prove(scenario, course.stack.python, _execute(course), course.plan.folder)


def _start(course: _Course, scenario: Scenario, setting: Setting) -> None:
    assert course.nodes is not None
    assert course.job is not None
    job = course.job
    if scenario.workload.setup:
        setting.progress("running setup on every node")
        course.nodes.set_up(job, scenario.workload.setup, scenario.deadline)
    assert course.link is not None
    assert course.plan is not None
    assert course.stack is not None
    assert course.timeline is not None
    told, tell = course.timeline, setting.progress
    course.strikes.prepare(
        scenario, course.plan, course.stack, course.link, course.nodes, job, told, tell
    )
    course.nodes.start(job, course.strikes.late_nodes)
    course.started = time.perf_counter()
    course.strikes.began()


def sweep_words(scenario: Scenario) -> tuple[str, ...]:
    """Build the command that starts on every node."""
    return ("sweep", f"run={scenario.sweep.name}", f"+hardware={scenario.hardware}")


def _wait(course: _Course, scenario: Scenario) -> None:
    assert course.nodes is not None
    assert course.timeline is not None
    assert course.started is not None
    wanted = (item.said.how for item in scenario.expect if isinstance(item.said, Ends))
    course.wanted_end = next(wanted, "")
    course.ending = course.nodes.follow(Limits(scenario.deadline, scenario.longest_silence))
    if course.ending.end is End.FINISHED:
        course.swept = time.perf_counter() - course.started
    course.timeline.step(f"sweep: {course.ending.end.value} {course.ending.reason}".rstrip())
    if course.ending.end not in (End.FINISHED, End.STACK_LOST):
        _examine(course)


def _collect(course: _Course, setting: Setting) -> None:
    """Bring all evidence to where it is kept. Each step is tried, whatever became of the others."""
    steps: list[Callable[[], object]] = []
    if course.nodes:
        steps += [course.strikes.heal, course.nodes.stop, course.strikes.conclude]
    steps.append(setting.turn.end)
    if course.stack and course.plan and course.plan.sides:
        # Agents end with the connection, and a node's network with its agent.
        steps.append(course.stack.end_sides)
    if course.link:
        steps.append(course.link.close)
    if course.stack:
        steps.append(course.stack.collect)
    if course.plan:
        steps.append(partial(_move_evidence, course.plan))
    if course.plan and course.examiner:
        steps.append(partial(course.examiner.keep, course.plan.folder))
    if course.timeline:
        steps.append(course.timeline.finish)
    for step in steps:
        course.attempt(step)


def _evaluate(
    course: _Course, scenario: Scenario, setting: Setting
) -> tuple[tuple[TrialResult, ...], tuple[CheckResult, ...]]:
    """Judge what was left; of a sweep that we broke off ourselves, only its trials are told."""
    why_not = course.ending.reason if course.ending else ""
    states = steady.results(scenario, course.before, course.after, why_not)
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
        course.ending.end.key if course.ending else "",
    )
    checks = evaluate(evidence) if course.ending else ()
    return trials.results(evidence), (*course.strikes.checks, *checks, *states)


def _move_evidence(plan: StackPlan) -> None:
    """Move trials and W&B runs out of the nodes' shared folder; what users add stays in there."""
    for name in ("trials", "wandb"):
        source = plan.run_folder / name
        if source.is_dir():
            shutil.move(source, plan.folder / name)


def _return(course: _Course, setting: Setting) -> None:
    if course.stack is None:
        return
    began = time.perf_counter()
    course.attempt(partial(setting.engine.give_back, course.stack))
    course.down = time.perf_counter() - began


def _judge(course: _Course, checks: tuple[CheckResult, ...]) -> tuple[Verdict, str]:
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
    bad = [check.name for check in checks if check.verdict not in (Verdict.PASSED, Verdict.SKIPPED)]
    if not bad:
        return verdict, ""
    return verdict, "; ".join([f"did not hold: {', '.join(bad)}", *course.failures])


def _show(course: _Course, event: Event, progress: Progress) -> None:
    """Tell whoever watches what just happened."""
    if event.name == "observation.recorded":
        if course.first_trial is None and course.started is not None:
            course.first_trial = time.perf_counter() - course.started
        trial = f"trial {event.get('trial')} ({event.get('run')})"
        if event.get("failed"):
            first = course.first_exits.get(f"trial-{event.get('trial')}")
            who = f", rank {first.get('rank')} on {first.get('node')} first" if first else ""
            course.failures.append(f"{trial} failed{who}: {event.get('reason')}")
            progress(course.failures[-1])
            if course.examiner:
                course.examiner.trial_failed(int(event.get("trial")))
        else:
            progress(f"{trial}: score {event.get('score'):g}")
    elif event.name == "rank.exited" and event.get("status") != 0:
        course.first_exits.setdefault(str(event.get("group")), event)
    elif event.name == "handoff.sent":
        progress(f"trial {event.get('trial')} ({event.get('run')}): handed off to all nodes")
