"""Which processes are ranks, whoever started them.

What a user starts is often a launcher: torchrun, ``accelerate launch``, ``mp.spawn``, a shell
script, several processes a node. The ranks are below it. They are found by what they have done
(made a process group), by what their launcher told them (their environment), and else by where
they stand among the processes.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from metta_sandbox.autopsy.calls import CurrentCall, own_frame
from metta_sandbox.autopsy.seen import NodeLook, Process, Recorded, RecordedLife, Thread
from metta_sandbox.autopsy.waits import Family, lost_threads, resolve, told_of_lost
from metta_sandbox.autopsy.words import ABOUT_OTHERS, LIBRARY, Exc, bare, of_raised

_LAUNCHER = re.compile(
    r"(^|/)(torchrun|accelerate|deepspeed|horovodrun|mpirun|mpiexec|srun|composer)$"
    r"|torch\.distributed\.(run|launch)|accelerate\.commands\.\w+"
)
_SPAWNED = re.compile(r"multiprocessing\.(spawn|forkserver)|--multiprocessing-fork")
_SERVICE = re.compile(
    r"resource_tracker|wandb-core|wandb-symon|wandb/|torch/_inductor|tensorboard|\.pyz\b"
    r"|metta_sandbox\.node\b"
)
_ELASTIC = "TORCHELASTIC_RUN_ID"


@dataclass(frozen=True)
class Member:
    """One rank of the trial, as far as it is known.

    Attributes:
        rank: Its number.
        node: Its host.
        process: What was seen of it; None if it was not there.
        call: What it is at; None if it was not there.
        status: Its exit status, negative for a signal; None while it lives, or if nobody knows.
        ended: When it did, in seconds since the run began.
        error: What ended it, by its own record or its log.
        step: The last training step that it told.
        out_of_memory: Whether the kernel has killed it, as memory ran out.
        started: Whether its launcher has told of it.
        recorded: The collectives that it has entered, if it could still tell.
        life: What it told of itself.
        generation: How often its launcher had restarted it.
        gone: Whether it was there and is not any more, however it ended.
        children_ended: What its children told of themselves, of those that an exception ended.

    """

    rank: int
    node: str
    process: Process | None = None
    call: CurrentCall | None = None
    status: int | None = None
    ended: float | None = None
    error: Exc | None = None
    step: int | None = None
    out_of_memory: bool = False
    started: bool = False
    recorded: Recorded | None = None
    life: RecordedLife | None = None
    generation: int = 0
    gone: bool = False
    children_ended: tuple[RecordedLife, ...] = ()

    def __str__(self) -> str:
        return f"rank {self.rank} ({self.node})"

    @property
    def alive(self) -> bool:
        """Whether the rank had not ended."""
        return self.status is None and not self.gone

    @property
    def place(self) -> str:
        """The call that it is at, or that its error came out of, and where; empty if not known."""
        if self.call is not None:
            return str(self.call)
        error = self.error
        told = (f"`{error.call}`" if error.call else "", error.place) if error else ()
        return ", ".join(part for part in told if part)

    @property
    def variables(self) -> Mapping[str, str]:
        """What it goes by when it meets the others: its number, how many there are, and where."""
        seen = self.process.environ if self.process else {}
        life = {**self.life.environ, **self.life.changed} if self.life else {}
        return {**seen, **life}


@dataclass(frozen=True)
class Tree:
    """The processes of a node, live and ended, by pid.

    Args:
        look: What the node showed.
        lives: What its processes told of themselves.
        known: Pids of what our launchers have started; a fork of ours keeps our command line.

    """

    look: NodeLook
    lives: Mapping[int, RecordedLife]
    known: frozenset[int] = frozenset()

    @cached_property
    def processes(self) -> Mapping[int, Process]:
        """Those that live, without those that had told of their end, and were still there."""
        return {one.pid: one for one in self.look.processes if not self._is_over(one)}

    def _is_over(self, process: Process) -> bool:
        life = self.lives.get(process.pid)
        if life is None or life.ended is None or any(one.frames for one in process.threads):
            return False
        return life.ended <= self.look.time

    @cached_property
    def children(self) -> Mapping[int, list[Process]]:
        """The live processes of the node, by their parent's pid."""
        found: dict[int, list[Process]] = {}
        for one in self.look.processes:
            found.setdefault(one.parent, []).append(one)
        return found

    @cached_property
    def reaped(self) -> Mapping[int, tuple[int, float]]:
        """Status and time of the end of those that somebody has waited for."""
        return {
            one.pid: (one.status, one.time) for life in self.lives.values() for one in life.reaped
        }

    def is_gone(self, pid: int) -> bool:
        """Tell whether a process that has told of itself is not there any more."""
        life = self.lives.get(pid)
        began_later = bool(life and self.look.time and life.started >= self.look.time)
        seen = bool(self.look.processes) and pid not in self.processes and not began_later
        return life is not None and (life.ended is not None or seen)

    def parent(self, pid: int) -> int:
        """Give the parent of a process, as it was when it started."""
        life, process = self.lives.get(pid), self.processes.get(pid)
        return life.parent if life else process.parent if process else 0

    def ancestors(self, pid: int) -> Iterable[int]:
        """List the pids above a process, as far as they are known."""
        seen = {pid}
        while (pid := self.parent(pid)) and pid not in seen:
            seen.add(pid)
            yield pid

    def below(self, root: int) -> list[int]:
        """List a process and all below it."""
        known = {*self.processes, *self.lives, root}
        return sorted(pid for pid in known if pid == root or root in self.ancestors(pid))

    def words(self, pid: int) -> str:
        """Give a process's command line."""
        life, process = self.lives.get(pid), self.processes.get(pid)
        if process and process.command:
            return " ".join(process.command)
        return " ".join(life.argv) if life else ""

    def environ(self, pid: int) -> Mapping[str, str]:
        """Give what its launcher told a process."""
        life, process = self.lives.get(pid), self.processes.get(pid)
        return life.environ if life else process.environ if process else {}

    def is_launcher(self, pid: int) -> bool:
        """Tell whether a process only starts ranks."""
        words = self.words(pid).split()
        heads = words[:4]
        return any(_LAUNCHER.search(word) for word in heads)

    def is_python(self, pid: int) -> bool:
        """Tell whether a process is an interpreter that runs a program."""
        if pid not in self.known and _SERVICE.search(self.words(pid)):
            return False
        process = self.processes.get(pid)
        return pid in self.lives or bool(process and process.in_python)

    def number(self, pid: int) -> int | None:
        """Tell which rank a process is, by what it or its launcher says."""
        life = self.lives.get(pid)
        if life:
            if life.groups and life.groups[0].rank is not None:
                return life.groups[0].rank
            if life.changed.get("RANK", "").isdigit():
                return int(life.changed["RANK"])
        environ = self.environ(pid)
        own = _ELASTIC in environ or self._differs(pid)
        number = environ.get("RANK", "")
        return int(number) if own and number.isdigit() else None

    def _differs(self, pid: int) -> bool:
        """Tell whether a process was given another number than its parent."""
        above = self.environ(self.parent(pid))
        own = self.environ(pid)
        return bool(above) and any(
            own.get(name) not in (None, above.get(name)) for name in ("RANK", "LOCAL_RANK")
        )

    def is_rank(self, pid: int) -> bool:
        """Tell whether a process shows that it is a rank."""
        if self.is_launcher(pid) or not self.is_python(pid):
            return False
        return self.has_met(pid) or _ELASTIC in self.environ(pid) or self._differs(pid)

    def has_met(self, pid: int) -> bool:
        """Tell whether a process has asked for a process group, or entered a collective."""
        life, process = self.lives.get(pid), self.processes.get(pid)
        if life and (life.groups or life.recorded):
            return True
        return bool(process and process.recorded and process.recorded.entries)

    def ranks(self, pids: Sequence[int]) -> list[int]:
        """Find the ranks among processes: those that show it, and those started like them."""
        met = {pid for pid in pids if self.has_met(pid)}
        above = {each for pid in met for each in self.ancestors(pid)}
        shown = [pid for pid in pids if self.is_rank(pid) and (pid in met or pid not in above)]
        tops = [pid for pid in shown if not any(one in shown for one in self.ancestors(pid))]
        if tops:
            parents = {self.parent(pid) for pid in tops}
            tops += [
                pid
                for pid in pids
                if pid not in shown
                and self.parent(pid) in parents
                and _SPAWNED.search(self.words(pid))
                and self.is_python(pid)
            ]
            return sorted(tops)
        programs = [
            pid
            for pid in pids
            if self.is_python(pid) and not self.is_launcher(pid) and not self._tells_of_ranks(pid)
        ]
        return [
            pid for pid in programs if not any(above in programs for above in self.ancestors(pid))
        ]

    def _tells_of_ranks(self, pid: int) -> bool:
        """Tell whether a process ended of no more than how one ended that it had spawned."""
        life = self.lives.get(pid)
        chain = life.exception.chain if life and life.exception else ()
        about_others = bool(chain) and bool(ABOUT_OTHERS.search(chain[-1].kind))
        return about_others and any(one.parent == pid for one in self.lives.values())


def member_of(tree: Tree, base: Member, pid: int, *, alone: bool) -> Member:
    """Say what is known of a rank's process.

    Args:
        tree: Its node.
        base: What the launcher of ours says, of the rank, or of the command that has started it.
        pid: The process.
        alone: Whether it is the only rank below that command.

    """
    life, process = tree.lives.get(pid), tree.processes.get(pid)
    status, ended = _end(tree, base, pid, alone=alone)
    number = tree.number(pid)
    call = resolve(Family(process, tree.children, tree.lives)) if process else _last_call(life)
    error = None
    if process is None:
        error = _error(life, base, status, alone=alone, told_to_end=call is not None)
    recorded = process.recorded if process and process.recorded else None
    return replace(
        base,
        rank=base.rank if number is None else number,
        process=process,
        call=call,
        status=status,
        ended=ended,
        error=error,
        life=life,
        recorded=recorded or (life.recorded if life else None) or base.recorded,
        generation=_generation(tree.environ(pid)),
        gone=process is None and (status is not None or tree.is_gone(pid)),
        children_ended=_children_ended(tree, pid),
    )


#: What a process runs of ours as it tells of an exception.
_RAISES = re.compile(r"metta_sandbox/node/agent/recorder/(life|exceptions)\.py$")


def _last_call(life: RecordedLife | None) -> CurrentCall | None:
    """Tell what a process was at when it was told to end, if nothing had ended it before."""
    if life is None or life.exception is not None:
        return None
    if all(LIBRARY.search(one.file) for one in life.terminated):
        return None
    stacks = (life.terminated, *life.beside)
    if any(_RAISES.search(one.file) for frames in stacks for one in frames):
        # It was telling of an exception just then, and nobody knows of which.
        return None
    threads = tuple(
        Thread(name="" if number else "MainThread", id=life.pid + number, frames=frames)
        for number, frames in enumerate(stacks)
    )
    process = Process(pid=life.pid, command=("python",), threads=threads, recorded=life.recorded)
    call = resolve(Family(process, {}, {life.pid: life}))
    return call if call.thread or call.ended or call.waits_for_others else _with_others(call, life)


def _with_others(call: CurrentCall, life: RecordedLife) -> CurrentCall:
    """Add where other threads were: without the line's text, a lock looks like any call."""
    own = (own_frame(Thread(frames=each)) for each in life.beside)
    told = [
        f"{one.place} in `{bare(one.function)}`"
        for one in own
        if one is not None and not LIBRARY.search(one.file)
    ]
    beside = f"beside a thread at {', and one at '.join(told)}" if told else ""
    lost = lost_threads(life)
    ended = f"and {told_of_lost(lost)}" if lost else ""
    why = ", ".join(each for each in (beside, ended) if each)
    return replace(call, why=why) if why else call


def _children_ended(tree: Tree, pid: int) -> tuple[RecordedLife, ...]:
    return tuple(
        life
        for child, life in sorted(tree.lives.items())
        if life.exception is not None and pid in tree.ancestors(child)
    )


def _generation(environ: Mapping[str, str]) -> int:
    count = environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(count) if count.isdigit() else 0


def _end(tree: Tree, base: Member, pid: int, *, alone: bool) -> tuple[int | None, float | None]:
    """Tell how and when a process ended, by whoever knows best."""
    if pid in tree.processes:
        return None, None
    life = tree.lives.get(pid)
    if pid in tree.reaped:
        return tree.reaped[pid]
    own = None if life is None else _own_end(life)
    # A pipe or a shell's last command may end well where a rank has not.
    hidden = base.status == 0 and own is not None
    if life is None or (alone and base.status is not None and not hidden):
        status = base.status
        if status is not None and status > SHELL_SIGNALS:
            # A shell ends with the status of its last command.
            status = SHELL_SIGNALS - status
        return status, base.ended
    return own, life.ended


def _own_end(life: RecordedLife) -> int | None:
    """Tell with which status a process ended, by its own record; None if that holds no end."""
    if life.exception is not None:
        return 1
    if life.exits is not None:
        return life.exits
    if life.fatal:
        return _fatal(life)
    if life.terminated:
        return -signal.SIGTERM
    return None if life.ended is None else 0


#: A shell ends with this plus the signal that ended its command.
SHELL_SIGNALS = 128
_SIGNALS = {"segmentation": -11, "aborted": -6, "floating": -8, "bus": -7, "illegal": -4}


def _fatal(life: RecordedLife) -> int:
    said = life.fatal_signal.lower()
    return next((number for word, number in _SIGNALS.items() if word in said), -6)


def _error(
    life: RecordedLife | None, base: Member, status: int | None, *, alone: bool, told_to_end: bool
) -> Exc | None:
    if life is not None and life.exception is not None:
        return of_raised(life.exception)
    killed = told_to_end or (life is not None and bool(life.fatal))
    if life is not None and life.threads and status not in (None, 0) and not killed:
        # Its main thread has ended as this one had; of no signal was that the reason.
        lost = lost_threads(life)
        return lost[0].error if lost else None
    # No exception ends a process by a signal: what others print to its log is theirs.
    shared = life is not None and not alone and not life.fatal
    said = base.error
    if status in (None, 0) or (shared and (status or 0) < 0 and status != -signal.SIGABRT):
        return None
    if life is not None and life.fatal and said is not None and said.aborted:
        return Exc("", said.aborted)
    if life is not None and life.ended is not None and said is not None and said.kind:
        # It has told of its end, and no exception was it: what its log holds was survived, or is
        # of another rank with the same log.
        return Exc("", said.said) if said.said and alone else None
    return said
