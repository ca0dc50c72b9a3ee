"""One scenario being played, from its plan to its result."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from metta_sandbox.interrupt import uninterrupted
from metta_sandbox.node.agent.events import PackageAsked
from metta_sandbox.play import steady
from metta_sandbox.play.course import Course, Played, Setting
from metta_sandbox.play.ending import collect, hide_secrets, judge_evidence, verdict_on
from metta_sandbox.play.examiner import Examiner
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.outcome import End, Limits
from metta_sandbox.play.packages import PackageDesk
from metta_sandbox.play.planning import job_of, plan_of
from metta_sandbox.play.proving import prove
from metta_sandbox.play.steady import Execute
from metta_sandbox.progress import Progress
from metta_sandbox.report.artifacts import create_scenario_folder
from metta_sandbox.report.results import ScenarioResult, Timings, hidden
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import Ability, lacking
from metta_sandbox.timeline.recording import Event, Timeline
from metta_sandbox.verdict import Verdict

#: Seconds that a stack gets from its start until every node is ready.
_READY = 60.0

#: Seconds within which a node shows itself where the others have shown all that they have.
_SOON = 2.0


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
    if reason := lacking(scenario, setting.engine):
        return _skipped(scenario, file, setting, reason)
    course = Course()
    try:
        _prepare(course, scenario, file, setting)
        if lacks := setting.lacks.get(scenario.name):
            raise lacks  # noqa: TRY301 - noted like all that goes wrong
        _bring_up(course, setting)
        course.waited = setting.turn.begin()
        course.job = job_of(course, scenario, file, setting)
        course.examiner = _examiner(course, scenario, setting)
        if _is_steady(course, scenario, setting):
            _start(course, scenario, setting)
            _wait(course, scenario)
            _look_again(course, scenario, setting)
    except Exception as error:  # noqa: BLE001 - whatever it was, the evidence must be kept
        course.note(error)
    except KeyboardInterrupt:
        course.interrupt()
        setting.progress("interrupted: keeping the evidence, ending what was started")
    try:
        with uninterrupted():
            collect(course, scenario, setting)
            over, checks = judge_evidence(course, scenario, file, setting)
            _return(course, setting)
            hide_secrets(course)
            verdict, reason = verdict_on(course, checks)
            whole = ScenarioResult(
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
                left_out=course.left_out,
                causes=course.examiner.causes if course.examiner else (),
                timings=Timings(up=course.up, first_trial=course.first_trial, down=course.down),
            )
            result = hidden(whole)
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


def _prepare(course: Course, scenario: Scenario, file: Path, setting: Setting) -> None:
    folder = create_scenario_folder(setting.folder, setting.place or scenario.name)
    course.timeline = Timeline(folder / "timeline.jsonl")
    course.plan = plan_of(scenario, file, folder, setting)


def _bring_up(course: Course, setting: Setting) -> None:
    assert course.plan is not None
    assert course.timeline is not None
    plan, timeline = course.plan, course.timeline

    def on_event(event: Event) -> None:
        setting.watch(event)
        if event.name == PackageAsked.name and course.desk is not None:
            course.desk.take(event)
        _show(course, event, setting.progress)

    def progress(text: str) -> None:
        timeline.step(text)
        setting.progress(text)

    course.stack = setting.engine.lease(plan, setting.owner, progress)
    course.stack.up(progress)
    if course.stack.answers is not None:
        required = {each.name for each in plan.provision.requirements}
        course.desk = PackageDesk(
            setting.packages,
            course.stack.answers,
            progress,
            gpu=plan.hardware == "gpu",
            allowed=frozenset(required) if setting.reviewed_only else None,
        )
        course.desk.attend()
    with uninterrupted():
        course.link = course.stack.connect()
    fallen, ready = course.stack.fallen, course.stack.ready
    course.nodes = Nodes(course.link, plan.hosts, timeline, on_event, fallen, ready, progress)
    course.nodes.await_ready(_READY)
    course.up = time.perf_counter() - course.began
    progress(f"ready: {', '.join(plan.hosts)} after {course.up:.1f} s")


def _examiner(course: Course, scenario: Scenario, setting: Setting) -> Examiner:
    assert course.plan is not None
    assert course.stack is not None
    assert course.timeline is not None
    assert course.nodes is not None
    assert course.job is not None
    return Examiner(
        scenario,
        course.timeline,
        run_folder=course.stack.run_folder,
        python=course.stack.python,
        # A node that stands still takes nothing on, and the others are done within a second.
        execute=partial(course.nodes.execute, course.job, soon=_SOON),
        tell=lambda sentence: _tell_cause(course, setting.progress, sentence),
    )


def _tell_cause(course: Course, progress: Progress, sentence: str) -> None:
    assert course.timeline is not None
    course.timeline.step(f"cause: {sentence}")
    progress(f"cause: {sentence}")


def _examine(course: Course) -> None:
    """See what hangs, while it does."""
    assert course.ending is not None
    assert course.examiner is not None
    assert course.stack is not None
    lost, how = course.ending.lost, course.ending.how
    gone = {lost: how or course.stack.fallen().get(lost, "is lost")} if lost else {}
    cut_short = course.ending.end is End.OVERDUE
    course.examiner.sweep_broke(gone, cut_short=cut_short)


def _execute(course: Course) -> Execute:
    """Give what runs commands on nodes beside the sweep."""
    assert course.nodes is not None
    assert course.job is not None
    return partial(course.nodes.execute, course.job)


def _observe(course: Course, scenario: Scenario, setting: Setting) -> tuple[Judgement, ...]:
    assert course.stack is not None
    observer = steady.Observer(
        hosts=scenario.hosts,
        python=course.stack.python,
        local=Ability.NAMES not in setting.engine.has,
        execute=_execute(course),
    )
    return tuple(observer.look(item) for item in scenario.steady_state)


def _is_steady(course: Course, scenario: Scenario, setting: Setting) -> bool:
    """Look at the steady state; where it does not hold, nothing is started."""
    assert course.timeline is not None
    if not scenario.steady_state:
        return True
    setting.progress("looking at the steady state")
    course.before = _observe(course, scenario, setting)
    course.unsteady = steady.fault_of(scenario, course.before)
    course.timeline.step(course.unsteady[1] or "steady state holds")
    return course.unsteady[0] is Verdict.PASSED


def _look_again(course: Course, scenario: Scenario, setting: Setting) -> None:
    """See what only nodes can show, once the sweep is over and while they are still there."""
    assert course.ending is not None
    assert course.plan is not None
    assert course.stack is not None
    if course.ending.end not in (End.FINISHED, End.NODE_FAILED, End.NODE_LOST):
        return
    if scenario.steady_state:
        course.after = _observe(course, scenario, setting)
    prove(scenario, course.stack.python, _execute(course), course.plan.folder)


def _start(course: Course, scenario: Scenario, setting: Setting) -> None:
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


def _wait(course: Course, scenario: Scenario) -> None:
    assert course.nodes is not None
    assert course.timeline is not None
    assert course.started is not None
    wanted = (item.said.ending for item in scenario.expect)
    course.wanted_end = next(filter(None, wanted), "")
    rejoin = scenario.longest_silence if scenario.on_node_failure == "rejoin" else None
    limits = Limits(scenario.deadline, scenario.longest_silence, rejoin)
    assert course.examiner is not None
    course.ending = course.nodes.follow(limits, course.examiner.gets_on)
    if course.ending.end is End.FINISHED:
        course.swept = time.perf_counter() - course.started
    course.timeline.step(f"sweep: {course.ending.end.value} {course.ending.reason}".rstrip())
    if course.ending.end not in (End.FINISHED, End.STACK_LOST):
        _examine(course)


def _return(course: Course, setting: Setting) -> None:
    if course.stack is None:
        return
    began = time.perf_counter()
    over = course.ending is not None and course.ending.end is End.FINISHED
    clean = over and not course.problems and not course.interrupted
    course.attempt(partial(setting.engine.give_back, course.stack, clean=clean))
    course.down = time.perf_counter() - began


def _show(course: Course, event: Event, progress: Progress) -> None:
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
