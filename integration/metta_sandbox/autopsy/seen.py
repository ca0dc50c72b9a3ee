"""What was seen of nodes at one moment: their processes, stacks, sockets and means."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Frame(_Seen):
    """One call on a thread's stack."""

    function: str
    file: str
    line: int
    source: str = ""

    @property
    def place(self) -> str:
        """Where it is, short enough for a sentence."""
        return f"{self.file.rpartition('/')[2]}:{self.line}"


class Thread(_Seen):
    """A Python thread; ``frames`` begin with the innermost call.

    ``native`` are the same with calls of C and C++ between them, in words, if they were wanted.
    """

    name: str = ""
    id: int | None = None
    active: bool = False
    owns_gil: bool = False
    frames: tuple[Frame, ...] = ()
    native: tuple[str, ...] = ()


class Socket(_Seen):
    """A TCP socket. ``unsent`` counts bytes that the other side has not acknowledged."""

    local: str
    remote: str
    state: str
    unsent: int = 0


class Collective(_Seen):
    """A collective that a rank has entered: the how manieth of its process group, and from where.

    ``sizes`` are those of the tensors that went in; ``stack`` is an index of ``Recorded.stacks``.
    """

    group: str
    number: int
    name: str
    sizes: tuple[tuple[int, ...], ...] = ()
    stack: int = 0


class Recorded(_Seen):
    """The last collectives that a rank has entered, the oldest first; see ``node.agent.flight``."""

    entries: tuple[Collective, ...] = ()
    stacks: tuple[tuple[Frame, ...], ...] = ()


class Process(_Seen):
    """A process of a node.

    ``state`` is the kernel's letter (``T``: stopped), ``cpu_since`` the seconds of processor time
    it used while it was looked at, ``rss`` its memory in bytes.
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

    @property
    def stopped(self) -> bool:
        """Whether a signal has stopped it."""
        return self.state in {"T", "t"}

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
        for thread in self.threads:
            if thread.id == self.pid or thread.name == "MainThread":
                return thread
        return self.threads[0] if self.threads else None


class NodeLook(_Seen):
    """What a node showed; ``problem`` says why it showed nothing.

    ``oom_kills`` counts what the kernel has killed there for want of memory; None if nobody counts.
    ``disk_free`` and ``memory_free`` are bytes.
    """

    processes: tuple[Process, ...] = ()
    stacks_problem: str = ""
    disk_free: int | None = None
    memory_free: int | None = None
    oom_kills: int | None = None
    problem: str = ""

    @property
    def programs(self) -> tuple[Process, ...]:
        """What runs in Python and is no helper of ours; who started others comes before them."""
        return tuple(
            one
            for one in self.processes
            if one.threads and not any(".pyz" in word for word in one.command)
        )

    def process(self, pid: int | None) -> Process | None:
        """Find one by its pid."""
        return next((one for one in self.processes if one.pid == pid), None)
