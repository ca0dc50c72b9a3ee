"""Bringing the standing stack up, and down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from metta_sandbox.errors import SandboxError, StackError
from metta_sandbox.play.nodes import Nodes
from metta_sandbox.play.timeline import Timeline
from metta_sandbox.scenario.names import node_host
from metta_sandbox.stack import standing
from metta_sandbox.stack.base import Progress, Stack
from metta_sandbox.stack.credentials import find_credentials
from metta_sandbox.stack.engines import Engine, choose
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.standing import Record, StandingEngine
from metta_sandbox.stack.status import stack_status

_READY = 60.0


@dataclass(frozen=True)
class Wanted:
    """What a standing stack shall be.

    Args:
        nodes: How many nodes.
        engine: ``auto``, ``compose`` or ``process``.
        hardware: The profile.
        source: A working copy that every node sees, or None.
        credentials: Whether nodes see the caller's credentials.
        ci: Whether this is a CI job.

    """

    nodes: int = 2
    engine: str = "auto"
    hardware: str = "macbook"
    source: Path | None = None
    credentials: bool = False
    ci: bool = False


def up(wanted: Wanted, progress: Progress, warn: Progress) -> bool:
    """Bring a standing stack up, unless one is.

    Returns:
        Whether this call did it.

    Raises:
        SandboxError: It does not come up; nothing of it is left.

    """
    with _alone():
        there = standing.find_record()
        if there:
            if stack_status(there).well:
                return False
            progress("the standing stack is not well: starting it anew")
        engine = choose(wanted.engine, ci=wanted.ci, notice=warn)
        _clear(engine)
        with ExitStack() as undo:
            undo.callback(_clear, engine)
            _bring_up(engine, wanted, progress)
            undo.pop_all()
    return True


def stop(progress: Progress) -> bool:
    """Stop and remove the standing stack.

    Returns:
        Whether there was one.

    """
    with _alone():
        there = standing.find_record()
        engine = choose(there.engine if there else "auto", ci=False, notice=_nothing)
        if there:
            progress(f"stopping {', '.join(there.hosts)}")
        _clear(engine)
    return there is not None


def standing_engine() -> StandingEngine | None:
    """Return what leases the standing stack, if one is up and well.

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
    engine = choose(there.engine, ci=False, notice=_nothing)
    stack = engine.lease(there.plan(), _owner(), _nothing)
    return StandingEngine(there, stack, engine.versions)


def _bring_up(engine: Engine, wanted: Wanted, progress: Progress) -> None:
    hosts = tuple(node_host(rank) for rank in range(wanted.nodes))
    credentials = find_credentials() if wanted.credentials else ()
    for each in credentials:
        progress(f"nodes see ~/{each.name}, read-only")
    plan = standing.standing_plan(hosts, wanted.hardware, wanted.source, credentials)
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
            ready=ready,
        )
    )


def _await(stack: Stack, hosts: tuple[str, ...]) -> dict[str, object]:
    timeline = Timeline(standing.standing_folder() / "up.jsonl")
    link = stack.connect()
    try:
        nodes = Nodes(link, hosts, timeline, lambda _event: None, stack.fallen)
        nodes.await_ready(_READY)
        return dict(nodes.api)
    finally:
        link.close()
        timeline.finish()


def _owner() -> Owner:
    return Owner(standing.RUN, kind="standing")


def _clear(engine: Engine) -> None:
    """Remove all of a standing stack, in whatever state it is."""
    engine.remove(standing.RUN)
    standing.forget()


@contextmanager
def _alone() -> Iterator[None]:
    """Keep two from starting or stopping the standing stack at once."""
    path = standing.standing_folder().with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=120)
    try:
        lock.acquire()
    except Timeout:
        raise SandboxError(
            "somebody else is starting or stopping the standing stack", "metta-sandbox status"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _nothing(_text: str) -> None:
    """Say nothing."""
