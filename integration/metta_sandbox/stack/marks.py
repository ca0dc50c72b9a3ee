"""What the processes and temporary files of a run are known by, and how they are removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from metta_sandbox.errors import StackError
from metta_sandbox.homes import own_folder
from metta_sandbox.node.agent.load import slowed
from metta_sandbox.stack.credentials import remove_copies
from metta_sandbox.stack.lease import Owner
from metta_sandbox.stack.package_index import remove_answers

#: Carried by the processes of a stack: ``RUN/SCENARIO``.
RUN_MARK = "METTA_STACK"
_MARKED = b"--mark="
#: Characters of a temporary folder's path that leave room for those of sockets below a run's, of
#: which the kernel takes 107: the agents', and those of a trainer's own workers.
_LONGEST_TEMP = 16
_SHORT_TEMP = Path("/tmp")  # noqa: S108 - what is made in there is the user's own
#: Carried by what a run's own process starts, so that it is found when that one was killed.
_CLIENT_MARK = "METTA_SANDBOX_RUN"
#: Where a run's folder tells whose it is.
_OWNER = "owner.json"
#: Seconds that processes get to end, at each step from patience to force, on a quiet machine.
_END = 10.0
_LOOK = 0.02


def short_temp(temp: Path) -> Path:
    """Choose where runs have their folders: a temporary folder, or ``/tmp`` if its path is long."""
    usable = os.access(_SHORT_TEMP, os.W_OK | os.X_OK)
    return _SHORT_TEMP if len(os.fsencode(temp)) > _LONGEST_TEMP and usable else temp


#: Found once, since a run's own temporary files lie in its folder.
_TEMP = short_temp(Path(tempfile.gettempdir()))


def run_folder(run: str) -> Path:
    """Return where a run keeps sockets and homes; short, as paths of Unix sockets must be."""
    return _TEMP / f"metta-{os.getuid()}" / run


@contextmanager
def belonging_to(run: str) -> Iterator[None]:
    """Let what this process starts meanwhile, and all temporary files, be found as the run's.

    It starts clients of an engine, and pip; and W&B makes temporary folders when it is imported.

    Raises:
        MachineError: There can be no temporary files.

    """
    temp = run_folder(run) / "tmp"
    own_folder(temp, "let TMPDIR be a folder that you can write to")
    owner = temp.with_name(_OWNER)
    owner.write_text(json.dumps(Owner(run).told()))
    before = {name: os.environ.get(name) for name in (_CLIENT_MARK, "TMPDIR")}
    os.environ.update({_CLIENT_MARK: run, "TMPDIR": str(temp)})
    tempfile.tempdir = None  # to be found anew
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        tempfile.tempdir = None
        shutil.rmtree(temp, ignore_errors=True)
        with suppress(OSError):
            if list(temp.parent.iterdir()) == [owner]:
                owner.unlink()
            temp.parent.rmdir()


def all_run_folders() -> list[Path]:
    """List the folders that this user's runs have here, of whatever home."""
    try:
        return sorted(each for each in run_folder("").iterdir() if each.is_dir())
    except OSError:
        return []


def read_owner(folder: Path) -> Owner:
    """Read whose a run's folder is. Where it does not tell, that stays empty."""
    told = {}
    with suppress(OSError, ValueError, TypeError):
        told = dict(json.loads((folder / _OWNER).read_text()))
    kind = {"kind": "standing"} if folder.name.startswith("standing-") else {}
    return Owner.of_told({**kind, **told, "run": folder.name})


def marked_processes() -> Iterator[tuple[int, str, Owner]]:
    """Find the processes of all runs that this user may look at; whose each is says its folder."""
    marks = {f"{RUN_MARK}=".encode(), f"{_CLIENT_MARK}=".encode()}
    for pid in _carrying(lambda one: any(map(one.startswith, marks))):
        with suppress(OSError):
            told = [one.decode(errors="replace") for one in variables(Path("/proc", str(pid)))]
            named = dict(one.partition("=")[::2] for one in told)
            run = (named.get(RUN_MARK) or named.get(_CLIENT_MARK) or "").partition("/")[0]
            places = [Path(named.get(name, "/")) for name in ("HOME", "TMPDIR")]
            folders = [each for one in places for each in one.parents if each.name == run]
            # As it sees it, which may be in a container.
            root = Path("/proc") / str(pid) / "root"
            place = root if os.access(root, os.X_OK) else Path("/")
            yield pid, run, read_owner(place / (folders or [Path("/", run)])[0].relative_to("/"))


def remove_run(run: str) -> None:
    """Remove all that a run has left on this machine as processes and their files.

    Raises:
        StackError: Processes of the run do not end.

    """
    remove_processes(run)
    _end_clients(run)
    shutil.rmtree(run_folder(run), ignore_errors=True)
    remove_copies(run)
    remove_answers(run)


def remove_processes(run: str, scenario: str | None = None) -> None:
    """Kill every process of a run (of one of its scenarios), and wait until they are gone.

    Needs ``/proc``; else does nothing.

    Raises:
        StackError: They do not end.

    """
    mark = f"{RUN_MARK}={run}/{scenario or ''}".encode()

    def ours(variable: bytes) -> bool:
        return variable == mark or (not scenario and variable.startswith(mark))

    if not _gone(ours, signal.SIGKILL, _END):
        raise StackError(f"processes of the run {run} do not end", "metta-sandbox clean")


def _end_clients(run: str) -> None:
    """End what a dead run's own process had started.

    An engine's client gets time to end by itself: what it has asked for comes into being, later
    even, if it is cut off.

    Raises:
        StackError: They do not end.

    """
    mark = f"{_CLIENT_MARK}={run}".encode()
    for number, patience in ((0, _END), (signal.SIGTERM, _END), (signal.SIGKILL, _END)):
        if _gone(mark.__eq__, number, patience):
            return
    raise StackError(f"processes that the run {run} started do not end", "metta-sandbox clean")


def _gone(ours: Callable[[bytes], bool], number: int, patience: float) -> bool:
    """Send a signal (0: none) to whoever has such a variable, until all are gone or time is up."""
    deadline = time.monotonic() + slowed(patience)
    told: set[int] = set()
    while found := _carrying(ours):
        for pid in found - told:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        told |= found
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK)
    return True


def _carrying(ours: Callable[[bytes], bool]) -> set[int]:
    """Find the other processes that were started with such a variable."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(map(ours, variables(entry))):
                found.add(int(entry.name))
    return found - {os.getpid()}


def variables(process: Path) -> list[bytes]:
    """Read the variables that a process was started with, each as ``NAME=value``.

    Agent and hub keep theirs to themselves (``keep_to_itself``), and bear some as words.

    Args:
        process: Its folder in ``/proc``.

    Raises:
        OSError: It is gone, or another user's.

    """
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except PermissionError:
        words = (process / "cmdline").read_bytes().split(b"\0")
        marked = [word.removeprefix(_MARKED) for word in words if word.startswith(_MARKED)]
        if not marked:
            raise
        return marked
