"""A forked rank becomes the trainer: as if ``python …`` had been started, but for the imports."""

import atexit
import builtins
import os
import random
import runpy
import signal
import sys
import threading
import traceback
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any, Dict, List, NoReturn

from metta_sandbox.node.agent.injection.injector import enter as enter_injection
from metta_sandbox.node.agent.recorder.flight import enter as enter_flight
from metta_sandbox.node.agent.recorder.life import enter as enter_witness
from metta_sandbox.node.agent.recorder.life import note_exit
from metta_sandbox.node.agent.wire import native

_OWN = os.path.dirname(sys._getframe().f_code.co_filename)  # noqa: SLF001 - as in tracebacks


def become_rank(program: Dict[str, Any]) -> NoReturn:
    """Run a Python program in this process and end it as the interpreter would.

    What differs is the end of objects: the program's own globals are not torn down, and a DDP
    module's reducer lives as long as the process. Its destructor joins a Gloo thread while it holds
    the interpreter's lock, for which that thread may wait; in forks that hung one rank in eight.

    Args:
        program: ``kind`` (``script`` or ``module``), ``target`` (its path or name), ``arguments``,
            ``command`` (as it was typed) and ``unbuffered``.

    """
    _start_over(program)
    _hold_reducers()
    if "METTA_TRIAL" in os.environ:
        enter_witness(program["command"])
    enter_flight()
    enter_injection()
    status = 1
    try:
        if program["kind"] == "module":
            # What ``python -m`` itself calls; ``run_module`` would clear the globals at the end.
            runpy._run_module_as_main(program["target"])  # type: ignore[attr-defined]  # noqa: SLF001
        else:
            _run_script(program["target"])
        status = 0
    except SystemExit as end:
        _KEPT.append(end)
        note_exit(end)
        status = _status_of(end)
    except KeyboardInterrupt as error:
        _print(error)
        _finish()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:  # noqa: BLE001 - the interpreter's own end of it
        _KEPT.append(error)
        _print(error)
    _finish()
    os._exit(status)


#: What is not torn down: reducers, and errors with all that their frames hold.
_KEPT: List[Any] = []


def _start_over(program: Dict[str, Any]) -> None:
    """Give this process the signal handlers, arguments and main module of a fresh interpreter."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A fresh process draws its own random numbers; torch's generator starts from a constant.
    random.seed()
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    if program["unbuffered"] or os.environ.get("PYTHONUNBUFFERED"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    target = program["target"]
    script = program["kind"] == "script"
    sys.argv[:] = [target if script else "-m", *map(native, program["arguments"])]
    if sys.version_info >= (3, 10):
        sys.orig_argv[:] = map(native, program["command"])
    first = os.path.dirname(os.path.realpath(target)) if script else os.getcwd()
    if not os.environ.get("PYTHONSAFEPATH"):
        sys.path.insert(0, first)
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    _MAIN.append(sys.modules["__main__"])
    sys.modules["__main__"] = main


def _hold_reducers() -> None:
    distributed: Any = sys.modules.get("torch.distributed")
    make = getattr(distributed, "Reducer", None)
    if make is None:
        return

    def make_and_hold(*args: Any, **kwargs: Any) -> Any:
        _KEPT.append(make(*args, **kwargs))
        return _KEPT[-1]

    distributed.Reducer = make_and_hold


#: The server's own main module, whose globals must not be torn down under it.
_MAIN: List[ModuleType] = []


def _run_script(path: str) -> None:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        sys.stderr.write(
            f"{sys.executable}: can't open file {os.path.abspath(path)!r}: "
            f"[Errno {error.errno}] {error.strerror}\n"
        )
        raise SystemExit(2) from None
    path = os.path.abspath(path)
    main = sys.modules["__main__"]
    main.__dict__.update(
        __file__=path, __cached__=None, __loader__=SourceFileLoader("__main__", path)
    )
    code = compile(source, path, "exec", dont_inherit=True)
    exec(code, main.__dict__)  # noqa: S102 - that is what running a script is


def _status_of(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def _print(error: BaseException) -> None:
    """Print a traceback as the interpreter does, without the frames that are ours."""
    trace = error.__traceback__
    while trace is not None and os.path.dirname(trace.tb_frame.f_code.co_filename) == _OWN:
        trace = trace.tb_next
    # For debuggers, and whatever else looks into an end.
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except BaseException:  # noqa: BLE001 - somebody's hook broke
        traceback.print_exc()


def _finish() -> None:
    """Do what comes before an interpreter tears its objects down (CPython's ``Py_FinalizeEx``)."""
    shutdown = threading._shutdown  # type: ignore[attr-defined]  # noqa: SLF001
    for step in (shutdown, atexit._run_exitfuncs):  # noqa: SLF001
        try:
            step()
        except BaseException:  # noqa: BLE001 - the other is still due
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
