"""What was seen of nodes at one moment: their processes, stacks, sockets and means."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

#: Characters of a text of others that are kept: to search it may take the square of that.
LONGEST = 10_000


def _cut(text: str) -> str:
    return text[:LONGEST]


_Text = Annotated[str, AfterValidator(_cut)]


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Frame(_Seen):
    """One call on a thread's stack.

    ``args`` are the ranks with which a call of ``torch.distributed`` communicates, such as ``src``.
    """

    function: str
    file: str
    line: int
    source: _Text = ""
    args: dict[str, str] = {}

    @property
    def place(self) -> str:
        """The file's name and the line, short enough for a sentence."""
        return f"{self.file.rpartition('/')[2]}:{self.line}"

    @property
    def site(self) -> str:
        """The function and where it is, in words."""
        return f"`{self.function}`, {self.place}"


class Wait(_Seen):
    """What a thread waits for in the kernel.

    ``kind`` is ``read``, ``write``, ``poll``, ``wait``, ``connect``, ``accept``, ``futex``,
    ``sleep`` or ``other``. ``target`` is what lies behind the file descriptor, as the kernel calls
    it (``pipe:[123]``, ``socket:[55]``, ``/a/path``), or the pid of the child that is waited for,
    or ``thread:TID`` of the thread that C joins. ``call`` is the system call's name; ``targets``
    are all descriptors that a ``poll`` waits for.
    """

    kind: str = "other"
    fd: int | None = None
    target: str = ""
    call: str = ""
    targets: tuple[str, ...] = ()


class Thread(_Seen):
    """A thread; ``frames`` are its calls in Python, if it has any, the innermost first.

    ``native`` are the same with calls of C and C++ between them, in words, if they were wanted.
    ``state`` is the kernel's letter and ``wchan`` its own function that the thread is in. ``moved``
    tells whether its frames or its use of the processor changed between two looks; None if they
    were not compared. ``cpu_since`` are the seconds of processor time that it used in between.
    """

    name: str = ""
    id: int | None = None
    active: bool = False
    owns_gil: bool = False
    frames: tuple[Frame, ...] = ()
    native: tuple[str, ...] = ()
    state: str = ""
    wchan: str = ""
    moved: bool | None = None
    cpu_since: float = 0.0
    waits: Wait | None = None


class Fd(_Seen):
    """An open file descriptor: a pipe, a socket, or a file that is open for writing."""

    number: int
    target: str = ""
    writes: bool = False


class Socket(_Seen):
    """A TCP socket. ``unsent`` counts bytes that the other side has not acknowledged.

    ``inode`` is what file descriptors call it (``socket:[55]``).
    """

    local: str
    remote: str
    state: str
    unsent: int = 0
    inode: str = ""


class RaisedOne(_Seen):
    """One exception of a chain; ``frames`` begin with the innermost call, where it was raised."""

    kind: str = ""
    message: _Text = ""
    frames: tuple[Frame, ...] = ()
    notes: tuple[str, ...] = ()


class Collective(_Seen):
    """A collective that a rank has entered: the how manieth of its process group, and from where.

    ``sizes`` and ``dtypes`` are those of the tensors that went in, ``out_sizes`` of those that come
    out; ``stack`` is an index of ``Recorded.stacks``. One rank's send to or receipt from another is
    ``p2p``, numbered apart; ``peer`` is the other's number in the group, where the name tells it.
    ``root`` is where it goes to or comes from, as the group numbers it, and ``op`` its reduction
    (``SUM``); both are known where Python asked for it. ``state`` is the recorder's own word, and
    ``over`` tells whether it has ended, well or not; ``group_ranks`` are the group's members by
    their numbers in the world. ``handling`` is the root of the exception in whose ``except`` or
    ``finally`` it was entered.
    """

    group: str
    number: int
    name: str
    sizes: tuple[tuple[int, ...], ...] = ()
    stack: int = 0
    dtypes: tuple[str, ...] = ()
    out_sizes: tuple[tuple[int, ...], ...] = ()
    p2p: bool = False
    peer: int | None = None
    root: int | None = None
    op: str = ""
    state: str = ""
    over: bool = False
    group_ranks: tuple[int, ...] = ()
    handling: RaisedOne | None = None


class Recorded(_Seen):
    """The last collectives that a rank has entered, the oldest first; see ``node.agent.recorder``.

    ``partial`` tells that only those are there that Python asked for (``recorder.last_calls``),
    and none that C++ did, as in ``backward``.
    """

    partial: bool = False
    entries: tuple[Collective, ...] = ()
    stacks: tuple[tuple[Frame, ...], ...] = ()


class Process(_Seen):
    """A process of a node.

    ``name`` is the kernel's, ``state`` its letter (``T``: stopped), ``cpu_since`` the seconds of
    processor time it used while it was looked at, ``rss`` its memory in bytes, ``age`` the seconds
    since it started. ``environ`` holds only what launchers tell ranks. ``torch`` says whether
    torch's library is in it. ``locks`` are files whose lock it waits for.
    """

    pid: int
    parent: int = 0
    state: str = ""
    command: tuple[str, ...] = ()
    cpu: float = 0.0
    cpu_since: float = 0.0
    rss: int = 0
    wchan: str = ""
    threads: tuple[Thread, ...] = ()
    threads_problem: str = ""
    native_problem: str = ""
    sockets: tuple[Socket, ...] = ()
    recorded: Recorded | None = None
    name: str = ""
    environ: dict[str, str] = {}
    age: float = 0.0
    fds: tuple[Fd, ...] = ()
    torch: bool = False
    locks: tuple[str, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether a signal has stopped the process."""
        return self.state in {"T", "t"}

    @property
    def in_python(self) -> bool:
        """Whether the process is an interpreter, or has one in it."""
        name = self.command[0].rpartition("/")[2] if self.command else self.name
        return name.startswith(("python", "pypy")) or any(one.frames for one in self.threads)

    @property
    def program(self) -> str:
        """Its script or module, without its arguments."""
        words = iter(self.command[1:])
        for word in words:
            if word == "-m":
                return next(words, "")
            if not word.startswith("-"):
                return word.rpartition("/")[2]
        return ""

    @property
    def main(self) -> Thread | None:
        """Its main thread, if its stack could be read."""
        read = [thread for thread in self.threads if thread.frames]
        for thread in read:
            if thread.id == self.pid or thread.name == "MainThread":
                return thread
        return read[0] if read else None


class Raised(_Seen):
    """An exception with those that it came from, the root first."""

    chain: tuple[RaisedOne, ...] = ()


class ThreadEnd(_Seen):
    """A thread that an exception has ended, and when by the node's clock."""

    name: str = ""
    time: float = 0.0
    exception: Raised = Raised()


class Reaped(_Seen):
    """A child that a process has waited for; a negative ``status`` is the signal that ended it."""

    pid: int
    status: int = 0
    time: float = 0.0


class RecordedGroup(_Seen):
    """A process group of ``torch.distributed`` as a process asked for it.

    ``rank`` and ``size`` are what was asked for at ``time``, or what came of it by ``done_time``,
    which is None while it is still being made. ``addr`` and ``port`` are those of the rendezvous.
    """

    name: str = ""
    size: int | None = None
    rank: int | None = None
    backend: str = ""
    addr: str = ""
    port: str = ""
    time: float = 0.0
    done_time: float | None = None


class RecordedLife(_Seen):
    """What a Python process told of itself; see ``node.agent.recorder``. Times: its node's clock.

    ``environ`` is what launchers tell ranks, and which trial this is, as at the start; ``changed``
    what was different when the first process group was asked for. ``exception`` has ended the main
    thread. ``exits`` is the status that ``sys.exit`` asked for, at ``exit_at``. ``threads`` are
    those that an exception ended. ``fatal`` is the stack at a fatal signal, innermost call first,
    and ``fatal_signal`` what the interpreter called that; ``terminated`` is the stack where SIGTERM
    ended it, ``beside`` are those of its other threads then. ``message`` is what ``sys.exit`` was
    given in place of a status. ``reaped`` are
    children waited for, ``recorded`` the collectives that were entered by its end.
    """

    pid: int
    parent: int = 0
    argv: tuple[str, ...] = ()
    environ: dict[str, str] = {}
    changed: dict[str, str] = {}
    started: float = 0.0
    ended: float | None = None
    exception: Raised | None = None
    exits: int | None = None
    exit_at: Frame | None = None
    threads: tuple[ThreadEnd, ...] = ()
    fatal: tuple[Frame, ...] = ()
    fatal_signal: str = ""
    terminated: tuple[Frame, ...] = ()
    beside: tuple[tuple[Frame, ...], ...] = ()
    message: _Text = ""
    reaped: tuple[Reaped, ...] = ()
    groups: tuple[RecordedGroup, ...] = ()
    recorded: Recorded | None = None

    @property
    def run(self) -> str:
        """The run that the process belongs to, if its rollout said so."""
        return self.environ.get("METTA_RUN_ID", "")

    @property
    def trial(self) -> int | None:
        """The trial that the process belongs to, if its rollout said so."""
        number = self.environ.get("METTA_TRIAL", "")
        return int(number) if number.isdigit() else None


class NodeLook(_Seen):
    """What a node showed; ``problem`` says why it showed nothing.

    ``oom_kills`` counts what the kernel has killed there for want of memory; None if nobody counts.
    ``disk_free`` and ``memory_free`` are bytes, ``load`` is the kernel's average of one minute, and
    ``time`` the node's clock when it was looked at. ``lives`` are what its processes told of
    themselves.
    """

    processes: tuple[Process, ...] = ()
    stacks_problem: str = ""
    disk_free: int | None = None
    memory_free: int | None = None
    oom_kills: int | None = None
    problem: str = ""
    load: float | None = None
    time: float = 0.0
    lives: tuple[RecordedLife, ...] = ()

    @property
    def programs(self) -> tuple[Process, ...]:
        """What runs in Python and is no helper of ours; who started others comes before them."""
        return tuple(
            one
            for one in self.processes
            if any(thread.frames for thread in one.threads)
            and not any(".pyz" in word for word in one.command)
        )

    def process(self, pid: int | None) -> Process | None:
        """Find a process by its pid."""
        return next((one for one in self.processes if one.pid == pid), None)
