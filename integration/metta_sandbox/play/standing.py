"""Bringing the standing stack up, and down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from metta_sandbox.errors import InputError, MachineError, SandboxError, StackError
from metta_sandbox.homes import own_folder
from metta_sandbox.image.requirements import read_requirements
from metta_sandbox.interrupt import interruptible, uninterrupted
from metta_sandbox.masking import hide
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.names import node_host
from metta_sandbox.scenario.needs import Ability
from metta_sandbox.stack import standing
from metta_sandbox.stack.credentials import find_credentials
from metta_sandbox.stack.engines import choose, remove_everywhere
from metta_sandbox.stack.engines.base import Engine, Stack
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.provision import Provision
from metta_sandbox.stack.standing import Record, StandingEngine
from metta_sandbox.stack.status import stack_status
from metta_sandbox.stack.tokens import tokens_in
from metta_sandbox.timeline.recording import Timeline

_READY = 60.0
#: Seconds that another `up` gets: it may have an image to build.
_PATIENCE = 1800.0


@dataclass(frozen=True)
class Wanted:
    """What a standing stack shall be.

    Args:
        nodes: How many nodes.
        engine: ``auto``, ``compose`` or ``process``.
        hardware: The profile.
        source: A working copy that every node sees, or None.
        credentials: Whether nodes see the caller's credentials.
        requirements: A requirements file of what trainers import, or None.
        ci: Whether this is a CI job.

    """

    nodes: int = 2
    engine: str = "auto"
    hardware: str = "macbook"
    source: Path | None = None
    credentials: bool = False
    requirements: Path | None = None
    ci: bool = False


def up(wanted: Wanted, progress: Progress, warn: Progress) -> bool:
    """Bring a standing stack up, unless one is.

    Returns:
        Whether this call did it.

    Raises:
        SandboxError: It does not come up; nothing of it is left.
        KeyboardInterrupt: Ctrl-C; nothing of it is left.

    """
    with interruptible(), _alone(progress):
        there = standing.find_record()
        if there:
            if _is_well(there):
                return False
            progress("the standing stack is not well: starting it anew")
        engine = choose(wanted.engine, ci=wanted.ci, notice=warn)
        try:
            with uninterrupted():
                _clear(engine)
            _require_room(engine)
            _bring_up(engine, wanted, progress)
        except BaseException:
            with uninterrupted():
                _clear_after_failure(engine, warn)
            raise
    return True


def _is_well(record: Record) -> bool:
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
        there = standing.find_record()
        found = standing.standing_folder().exists()
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
    there = standing.find_record()
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


def _bring_up(engine: Engine, wanted: Wanted, progress: Progress) -> None:
    hosts = tuple(node_host(rank) for rank in range(wanted.nodes))
    required = read_requirements(wanted.requirements) if wanted.requirements else ()
    credentials = find_credentials() if wanted.credentials else ()
    for each in credentials:
        progress(f"nodes see ~/{each.name}, read-only")
    plan = standing.standing_plan(hosts, wanted.hardware, wanted.source, credentials)
    plan = replace(plan, provision=Provision(required))
    plan.run_folder.mkdir(parents=True)
    stack = engine.lease(plan, _owner(), progress)
    stack.up(progress)
    ready = _await(stack, hosts)
    standing.remember(
        Record(
            engine=engine.name,
            hosts=hosts,
            hardware=wanted.hardware,
            source=str(wanted.source) if wanted.source else None,
            python=stack.python,
            credentials=wanted.credentials,
            ready=ready,
        )
    )


def _await(stack: Stack, hosts: tuple[str, ...]) -> dict[str, object]:
    timeline = Timeline(standing.standing_folder() / "up.jsonl")
    with uninterrupted():
        link = stack.connect()
    try:
        nodes = Nodes(link, hosts, timeline, lambda _event: None, stack.fallen)
        nodes.await_ready(_READY)
        return dict(nodes.api)
    finally:
        link.close()
        timeline.finish()


def _owner() -> Owner:
    return Owner(standing.standing_run(), kind="standing")


def _clear(engine: Engine) -> None:
    """Remove all of a standing stack, in whatever state it is."""
    remove_everywhere([engine], standing.standing_run())
    standing.forget()


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
            f"--filter label=com.docker.compose.project={standing.PROJECT})",
        )


@contextmanager
def _alone(progress: Progress) -> Iterator[None]:
    """Keep two from starting or stopping the standing stack at once."""
    path = standing.standing_folder().with_suffix(".lock")
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
