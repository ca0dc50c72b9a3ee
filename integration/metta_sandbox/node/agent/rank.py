"""Runs one rank's trainer: its output into a file of its own, its exit status to the agent.

A launcher starts this in the place of the trainer, with RANK and LOCAL_RANK set. Signals are
handed on, and the wrapper ends as its trainer did, so that the launcher sees no difference.

The trainer has a process group of its own, and gets signals as a group. A launcher signals groups
(torchrun does), and one that reached the trainer directly would reach it a second time from here.
"""

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional

from metta_sandbox.node.agent.injection.hook import with_hook
from metta_sandbox.node.agent.processes import die_with_parent, dying_with_this
from metta_sandbox.node.agent.safe_open import plain
from metta_sandbox.node.agent.wire import dial, encode

#: Signals that a launcher or a shell sends on purpose.
HANDED_ON = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
#: Where W&B runs go.
_TRACKED = "WANDB_DIR"
#: What a shell says of a command that is not there, and of one that cannot be run.
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
#: Seconds for the agent to take in that the trainer has ended.
_PATIENCE = 5.0


def run_rank(command: List[str], log_folder: str) -> int:
    """Run a trainer and return its exit status; does not return if a signal killed it.

    Args:
        command: The trainer and its arguments.
        log_folder: Where ``rank-<RANK>.log`` is written (appended to, if it exists).

    """
    die_with_parent()
    rank = int(os.environ.get("RANK", "0"))
    log = os.path.join(log_folder, f"rank-{rank}.log")
    os.makedirs(log_folder, exist_ok=True)
    environ = {**os.environ, **own_folder(os.environ, log_folder, rank)}
    with open(log, "ab", opener=plain) as output:
        about = {
            "group": os.environ.get("METTA_GROUP", ""),
            "rank": rank,
            "local_rank": int(os.environ.get("LOCAL_RANK", "0")),
            "log": log,
            "start": output.tell(),
        }
        signals = _Signals()
        try:
            child = subprocess.Popen(
                command,
                env=with_hook(environ, os.path.realpath(sys.argv[0])),
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_apart(),
            )
        except OSError as error:
            output.write(f"{command[0]}: {error.strerror}\n".encode())
            output.flush()
            status = _NOT_FOUND if error.errno == errno.ENOENT else _NOT_EXECUTABLE
            Report(about, 0).ended(status)
            return status
    signals.hand_on(child.pid)
    report = Report(about, child.pid)
    report.started()
    status = child.wait()
    report.ended(status)
    if status < 0:
        _die_of(-status)
        return 128 - status
    return status


def own_folder(environ: Mapping[str, str], log_folder: str, rank: int) -> Dict[str, str]:
    """Give a rank a folder of its own for W&B runs, where it would have all ranks' in common.

    Whose a run is stands nowhere in its file.
    """
    folder = os.path.join(log_folder, f"rank-{rank}")
    if environ.get(_TRACKED) != log_folder:
        return {}
    # W&B makes none, and goes elsewhere.
    os.makedirs(folder, exist_ok=True)
    return {_TRACKED: folder}


class _Signals:
    """Hands signals on to the trainer, also those that come before it is there.

    What this process was told to ignore, the trainer ignores too, as it would without us.
    """

    def __init__(self) -> None:
        self._group = 0
        self._early: List[int] = []
        for number in HANDED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    def hand_on(self, group: int) -> None:
        self._group = group
        while self._early:
            self._take(self._early.pop(0), None)

    def _take(self, number: int, _frame: object) -> None:
        if not self._group:
            self._early.append(number)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, number)


def _apart() -> Callable[[], None]:
    prepare = dying_with_this()

    def run() -> None:
        os.setpgid(0, 0)
        prepare()

    return run


def _die_of(number: int) -> None:
    # The trainer has left a core file, where they are wanted.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class Report:
    """Tells the agent of the trainer; the trainer runs on if no agent was there from the start.

    If the agent goes away later, it was killed, and the trainer is killed too: what is between
    them may live on.

    Args:
        about: ``group``, ``rank``, ``local_rank``, ``log`` and ``start``, the log's length before.
        pid: The trainer's, which is its process group's too; 0 if it could not be started.

    """

    def __init__(self, about: Dict[str, Any], pid: int) -> None:
        self._about = {**about, "pid": pid}
        self._channel = _connect()
        self._noted = threading.Event()
        if self._channel is not None:
            threading.Thread(target=self._watch, args=(self._channel,), daemon=True).start()

    def started(self) -> None:
        """Tell the agent that the trainer was started."""
        self._tell("rank-started")

    def ended(self, status: int) -> None:
        """Tell the agent that the trainer has ended, and wait until it has noted so.

        So the rank's end is known before the launcher's.
        """
        self._about["status"] = status
        self._tell("rank-exited")
        if self._channel is not None:
            self._noted.wait(_PATIENCE)

    def _tell(self, kind: str) -> None:
        if self._channel is None:
            return
        try:
            self._channel.sendall(encode({"type": kind, **self._about}))
        except OSError as error:
            sys.stderr.write(f"rank: the agent is gone: {error}\n")

    def _watch(self, channel: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while channel.recv(65536):
                self._noted.set()
        if self._about["pid"] and "status" not in self._about:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._about["pid"], signal.SIGKILL)
        self._noted.set()


def _connect() -> Optional[socket.socket]:
    address = os.environ.get("METTA_EVENTS")
    if not address:
        return None
    try:
        return dial(address)
    except OSError as error:
        sys.stderr.write(f"rank: no agent at {address}: {error}\n")
        return None
