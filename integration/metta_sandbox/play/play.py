"""One scenario being played, from its plan to its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from metta_sandbox.errors import SandboxError
from metta_sandbox.interrupt import uninterrupted
from metta_sandbox.play import steady
from metta_sandbox.play.ending import collect, hide_secrets, judge_evidence, verdict_on
from metta_sandbox.play.examiner import Examiner
from metta_sandbox.play.executing import execute
from metta_sandbox.play.following import follow
from metta_sandbox.play.job import Job
from metta_sandbox.play.narrator import Narrator
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.outcome import End, Ending, Limits
from metta_sandbox.play.packages import PackageDesk
from metta_sandbox.play.planning import job_of, plan_of
from metta_sandbox.play.proving import prove
from metta_sandbox.play.reached import Connected, Leased, Reached
from metta_sandbox.play.readiness import await_ready, set_up
from metta_sandbox.play.setting import Played, Setting
from metta_sandbox.play.steady import Execute
from metta_sandbox.play.task_log import FILE_NAME, TaskLog
from metta_sandbox.progress import Progress
from metta_sandbox.report.artifacts import create_scenario_folder
from metta_sandbox.report.results import ScenarioResult, Timings, hidden
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.scenario.expect.judgement import Judgement
from metta_sandbox.scenario.loading import Loaded
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.needs import lacking
from metta_sandbox.skypilot.played import SkyPilot
from metta_sandbox.skypilot.variables import ADDITIONS
from metta_sandbox.stack.engines.base import StackPlan
from metta_sandbox.timeline.recording import Timeline
from metta_sandbox.verdict import Verdict

Observe = Callable[[], tuple[Judgement, ...]]

#: Seconds within which a node shows itself where the others have shown all that they have.
_SOON = 2.0


def play(loaded: Loaded, setting: Setting) -> Played:
    """Play one scenario.

    Plan, lease a stack, prove it ready and steady, start the sweep, wait, look again, collect,
    check, return the stack.
    Whatever happens, what was started is collected and ended.

    Args:
        loaded: What to play.
        setting: What all scenarios of the run share.

    """
    name = loaded.scenario.name
    if reason := lacking(loaded.scenario, setting.engine):
        return _unplayed(loaded, setting, Verdict.SKIPPED, reason)
    try:
        folder = create_scenario_folder(setting.folder, setting.place or name)
        reached = Reached(Timeline(folder / "timeline.jsonl"), Narrator(setting.progress))
    except (OSError, SandboxError) as error:
        return _unplayed(loaded, setting, Verdict.ERROR, str(error))
    try:
        _play(loaded, setting, reached)
    except Exception as error:  # noqa: BLE001 - whatever it was, the evidence must be kept
        reached.note(error)
    except KeyboardInterrupt:
        reached.interrupt()
        setting.progress("interrupted: keeping the evidence, ending what was started")
    try:
        with uninterrupted():
            result = _result(loaded, setting, reached)
    except KeyboardInterrupt:
        reached.interrupted = True
    description = reached.leased.stack.describe() if reached.leased else {}
    return Played(result, reached.interrupted, description)


def _unplayed(loaded: Loaded, setting: Setting, verdict: Verdict, reason: str) -> Played:
    result = ScenarioResult(
        name=loaded.scenario.name,
        file=str(loaded.file),
        verdict=verdict,
        reason=reason,
        engine=setting.engine.name,
        nodes=loaded.scenario.nodes,
        seconds=0.0,
    )
    return Played(result, interrupted=False, stack={})


def _play(loaded: Loaded, setting: Setting, reached: Reached) -> None:
    """Go from phase to phase; each is handed what those before it came to."""
    scenario, timeline = loaded.scenario, reached.timeline

    def tell(text: str) -> None:
        timeline.step(text)
        setting.progress(text)

    plan = plan_of(loaded, timeline.path.parent, setting)
    if lacks := setting.lacks.get(scenario.name):
        raise lacks
    up = _bring_up(plan, setting, reached, tell)
    reached.waited = setting.turn.begin()
    job = job_of(up, loaded, setting)
    run = partial(execute, up.nodes, job)
    reached.examiner = _examiner(scenario, up, job, tell)
    observe = partial(_observe, scenario, up, run, setting)
    if not _is_steady(scenario, observe, setting, reached):
        return
    started = _start(scenario, up, job, setting, reached)
    ending = _follow(scenario, up, reached.examiner, started, reached)
    # Some things only nodes can show, once the sweep is over and while they are still there.
    if ending.end in (End.FINISHED, End.NODE_FAILED, End.NODE_LOST):
        if scenario.steady_state:
            reached.after = observe()
        prove(scenario, up.stack.python, run, plan.folder)


def _bring_up(plan: StackPlan, setting: Setting, reached: Reached, tell: Progress) -> Connected:
    """Lease a stack, connect to it, and wait until all of it is ready."""
    stack = setting.engine.lease(plan, setting.owner, tell)
    reached.leased = Leased(plan, stack)
    stack.up(tell)
    if stack.answers is not None:
        required = {each.name for each in plan.provision.requirements}
        reached.desk = PackageDesk(
            setting.packages,
            stack.answers,
            tell,
            gpu=plan.hardware == "gpu",
            allowed=frozenset(required) if setting.options.untrusted else None,
        )
        reached.desk.attend()
    with uninterrupted():
        nodes = Nodes(
            stack.connect(), plan.hosts, reached.timeline, stack.fallen, stack.ready, tell
        )
        reached.connected = up = Connected(plan, stack, nodes)
    nodes.subscribe(setting.watch)
    if reached.desk:
        nodes.subscribe(reached.desk.take)
    nodes.subscribe(reached.narrator.take)
    await_ready(nodes)
    reached.took["up"] = time.perf_counter() - reached.began
    tell(f"ready: {', '.join(plan.hosts)} after {reached.took['up']:.1f} s")
    return up


def _examiner(scenario: Scenario, up: Connected, job: Job, tell: Progress) -> Examiner:
    """Have what goes wrong looked into from now on."""
    examiner = Examiner(
        scenario,
        up.nodes.timeline,
        run_folder=up.stack.run_folder,
        python=up.stack.python,
        # A node that stands still takes nothing on, and the others are done within a second.
        execute=partial(execute, up.nodes, job, soon=_SOON),
        tell=lambda sentence: tell(f"cause: {sentence}"),
    )
    up.nodes.subscribe(examiner.take)
    return examiner


def _observe(
    scenario: Scenario, up: Connected, run: Execute, setting: Setting
) -> tuple[Judgement, ...]:
    observer = steady.Observer(
        hosts=scenario.hosts,
        python=up.stack.python,
        local=Ability.NAMES not in setting.engine.has,
        execute=run,
    )
    return tuple(observer.look(item) for item in scenario.steady_state)


def _is_steady(scenario: Scenario, observe: Observe, setting: Setting, reached: Reached) -> bool:
    """Look at the steady state; where it does not hold, nothing is started."""
    if not scenario.steady_state:
        return True
    setting.progress("looking at the steady state")
    reached.before = observe()
    verdict, reason = steady.fault_of(scenario, reached.before)
    reached.timeline.step(reason or "steady state holds")
    return verdict is Verdict.PASSED


def _start(
    scenario: Scenario, up: Connected, job: Job, setting: Setting, reached: Reached
) -> float:
    """Run setup, arm faults, and start the sweep; returns when, by ``time.perf_counter``."""
    if scenario.workload.skypilot:
        _tell_of_task(scenario.workload.skypilot, up, setting)
    if scenario.workload.setup:
        setting.progress("running setup on every node")
        set_up(up.nodes, job, scenario.workload.setup, scenario.deadline)
    reached.strikes.prepare(scenario, up.plan, up.stack, up.nodes, job, setting.progress)
    up.nodes.start(job, reached.strikes.late_nodes)
    reached.started = True
    reached.narrator.began()
    reached.strikes.began()
    return time.perf_counter()


def _tell_of_task(task: SkyPilot, up: Connected, setting: Setting) -> None:
    """Say what differs from SkyPilot, and have what the task prints written as there."""
    added = "nothing" if task.bare else ", ".join(one.name for one in ADDITIONS)
    for note in (*task.notes, f"what SkyPilot does not set, and the sandbox does: {added}"):
        up.nodes.timeline.step(f"task: {note}")
    for note in task.notes:
        setting.progress(f"task: {note}")
    echo = setting.follow or (lambda _line: None)
    up.nodes.task_log = TaskLog(task, up.plan.hosts, up.plan.folder / FILE_NAME, echo)


def _follow(
    scenario: Scenario, up: Connected, examiner: Examiner, started: float, reached: Reached
) -> Ending:
    """Wait until the sweep is over; look into it while it still hangs, if it does."""
    rejoin = scenario.longest_silence if scenario.on_node_failure == "rejoin" else None
    limits = Limits(scenario.deadline, scenario.longest_silence, rejoin)
    ending = reached.ending = follow(up.nodes, limits, examiner.gets_on)
    if ending.end is End.FINISHED:
        reached.took["sweep"] = time.perf_counter() - started
    reached.timeline.step(f"sweep: {ending.end.value} {ending.reason}".rstrip())
    if ending.end not in (End.FINISHED, End.STACK_LOST):
        lost = ending.lost
        gone = {lost: ending.how or up.stack.fallen().get(lost, "is lost")} if lost else {}
        examiner.sweep_broke(gone, cut_short=ending.end is End.OVERDUE)
    return ending


def _result(loaded: Loaded, setting: Setting, reached: Reached) -> ScenarioResult:
    """Collect what there is, judge it, and give the stack back."""
    collected = collect(reached, loaded.scenario, setting)
    judged = judge_evidence(reached, collected, loaded, setting)
    _give_back(setting, reached)
    left_out = hide_secrets(reached, collected.left_out)
    verdict, reason = verdict_on(loaded.scenario, reached, collected, judged.checks)
    took = reached.took
    whole = ScenarioResult(
        name=loaded.scenario.name,
        file=str(loaded.file),
        verdict=verdict,
        reason=reason,
        engine=setting.engine.name,
        nodes=loaded.scenario.nodes,
        seconds=reached.seconds,
        trials=judged.trials,
        faults=collected.faults,
        checks=judged.checks,
        left_out=left_out,
        causes=collected.causes,
        timings=Timings(
            up=took.get("up"), first_trial=reached.narrator.first_trial, down=took.get("down")
        ),
    )
    return hidden(whole)


def _give_back(setting: Setting, reached: Reached) -> None:
    if reached.leased is None:
        return
    began = time.perf_counter()
    over = reached.ending is not None and reached.ending.end is End.FINISHED
    clean = over and not reached.problems and not reached.interrupted
    reached.attempt(partial(setting.engine.give_back, reached.leased.stack, clean=clean))
    reached.took["down"] = time.perf_counter() - began
