"""What a thread is doing, told from the calls on its stack."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from metta_sandbox.autopsy.seen import Frame, Process, Thread
from metta_sandbox.autopsy.words import LIBRARY, WRAPPERS, Exc, bare


class Doing(str, Enum):
    """Kinds of what a process may be at."""

    COLLECTIVE = "collective"
    RENDEZVOUS = "rendezvous"
    STORE = "store"
    API = "api"
    TRACKER = "tracker"
    LOCK = "lock"
    GIL = "gil"
    STOPPED = "stopped"
    IDLE = "idle"
    STARTING = "starting"
    BUSY = "busy"
    UNKNOWN = "unknown"


#: What a process is at that gets on, however slowly.
AT_WORK = frozenset({Doing.BUSY, Doing.STARTING})


@dataclass(frozen=True)
class CurrentCall:
    """What a process is at.

    Attributes:
        doing: The kind.
        name: The call, such as ``all_reduce``.
        place: Where its own code made that call: file and line.
        source: That line of source, if it could be read.
        function: The function that line is in.
        thread: The thread that is at it, if that is not the main one.
        why: What it waits for, in words, where that is known.
        ended: What ended the thread or child that it waits for in vain.
        peers: With which ranks it communicates: ``("src", 1)``.
        inner: The file of its innermost call.
        deadlock: Whether it waits for threads that wait for it.
        at: The line on which its main thread waits for what ``place`` tells of, if that is another.

    """

    doing: Doing
    name: str = ""
    place: str = ""
    source: str = ""
    thread: str = ""
    why: str = ""
    at: str = ""
    ended: Exc | None = None
    function: str = ""
    deadlock: bool = False
    inner: str = ""
    peers: tuple[tuple[str, int], ...] = ()

    @property
    def waits_for_others(self) -> bool:
        """Whether only other ranks can let the process go on."""
        return self.doing in {Doing.COLLECTIVE, Doing.RENDEZVOUS}

    @property
    def polls(self) -> bool:
        """Whether the process looks for something again and again, and sleeps in between."""
        return self.doing in {Doing.IDLE, Doing.BUSY} and bool(_POLLS.search(self.source))

    @property
    def line(self) -> int:
        """The number of the line that ``place`` names; 0 if it is not known."""
        number = self.place.rpartition(":")[2]
        return int(number) if number.isdigit() else 0

    def __str__(self) -> str:
        name = f"`{self.name}`" if self.name else ""
        return ", ".join(part for part in (name, self.place) if part) or self.doing.value


#: Lines of a loop that looks for something again and again.
_POLLS = re.compile(
    r"\bsleep\(\s*0?\.\d+\s*\)|\bwhile not .*\b(exists|is_file|is_set|done|poll|empty)\(\)"
)
#: Functions of ``torch.distributed`` that wait until all ranks have come together.
_RENDEZVOUS = re.compile(
    r"init_process_group|_new_process_group_helper|_?store_based_barrier|rendezvous"
    r"|_tcp_rendezvous_handler|_env_rendezvous_handler|_create_c10d_store|new_group\w*"
)
_DISTRIBUTED = re.compile(r"torch/distributed/(?!run|elastic|launch)")
_C10D = re.compile(r"torch/distributed/(distributed_c10d|rendezvous|c10d_logger)\.py$")
_DDP = re.compile(r"torch/nn/parallel/distributed\.py$")
_BACKWARD = re.compile(r"torch/(autograd/graph|autograd/__init__|_tensor)\.py$")
_IN_BACKWARD = frozenset({"backward", "_engine_run_backward", "grad"})
_IMPORT = re.compile(r"importlib\._bootstrap|importlib/__init__\.py$")
_HTTP = re.compile(r"/(http/client|urllib3/.*|requests/.*|httpx/.*|urllib/request)(\.py)?$")
_WANDB = re.compile(r"/wandb/")
_LOCK_MODULES = re.compile(
    r"/(threading|queue|subprocess|concurrent/futures/\w+|multiprocessing/\w+"
    r"|torch/multiprocessing/\w+|torch/utils/data/\w+)\.py$"
)
_LOCK_SOURCE = re.compile(
    r"\b(acquire|join|wait|get|result|communicate)\s*\(|^with\s+[\w.]*(lock|mutex|sem)\w*",
    re.IGNORECASE,
)
#: A library that takes a lock of its own, as `logging` does.
_TAKES_LOCK = re.compile(r"\.acquire\(|^with\s+[\w.]*lock\b")
#: A call on PyTorch's store, which is C++ and has no frame of its own.
_STORE = re.compile(
    r"\b\w*store\w*\.(?P<call>wait|get|multi_get)\(\s*(?P<key>[^)]*)", re.IGNORECASE
)
#: Making a store of one's own: its server waits for the others, and they for the server.
_MAKES_STORE = re.compile(r"\bTCPStore\(")
#: Waiting for a collective or message that was begun before; this is C++ as well.
_WORK = re.compile(r"\.(wait|synchronize|wait_for\w*)\(")
#: Our own hand-off, whose store is another way to wait for the other nodes.
_HAND_OFF = re.compile(r"metta_sandbox/node/handoff\.py$")


def reading(process: Process) -> CurrentCall:
    """Tell what a process is at, by its main thread."""
    main = process.main
    if process.stopped:
        where = own_frame(main) if main else None
        return _call(Doing.STOPPED, "", where)
    if main is None or not main.frames:
        return CurrentCall(Doing.UNKNOWN, place=process.threads_problem)
    call = of_thread(process, main)
    if call.doing in {Doing.IDLE, Doing.LOCK}:
        holder = next((one for one in process.threads if one.owns_gil and one is not main), None)
        # Who waits for a thread that moves is held up by what that does, not by the lock.
        if holder is not None and not (call.doing is Doing.LOCK and holder.moved):
            doing = Doing.STARTING if _imports(holder) else Doing.GIL
            return _call(doing, holder.name, own_frame(holder))
    return call


def _imports(thread: Thread) -> bool:
    return bool(thread.frames) and _of_stack(thread).doing is Doing.STARTING


def of_thread(process: Process, thread: Thread) -> CurrentCall:
    """Tell what one thread is at, taken by itself."""
    call = _of_stack(thread)
    if call.doing in {Doing.IDLE, Doing.LOCK} and thread.frames[0] is own_frame(thread):
        return _in_c(process, call)
    return call


def _in_c(process: Process, call: CurrentCall) -> CurrentCall:
    """Tell what a call that has no frame below the program's own waits for."""
    if store := _STORE.search(call.source):
        name = f"store.{store['call']}"
        why = f"for {store['key'].strip()}" if store["key"].strip() else ""
        return replace(call, doing=Doing.STORE, name=name, why=why)
    if _MAKES_STORE.search(call.source):
        return replace(call, doing=Doing.RENDEZVOUS, name="TCPStore")
    if _WORK.search(call.source) and process.recorded and process.recorded.entries:
        return replace(call, doing=Doing.COLLECTIVE, name=process.recorded.entries[-1].name)
    return call


def call_of(frames: tuple[Frame, ...]) -> CurrentCall:
    """Tell which collective a stack has entered, and from where."""
    return _of_stack(Thread(frames=frames))


def _of_stack(thread: Thread) -> CurrentCall:
    return replace(_classified(thread), inner=thread.frames[0].file)


def _classified(thread: Thread) -> CurrentCall:
    frames, own, inner = thread.frames, own_frame(thread), thread.frames[0]
    if (collective := _collective(frames)) is not None:
        name, rendezvous = collective
        if (doing := _at_work(thread)) is not None:
            return _call(doing, name, own)
        call = _call(Doing.RENDEZVOUS if rendezvous else Doing.COLLECTIVE, name, own)
        return replace(call, peers=_peers(frames))
    if _HAND_OFF.search(inner.file) and "_store" in inner.source:
        return _call(Doing.RENDEZVOUS, inner.function, own)
    doing, name = _local(thread, own)
    return _call(doing, name, own or inner)


def _peers(frames: tuple[Frame, ...]) -> tuple[tuple[str, int], ...]:
    """Read with which ranks the outermost call of torch.distributed communicates."""
    told = next((one.args for one in reversed(frames) if one.args), {})
    return tuple((name, int(value)) for name, value in told.items() if name in {"src", "dst"})


def _at_work(thread: Thread) -> Doing | None:
    """Tell whether a thread gets on, also within a call that waits for others in the end."""
    if _IMPORT.search(thread.frames[0].file) or _outermost(thread.frames[:_NEAR], _IMPORT):
        return Doing.STARTING
    return Doing.BUSY if thread.moved else None


#: How many innermost calls may hide that a module is being imported.
_NEAR = 12


def _local(thread: Thread, own: Frame | None) -> tuple[Doing, str]:
    """Tell what a thread is at that waits for no other rank, and in which call."""
    frames, inner = thread.frames, thread.frames[0]
    known = own is not None and not LIBRARY.search(own.file)
    called = frames[: frames.index(own)] if known and own in frames else frames
    if _outermost(called, _IMPORT) is not None:
        return Doing.STARTING, "import"
    if (tracker := _outermost(frames, _WANDB)) is not None:
        return Doing.TRACKER, f"wandb {bare(tracker.function)}"
    if thread.active or thread.moved or thread.state == "R":
        return Doing.BUSY, inner.function
    if _outermost(frames, _HTTP) is not None:
        return Doing.API, inner.function
    waits = _outermost(called, _LOCK_MODULES)
    if waits is None and inner is not own and _TAKES_LOCK.search(inner.source):
        waits = inner
    sleeps = thread.waits is not None and thread.waits.kind == "sleep"
    if waits is not None or (own and not sleeps and _LOCK_SOURCE.search(own.source)):
        return Doing.LOCK, waits.function if waits else ""
    return Doing.IDLE, "" if inner is own else inner.function


def _outermost(frames: tuple[Frame, ...], file: re.Pattern[str]) -> Frame | None:
    return next((one for one in reversed(frames) if file.search(one.file)), None)


def _collective(frames: tuple[Frame, ...]) -> tuple[str, bool] | None:
    """Name the outermost call of torch.distributed on a stack, and whether it is a rendezvous."""
    c10d = [bare(one.function) for one in frames if _C10D.search(one.file)]
    known = [name for name in c10d if name not in WRAPPERS and name != "<module>"]
    if known:
        return known[-1], any(_RENDEZVOUS.fullmatch(name) for name in known)
    module = _outermost(frames, _DDP)
    if module is not None and bare(module.function) != "<module>":
        return f"DistributedDataParallel.{bare(module.function)}", False
    backward = _outermost(frames, _BACKWARD)
    if backward is not None and bare(backward.function) in _IN_BACKWARD:
        return "backward", False
    if ".wait(" in frames[0].source and _DISTRIBUTED.search(frames[0].file):
        return "wait", False
    return None


def own_frame(thread: Thread | None) -> Frame | None:
    """Find the innermost call of the program's own code: neither a library's nor ours."""
    if thread is None:
        return None
    for frame in thread.frames:
        if not LIBRARY.search(frame.file):
            return frame
    return thread.frames[0] if thread.frames else None


def _call(doing: Doing, name: str, frame: Frame | None) -> CurrentCall:
    if frame is None:
        return CurrentCall(doing, name)
    return CurrentCall(doing, name, frame.place, frame.source, function=bare(frame.function))
