"""What a rank waits for inside of itself: its threads, its children, its locks and queues.

A main thread often only waits for another thread or process, which is at what counts. This goes
along those waits to where they end: at a call that waits for other ranks, at something that waits
for nobody, or at nobody at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from metta_sandbox.autopsy.calls import CurrentCall, Doing, of_thread, own_frame, reading
from metta_sandbox.autopsy.seen import Frame, Process, RecordedLife, Thread
from metta_sandbox.autopsy.words import LIBRARY, Exc, bare, of_raised

_QUEUE = re.compile(r"/queue\.py$")
_CHILD = re.compile(r"/(subprocess|multiprocessing/\w+|torch/multiprocessing/\w+)\.py$")
_LOADER = re.compile(r"torch/utils/data/dataloader\.py$")
_JOIN = frozenset({"join", "_wait_for_tstate_lock", "result", "_python_exit"})
#: Where a child of `multiprocessing` waits at its end until its queues are empty.
_ENDS_ITS_QUEUE = "_finalize_join"
#: Threads and children that serve a library, and for which no program waits.
_SERVES = re.compile(r"wandb|metta|QueueFeederThread|pin_memory|tqdm|asyncio|IO loop|pydevd")
_SERVICE = re.compile(r"resource_tracker|wandb-core|wandb-symon|forkserver|torch/bin/|gpu_stats")
#: How many of the threads that were lost are told.
_NAMED = 3
#: How deep waits are followed, in case what was seen at two moments makes a circle.
_DEEP = 8


@dataclass(frozen=True)
class Family:
    """A rank's process with what it has started.

    Args:
        process: The rank's.
        children: Live processes by their parent's pid, of the whole node.
        lives: What processes told of themselves, by pid.

    """

    process: Process
    children: Mapping[int, Sequence[Process]] = field(default_factory=dict)
    lives: Mapping[int, RecordedLife] = field(default_factory=dict)

    def of(self, child: Process) -> Family:
        """Give the same for one of its children."""
        return Family(child, self.children, self.lives)


def resolve(family: Family, deep: int = 0) -> CurrentCall:
    """Tell what a rank is at, along whatever its main thread waits for."""
    process = family.process
    call, main = reading(process), process.main
    if not process.in_python and not process.stopped:
        return _of_command(family, call, deep)
    if main is not None and call.doing is Doing.IDLE:
        # One that polls for its thread to end sleeps in between.
        return _in_a_collective(family, main, call) or call
    if call.doing is not Doing.LOCK or main is None or deep > _DEEP:
        return call
    return _along(family, main, call, deep)


def _in_a_collective(family: Family, main: Thread, call: CurrentCall) -> CurrentCall | None:
    for thread in family.process.threads:
        if thread is not main and _is_own(thread):
            found = of_thread(family.process, thread)
            if found.waits_for_others:
                return replace(found, thread=thread.name, at=call.place)
    return None


def _of_command(family: Family, call: CurrentCall, deep: int) -> CurrentCall:
    """Tell what a program is at that is not in Python: it waits for its child, or works."""
    process = family.process
    children = _children(family)
    if children and deep <= _DEEP:
        return resolve(family.of(children[-1]), deep + 1)
    if process.state not in {"S", "D", "R"}:
        return call
    name = " ".join(process.command)[:80] or process.name
    busy = process.state == "R" or process.cpu_since > _WORKS
    return CurrentCall(Doing.BUSY if busy else Doing.IDLE, name, f"`{name}`", why=_stdin(process))


#: Seconds of processor time within a look that show a process at work.
_WORKS = 0.05


def _stdin(process: Process) -> str:
    """Tell whether a process waits for input."""
    for thread in process.threads:
        if thread.waits and thread.waits.kind == "read" and thread.waits.fd == 0:
            return "for input that nobody writes"
    return ""


def _children(family: Family) -> list[Process]:
    return [
        one
        for one in family.children.get(family.process.pid, ())
        if not _SERVICE.search(" ".join(one.command)) and one.state != "Z"
    ]


def _along(family: Family, main: Thread, call: CurrentCall, deep: int) -> CurrentCall:
    if any(bare(one.function) == _ENDS_ITS_QUEUE for one in main.frames):
        # What lies further out on a fork's stack is its parent's.
        why = "for somebody to take what it has put into a queue"
        return replace(call, place="", function="", source="", why=why)
    if (inner := _into_child(family, main, call, deep)) is not None:
        return inner
    called = _called(main)
    if not any(_CHILD.search(one.file) for one in called):
        joins = any(bare(one.function) in _JOIN for one in called)
        return _other_thread(family, main, call, deep, joins=joins)
    nobody = "for what its parent sends" if deep else "for nobody: it has no child"
    return _ended_child(family, call) or replace(call, why=nobody)


def _called(thread: Thread) -> Sequence[Frame]:
    """Give what a thread's own code has called, the innermost first."""
    own = own_frame(thread)
    return thread.frames[: thread.frames.index(own)] if own in thread.frames else thread.frames


def _into_child(family: Family, thread: Thread, call: CurrentCall, deep: int) -> CurrentCall | None:
    """Go on to the child, or the data loader's worker, for which a thread waits."""
    called = _called(thread)
    if any(_LOADER.search(one.file) for one in called):
        return _worker(family, call, deep)
    if any(_CHILD.search(one.file) for one in called) and (children := _children(family)):
        return _child(family, call, children, deep)
    return None


def _other_thread(
    family: Family, main: Thread, call: CurrentCall, deep: int, *, joins: bool
) -> CurrentCall:
    """Go on to the thread for which the main one waits."""
    ended = lost_threads(family.lives.get(family.process.pid))
    others = [one for one in family.process.threads if one is not main and _is_own(one)]
    # A thread that has ended holds no lock that it took by `with`.
    may_live = joins or call.source.startswith("with ")
    calls = [(one, _reading(family, one, deep)) for one in others]
    elsewhere = any(each.doing is not Doing.LOCK and not each.polls for _, each in calls)
    if ended and not (elsewhere or (may_live and others)):
        return _of_ended(call, ended)
    # One that waits for other ranks keeps the main thread from nothing by itself.
    free = [(one, each) for one, each in calls if each.doing is not Doing.LOCK]
    held = [(one, each) for one, each in calls if each.doing is Doing.LOCK]
    trains = [one for one, _ in free if _has_entered_collectives(family, one)]
    if joins and held and free and not trains and all(each.polls for _, each in free):
        return _beside(held[0], free, call)
    if free:
        thread, found = min(
            free,
            key=lambda one: (
                _needs_others(one[1]) is not joins,
                one[1].polls,
                one[0] not in trains,
            ),
        )
        if ended and not may_live:
            found = replace(found, why=f"{found.why} and {told_of_lost(ended)}".strip())
        return _by_way_of(thread, found, call)
    if not calls:
        return replace(call, why="for nobody: it has no other thread")
    if not joins:
        return _deadlock(call, [(main, call), *calls])
    (thread, found), *rest = calls
    if ended:
        found = _of_ended(found, ended)
    elif rest:
        found = _deadlock(found, calls)
    elif not found.at:
        found = replace(found, why="for nobody")
    return _by_way_of(thread, found, call)


def _has_entered_collectives(family: Family, thread: Thread) -> bool:
    """Tell whether collectives were entered from where a thread's own code begins."""
    process = family.process
    life = family.lives.get(process.pid)
    recorded = process.recorded or (life.recorded if life is not None else None)
    stacks = recorded.stacks if recorded is not None else ()
    return _beginning(thread.frames) in {_beginning(stack) for stack in stacks} - {None}


def _beginning(frames: Sequence[Frame]) -> tuple[str, str] | None:
    own = [one for one in frames if not LIBRARY.search(one.file)]
    return (own[-1].file, bare(own[-1].function)) if own else None


def _by_way_of(thread: Thread, found: CurrentCall, call: CurrentCall) -> CurrentCall:
    """Give what a main thread waits for by way of another thread, which may wait for a child.

    Args:
        thread: The other thread.
        found: What that one, or its child, is at.
        call: What the main thread is at.

    """
    between = f", and its thread `{thread.name}` at {found.at}" if found.at else ""
    at = f"{call.place}{between}"
    return replace(found, thread=found.thread or thread.name, at=at)


def _beside(
    held: tuple[Thread, CurrentCall],
    others: Sequence[tuple[Thread, CurrentCall]],
    call: CurrentCall,
) -> CurrentCall:
    """Tell of the thread that is joined and waits itself, beside some that only look now and then.

    Args:
        held: That thread, and what it is at.
        others: Those beside it.
        call: What the main thread is at.

    """
    thread, found = held
    told = ", ".join(f"thread `{one.name}`, which polls at {each.place}" for one, each in others)
    return replace(_by_way_of(thread, found, call), why=f"{found.why} beside {told}".strip())


def _reading(family: Family, thread: Thread, deep: int) -> CurrentCall:
    """Tell what a thread is at, or the child that it waits for."""
    call = of_thread(family.process, thread)
    if call.doing is Doing.LOCK and deep <= _DEEP:
        return _into_child(family, thread, call, deep) or call
    return call


def _needs_others(call: CurrentCall) -> bool:
    return call.waits_for_others or call.doing is Doing.STORE


def _deadlock(call: CurrentCall, waiting: Sequence[tuple[Thread, CurrentCall]]) -> CurrentCall:
    told = ", ".join(
        f"thread `{thread.name}` at {each.place}{_quoted(each.source)}"
        for thread, each in waiting[1:]
    )
    return replace(call, why=f"while {told} waits for a lock, too", deadlock=True)


def _quoted(source: str) -> str:
    return f" ({source})" if source else ""


def _is_own(thread: Thread) -> bool:
    """Tell whether a thread runs code of the program's own."""
    if _SERVES.search(thread.name):
        return False
    return any(not LIBRARY.search(one.file) for one in thread.frames)


@dataclass(frozen=True)
class LostThread:
    """A thread that an exception has ended.

    Attributes:
        name: The thread's.
        error: The exception.

    """

    name: str
    error: Exc

    def __str__(self) -> str:
        return f"its thread `{self.name}` has ended with {self.error}{self.error.in_site}"


def lost_threads(life: RecordedLife | None) -> tuple[LostThread, ...]:
    """List the threads of a process that exceptions have ended, the last one first."""
    ends = reversed(life.threads if life else ())
    told = ((one.name, of_raised(one.exception)) for one in ends)
    return tuple(LostThread(name, error) for name, error in told if error is not None)


def told_of_lost(lost: Sequence[LostThread]) -> str:
    """Say which threads were lost; a few stand for all."""
    return ", and ".join(map(str, lost[:_NAMED]))


def _of_ended(call: CurrentCall, lost: Sequence[LostThread]) -> CurrentCall:
    return replace(call, why=f"for nobody: {told_of_lost(lost)}", ended=lost[0].error)


def _child(
    family: Family, call: CurrentCall, children: Sequence[Process], deep: int
) -> CurrentCall:
    found = [(child, resolve(family.of(child), deep + 1)) for child in children]
    child, inner = min(found, key=lambda one: one[1].doing in {Doing.LOCK, Doing.UNKNOWN})
    return replace(inner, thread=inner.thread or _title(child), at=call.place)


def _title(child: Process) -> str:
    words = " ".join(child.command[:4])[:60]
    return f"child {child.pid}, {words}" if words else f"child {child.pid}"


def _worker(family: Family, call: CurrentCall, deep: int) -> CurrentCall:
    """Go on to the data loader's worker that is at code of the program's own."""
    for child in _children(family):
        thread = child.main
        if child.stopped or (thread is not None and _is_own_worker(thread.frames)):
            inner = resolve(family.of(child), deep + 1)
            return replace(inner, thread=f"data loader worker, pid {child.pid}", at=call.place)
    return _ended_child(family, call) or call


def _is_own_worker(frames: Iterable[Frame]) -> bool:
    """Tell whether a worker is inside the data set, and not waiting for its next order."""
    for one in frames:
        if bare(one.function) == "_worker_loop":
            return False
        if not LIBRARY.search(one.file):
            return True
    return False


def _ended_child(family: Family, call: CurrentCall) -> CurrentCall | None:
    """Find a child that is gone although its parent still waits."""
    for life in family.lives.values():
        if life.parent == family.process.pid and life.exception is not None:
            error = of_raised(life.exception)
            how = f"{error}{error.in_site}" if error else "an exception"
            why = f"for its child {life.pid}, which has ended with {how}"
            return replace(call, why=why, ended=error)
    return None
