"""The engines that stacks run on, a folder each, and which of them this machine has.

Nothing outside this package knows one by its name: it asks what an engine has, or has it do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from metta_sandbox.errors import MachineError, StackError
from metta_sandbox.progress import Progress
from metta_sandbox.stack.engines.base import Engine, NoAnswerError
from metta_sandbox.stack.marks import remove_run


# What one needs is not imported for the others.
def _compose() -> Engine:
    from metta_sandbox.stack.engines.compose.detection import find_compose  # noqa: PLC0415

    return find_compose()


def _process() -> Engine:
    from metta_sandbox.stack.engines.process.engine import ProcessEngine  # noqa: PLC0415

    return ProcessEngine()


#: By name, what finds an engine, or raises ``MachineError``. ``auto`` is the first, or the second.
ENGINES: dict[str, Callable[[], Engine]] = {"compose": _compose, "process": _process}


def find(name: str) -> Engine:
    """Return the engine of this name.

    Raises:
        MachineError: It is not here, or does not answer.

    """
    if name not in ENGINES:
        raise MachineError(f"there is no engine {name}", f"there are {', '.join(ENGINES)}")
    return ENGINES[name]()


def find_all() -> list[Engine]:
    """Return all engines that are here and answer."""
    found = []
    for name in ENGINES:
        with suppress(MachineError):
            found.append(find(name))
    return found


def choose(wanted: str, *, ci: bool, notice: Progress) -> Engine:
    """Choose the engine to play on.

    Args:
        wanted: ``auto``, or an engine's name.
        ci: Whether this is a CI job, where ``auto`` never falls back.
        notice: Gets one line when ``auto`` falls back, as nobody answers for the first.

    Raises:
        MachineError: It is not here, or does not answer.

    """
    if wanted != "auto":
        return find(wanted)
    first, second, *_ = ENGINES
    try:
        return find(first)
    except NoAnswerError as error:
        if ci:
            raise
        engine = find(second)
        notice(f"{error.message}: playing on {engine.nodes} instead (--engine {second})")
        return engine


def remove_everywhere(engines: Sequence[Engine], run: str, played_on: str = "") -> None:
    """Remove all that is left of a run, whatever it was played on.

    Args:
        engines: Those at hand.
        run: The run's id.
        played_on: What the run was played on, if that is known.

    Raises:
        StackError: What it left can't be removed, or what it was played on does not answer.

    """
    # First of all those who might make more of it.
    remove_run(run)
    at_hand = {engine.name: engine for engine in engines}
    for name in [played_on] if played_on else ENGINES:
        try:
            engine = at_hand.get(name) or find(name)
        except MachineError as error:
            if played_on:
                raise StackError(
                    f"what the run {run} left on {name} can't be removed: {error.message}",
                    "start the engine, then: metta-sandbox clean",
                ) from None
            continue
        engine.remove(run)
