"""Keeps what a Python process of the job knows of its own life: how it began, and how it ended.

It is in every interpreter that the user's command starts (see ``hook``), and in every rank. What
happens is written at once, as a line of JSON, into a file of the process's own in the folder that
all nodes share, where the harness reads it (``autopsy.lives``): a process that is killed can't do
so any more. No file is kept open but that of fatal signals, whose number nobody else comes to use;
there is no thread, and nothing is imported that an interpreter hasn't anyway until something has
happened.

Whatever goes wrong in here must not disturb the program: it is left out.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # ``signal`` imports ``enum`` and ``re``
import _thread
import atexit
import faulthandler
import os
import sys
import time

from metta_sandbox.node.agent.recorder.after_import import after_import
from metta_sandbox.node.agent.recorder.flight import OPERATIONS, recorded
from metta_sandbox.node.agent.told import FOLDER, TOLD, TRIAL

try:
    from _json import encode_basestring_ascii as _quoted
except ImportError:  # an interpreter without the quick half of its library
    from json.encoder import encode_basestring_ascii as _quoted

TYPE_CHECKING = False
if TYPE_CHECKING:  # ``typing`` takes long to import, and this is in every interpreter of a job
    from typing import Any, Callable, Dict, List, Optional

_RUN_FOLDER, _NODE = "METTA_RUN_FOLDER", "METTA_NODE"
#: At most so many files are in a node's folder, or twice as many if they are ranks'.
_FILES = 512
#: At most so many bytes are written by one process, in lines no longer than these.
_BYTES, _LINE = 1 << 18, 1 << 17
#: How many of the last collectives are kept at the end.
_RECORDED = 50
_DISTRIBUTED = "torch.distributed.distributed_c10d"
#: Where file descriptors begin that nobody else comes to use.
_HIGH = 700
#: What belongs to Python itself, and to nobody's program.
_HELPER = "multiprocessing.resource_tracker"
#: What is kept of a command: words, and characters of each.
_WORDS, _LONGEST = 64, 160

#: This process's, if it has one.
_LIVES: List[Life] = []


def enter(command: Optional[List[str]] = None) -> None:
    """Begin to keep what happens, in a process that belongs to a node's job.

    Args:
        command: What it stands for, if that is not what it was started as.

    """
    if _RUN_FOLDER not in os.environ or _NODE not in os.environ or _LIVES:
        return
    try:
        if any(_HELPER in word for word in _command()):
            return
        life = Life(os.path.join(os.environ[_RUN_FOLDER], FOLDER, os.environ[_NODE]), command)
        if life.begin():
            _LIVES.append(life)
            life.listen()
    except Exception:  # noqa: BLE001 - see above
        return


def note_exit(end: SystemExit) -> None:
    """Note what a program ends with that was run by our own code."""
    if _LIVES:
        quietly(_LIVES[0].asked_to_exit)(end.code, end.__context__, end.__traceback__)


def as_json(value: Any) -> str:
    """Write plain values as JSON; ``json`` itself takes longer to import than all else here."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(k)}:{as_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(as_json, value)) + "]"
    return str(_quoted(str(value)))


def ours(name: str) -> Any:
    """Import a module that lies beside this one, also where nobody may find ours any more.

    So it must import nothing else of ours.
    """
    if name not in _OURS:
        loader: Any = __spec__.loader
        whole = f"{__name__.rpartition('.')[0]}.{name}"
        if hasattr(loader, "archive"):
            module = type(sys)(whole)
            exec(loader.get_code(whole), module.__dict__)  # noqa: S102 - that is what importing is
            _OURS[name] = module
        else:
            import importlib  # noqa: PLC0415 - only here

            _OURS[name] = importlib.import_module(whole)
    return _OURS[name]


_OURS: Dict[str, Any] = {}


def environment() -> Dict[str, str]:
    """Give what launchers tell ranks, and which trial this is."""
    return {name: os.environ[name] for name in (*TOLD, *TRIAL) if name in os.environ}


def quietly(do: Callable[..., None]) -> Callable[..., None]:
    """Let a function do nothing that its caller would notice if it fails."""

    def done(*args: Any) -> None:
        try:
            do(*args)
        except Exception:  # noqa: BLE001 - see the module
            return

    return done


class Life:
    """The record that a process keeps of itself.

    Args:
        folder: Where its file goes.
        command: What it stands for, if that is not what it was started as.

    """

    def __init__(self, folder: str, command: Optional[List[str]]) -> None:
        self._folder = folder
        self._command = command
        self._descriptor = -1
        self._opened: Any = None
        self._exit: Dict[str, Any] = {}
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._path = os.path.join(self._folder, f"{self._pid}.jsonl")
        self._written = 0
        self._raised = self._over = False

    def begin(self) -> bool:
        """Tell how this process began; False if there are too many already."""
        os.makedirs(self._folder, exist_ok=True)
        most = _FILES * (2 if "RANK" in os.environ else 1)
        if len(os.listdir(self._folder)) >= most:
            return False
        self.environ = environment()
        about = {"pid": self._pid, "parent": os.getppid(), "argv": self._command or _command()}
        self.note("start", {**about, "environ": self.environ})
        quietly(self._watch_signals)()
        return True

    def note(self, what: str, about: Any) -> None:
        """Write a line of JSON into this process's file."""
        line = ('{"at":%r,"%s":%s}\n' % (time.time(), what, as_json(about))).encode()
        if len(line) > _LINE or self._written + len(line) > _BYTES:
            return
        # Not kept open: a program that closes whatever is open might come to use its number.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path, flags, 0o644)
        try:
            self._written += os.write(file, line)
        finally:
            os.close(file)

    def listen(self) -> None:
        """Have exits, threads, children and process groups noted from now on."""
        os.register_at_fork(after_in_child=quietly(self._forked))
        atexit.register(quietly(self._ending))
        self._wrap_exits()
        ends, reaped = quietly(self._worker_ends), quietly(self._reaped)
        for module, wrap in (
            ("threading", self._wrap_threading),
            ("subprocess", lambda: ours("children").hear_of_commands(reaped)),
            ("multiprocessing.popen_fork", lambda: ours("children").hear_of_workers(reaped)),
            ("multiprocessing.process", lambda: ours("children").hear_of_ends(ends)),
            ("multiprocessing.util", lambda: ours("children").hear_of_older_ends(ends)),
            (_DISTRIBUTED, self._wrap_groups),
        ):
            after_import(module, quietly(wrap))

    # -- its end --------------------------------------------------------------------------

    def raised(self, error: BaseException) -> None:
        """Note the exception that ends the main thread, once."""
        if not self._raised:
            self._raised = True
            self.note("exception", ours("exceptions").describe(error))

    def asked_to_exit(self, status: Any, error: Optional[BaseException], trace: Any) -> None:
        """Keep with what status, where, and because of what, the program was told to end."""
        told = ours("exceptions")
        code = 0 if status is None else status if isinstance(status, int) else 1
        self._exit = {"exits": code, "exit_at": told.place(trace)}
        if error is not None and code:
            self._exit["exception"] = told.describe(error)
        elif code and not isinstance(status, int):
            self._exit["message"] = str(status)[:2000]

    def _ending(self) -> None:
        """Tell the end, if it was not told; the interpreter, or whoever stands for it, calls."""
        if self._over or os.getpid() != self._pid:
            return
        self._over = True
        self._last_error()
        quietly(self._last_collectives)()
        self.note("end", {} if self._raised else self._exit)

    def _last_collectives(self) -> None:
        if _DISTRIBUTED in sys.modules:
            told = recorded(_RECORDED)
            if told["entries"]:
                self.note("recorded", told)

    def _last_error(self) -> None:
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if error is not None:
            self.raised(error)

    def _wrap_exits(self) -> None:
        exit_, leave = sys.exit, os._exit
        asked, ending = quietly(self._asked), quietly(self._ending)

        def exit(status: Any = None, /) -> Any:  # noqa: A001 - the interpreter's name
            asked(status)
            return exit_(status)

        def _exit(status: int) -> Any:
            asked(status)
            ending()
            return leave(status)

        for new, old in ((exit, exit_), (_exit, leave)):
            new.__doc__, new.__module__, new.__qualname__ = (
                old.__doc__,
                old.__module__,
                new.__name__,
            )
        sys.exit, os._exit = exit, _exit

    def _asked(self, status: Any) -> None:
        called, caller = sys._getframe(2), sys._getframe(3)  # noqa: SLF001 - documented
        leaving = called.f_code.co_name == "_exit"
        threading: Any = sys.modules.get("threading")
        main = threading is None or threading.main_thread().ident == _thread.get_ident()
        if self._over or not (main or leaving):
            return
        if str(caller.f_globals.get("__name__")).startswith(_CALLERS):
            # Whoever ends it there was told to, and why is known already.
            self._exit = self._exit or {"exits": status}
            return
        self.asked_to_exit(status, sys.exc_info()[1], caller)

    # -- its threads, children, groups and signals ----------------------------------------

    def _wrap_threading(self) -> None:
        threading: Any = sys.modules["threading"]
        shutdown, make = threading._shutdown, threading._make_invoke_excepthook  # noqa: SLF001
        last, note = quietly(self._last_error), quietly(self._thread_raised)

        def shut() -> None:
            # Other threads are waited for there, maybe for ever.
            last()
            shutdown()

        def make_noted() -> Any:
            invoke = make()

            def noted(thread: Any) -> None:
                note(thread)
                invoke(thread)

            return noted

        threading._shutdown, threading._make_invoke_excepthook = shut, make_noted  # noqa: SLF001

    def _thread_raised(self, thread: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            self.note(
                "thread", {"name": thread.name, "exception": ours("exceptions").describe(error)}
            )

    def _reaped(self, child: Any) -> None:
        if child.returncode is not None:
            self.note("reaped", {"pid": child.pid, "status": child.returncode})

    def _worker_ends(self) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, SystemExit):
            if not self._exit:
                self.asked_to_exit(error.code, error.__context__, error.__traceback__)
        elif error is not None:
            self.raised(error)

    def _wrap_groups(self) -> None:
        noted = ours("noted").noted
        ours("process_groups").wrap(self.note, noted, environment, self.environ)
        calls = ours("last_calls").LastCalls(self._folder)
        distributed, brief = sys.modules[_DISTRIBUTED], ours("exceptions").brief
        OPERATIONS.append(ours("operations").Operations(distributed, noted, calls.keep, brief))

    def _watch_signals(self) -> None:
        """Have stacks written at a fatal signal, and where this process was told to end."""
        if self._descriptor < 0 and (faulthandler.is_enabled() or self._pid == 1):
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path, flags)
        try:
            if self._descriptor >= 0:
                # What the parent has there is the parent's file, unless that number is another's.
                if os.path.samestat(os.fstat(self._descriptor), self._opened):
                    os.dup2(file, self._descriptor, inheritable=False)
                    self._opened = os.fstat(file)
                return
            import fcntl  # noqa: PLC0415 - here alone

            self._descriptor = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _HIGH)
            self._opened = os.fstat(file)
        finally:
            os.close(file)
        faulthandler.enable(self._descriptor)
        if _signal.getsignal(_signal.SIGTERM) == _signal.SIG_DFL:
            faulthandler.register(_signal.SIGTERM, self._descriptor, chain=True)

    def _forked(self) -> None:
        """Go on in a child, whose life is another; not in one that is about to run a command."""
        frame: Any = sys._getframe(1)  # noqa: SLF001 - documented
        for _ in range(8):
            if frame is None:
                break
            if frame.f_code.co_name == "_execute_child":
                self._over = True
                return
            frame = frame.f_back
        self._start_over()
        self._exit = {}
        for name in ("last_exc", "last_value"):
            if hasattr(sys, name):
                self._raised = True
        self._over = not self.begin()


#: Who ends a process as somebody has told it to.
_CALLERS = ("multiprocessing.", "metta_sandbox.node.agent.")


def _command() -> List[str]:
    """Give the command that this process runs, as far as it counts."""
    try:
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read(1 << 16).decode(errors="replace").split("\0")[:-1]
    except OSError:
        words = [sys.executable, *getattr(sys, "argv", [])]
    return [word[:_LONGEST] for word in words[:_WORDS]]
