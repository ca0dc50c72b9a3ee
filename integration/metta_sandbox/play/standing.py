"""Bringing the standing stack up, and down."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from filelock import FileLock, Timeout

from metta_sandbox.errors import InputError, MachineError, SandboxError, StackError
from metta_sandbox.homes import own_folder
from metta_sandbox.image.requirements import read_requirements
from metta_sandbox.interrupt import interruptible, uninterrupted
from metta_sandbox.masking import hide
from metta_sandbox.play.executing import execute
from metta_sandbox.play.job import Job
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.options import Options
from metta_sandbox.play.readiness import await_ready
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.abilities import Ability
from metta_sandbox.scenario.names import node_host
from metta_sandbox.stack import standing_record
from metta_sandbox.stack.credentials import find_credentials
from metta_sandbox.stack.engines import choose, remove_everywhere
from metta_sandbox.stack.engines.base import Engine, Stack
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.provision import Provision
from metta_sandbox.stack.standing import StandingEngine
from metta_sandbox.stack.standing_record import StandingRecord
from metta_sandbox.stack.status import stack_status
from metta_sandbox.stack.tokens import tokens_in
from metta_sandbox.timeline.recording import Timeline

#: Seconds that another `up` gets: it may have an image to build.
_PATIENCE = 1800.0
#: Seconds that nodes get to import what launches need.
_WARM = 120.0
#: How many nodes do so before there is a launch: what each then keeps takes 0.6 GB.
_MOST_WARM = 8


def up(
    options: Options,
    progress: Progress,
    warn: Progress,
    *,
    nodes: int = 2,
    hardware: str = "macbook",
) -> bool:
    """Bring a standing stack up, unless one is.

    Args:
        options: On what engine, and what its nodes see of this machine.
        progress: Gets a line for each step.
        warn: Gets what the user should know.
        nodes: How many nodes.
        hardware: The profile.

    Returns:
        Whether this call did it.

    Raises:
        SandboxError: It does not come up; nothing of it is left.
        KeyboardInterrupt: Ctrl-C; nothing of it is left.

    """
    with interruptible(), _alone(progress):
        there = standing_record.find_record()
        if there:
            if _is_well(there):
                return False
            progress("the standing stack is not well: starting it anew")
        engine = choose(options.engine, ci=options.ci, notice=warn)
        try:
            with uninterrupted():
                _clear(engine)
            _require_room(engine)
            _bring_up(engine, options, nodes, hardware, progress)
        except BaseException:
            with uninterrupted():
                _clear_after_failure(engine, warn)
            raise
    return True


def _is_well(record: StandingRecord) -> bool:
    try:
        return stack_status(record).well
    except MachineError:
        return False


def stop(progress: Progress) -> bool:
    """Stop and remove the standing stack, in whatever state it is.

    Returns:
        Whether there was one, or a part of one.

    """
    with interruptible(), _alone(progress):
        there = standing_record.find_record()
        found = standing_record.standing_folder().exists()
        engine = choose(there.engine if there else "auto", ci=False, notice=_nothing)
        if there:
            progress(f"stopping {', '.join(there.hosts)}")
        with uninterrupted():
            _clear(engine)
    return found


def standing_engine(sweep: str, words: tuple[str, ...]) -> StandingEngine | None:
    """Return what leases the standing stack, if one is up and well.

    Args:
        sweep: The sweep that asks for it.
        words: The command that it runs on every node.

    Raises:
        StackError: One is up, but not well.

    """
    there = standing_record.find_record()
    if there is None:
        return None
    status = stack_status(there)
    if not status.well:
        raise StackError(
            f"the standing stack is not well: {'; '.join(status.ills)}",
            "metta-sandbox up   (starts it anew), or metta-sandbox stop",
        )
    if there.credentials:
        hide(tokens_in(find_credentials()))
    engine = choose(there.engine, ci=False, notice=_nothing)
    stack = engine.lease(there.plan(), _owner(), _nothing)
    return StandingEngine(there, engine, stack, sweep, words)


def _bring_up(
    engine: Engine, options: Options, nodes: int, hardware: str, progress: Progress
) -> None:
    hosts = tuple(node_host(rank) for rank in range(nodes))
    credentials = find_credentials() if options.credentials else ()
    for each in credentials:
        progress(f"nodes see ~/{each.name}, read-only")
    required = read_requirements(options.requirements) if options.requirements else ()
    plan = standing_record.standing_plan(hosts, hardware, options.source, credentials)
    plan = replace(plan, provision=Provision(required))
    plan.run_folder.mkdir(parents=True)
    stack = engine.lease(plan, _owner(), progress)
    stack.up(progress)
    ready = _await(stack, hosts, progress)
    standing_record.remember(
        StandingRecord(
            engine=engine.name,
            hosts=hosts,
            hardware=hardware,
            source=str(options.source) if options.source else None,
            python=stack.python,
            credentials=options.credentials,
            ready=ready,
        )
    )


def _await(stack: Stack, hosts: tuple[str, ...], progress: Progress) -> dict[str, object]:
    timeline = Timeline(standing_record.standing_folder() / "up.jsonl")
    with uninterrupted():
        link = stack.connect()
    try:
        nodes = Nodes(link, hosts, timeline, stack.fallen)
        await_ready(nodes)
        ready = dict(nodes.api)
        _warm_up(nodes, stack, ready, progress)
        return ready
    finally:
        link.close()
        timeline.finish()


def _warm_up(nodes: Nodes, stack: Stack, ready: Mapping[str, object], progress: Progress) -> None:
    """Have nodes import what launches need, and keep it; say how that went."""
    began = time.monotonic()
    env = {**stack.service_environment(ready), **stack.index_environment(ready)}
    job = Job(stack.python, "warm-up", ("sweep", "run=warm-up"), stack.working_folder(), env)
    command = [stack.python, "-m", "metta_sandbox.node.warm_up"]
    commands = dict.fromkeys(nodes.hosts[:_MOST_WARM], command)
    ends = execute(nodes, job, "warm-up", commands, _WARM, template="kept")
    cold = [host for host, end in ends.items() if end.status != 0]
    if cold:
        progress(f"not warm: {', '.join(cold)}; launches there import what they need")
    else:
        progress(f"warm after {time.monotonic() - began:.1f} s: {', '.join(commands)}")


def _owner() -> Owner:
    return Owner(standing_record.standing_run(), kind="standing")


def _clear(engine: Engine) -> None:
    """Remove all of a standing stack, in whatever state it is."""
    remove_everywhere([engine], standing_record.standing_run())
    standing_record.forget()


def _clear_after_failure(engine: Engine, warn: Progress) -> None:
    """Remove what was begun; if that fails, too, the first failure is still the one to raise."""
    try:
        _clear(engine)
    except SandboxError as error:
        warn(str(error))


def _require_room(engine: Engine) -> None:
    """Find out whether this engine can have a standing stack of ours.

    Raises:
        InputError: It can't have any.
        StackError: Somebody else's is on it, which would be taken for ours.

    """
    if Ability.STANDING not in engine.has:
        raise InputError(f"the engine {engine.name} has no {Ability.STANDING}")
    if names := engine.strangers():
        raise StackError(
            f"another user's standing stack is on this engine: {', '.join(names)}",
            "its owner stops it with metta-sandbox stop; or: docker rm -f $(docker ps -aq "
            f"--filter label=com.docker.compose.project={standing_record.PROJECT})",
        )


@contextmanager
def _alone(progress: Progress) -> Iterator[None]:
    """Keep two from starting or stopping the standing stack at once."""
    path = standing_record.standing_folder().with_suffix(".lock")
    own_folder(path.parent)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("another `up` or `stop` is at work: waiting for it")
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise SandboxError(
                f"another `up` or `stop` was still at work after {_PATIENCE:g} s",
                f"end it; it holds {path}",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _nothing(_text: str) -> None:
    """Say nothing."""
