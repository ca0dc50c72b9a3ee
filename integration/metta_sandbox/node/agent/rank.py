"""Runs one rank's trainer: its output into a file of its own, its exit status to the agent.

A launcher starts this in the place of the trainer, with RANK and LOCAL_RANK set. Signals are
handed on, and the wrapper ends as its trainer did, so that the launcher sees no difference.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from typing import Any, Dict, List, Optional

from metta_sandbox.node.agent.wire import encode

_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux; elsewhere: nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run_rank(command: List[str], log_folder: str) -> int:
    """Run a trainer and return its exit status; does not return if a signal killed it.

    Args:
        command: The trainer and its arguments.
        log_folder: Where ``rank-<RANK>.log`` is written (appended to, if it exists).

    """
    die_with_parent()
    rank = int(os.environ.get("RANK", "0"))
    log = os.path.join(log_folder, f"rank-{rank}.log")
    about = {
        "group": os.environ.get("METTA_GROUP", ""),
        "rank": rank,
        "local_rank": int(os.environ.get("LOCAL_RANK", "0")),
        "log": log,
    }
    with open(log, "ab") as output:
        try:
            child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
            )
        except OSError as error:
            output.write(f"{command[0]}: {error.strerror}\n".encode())
            _tell({"type": "rank-exited", **about, "pid": 0, "status": 127})
            return 127
    for number in _HANDED_ON:
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    channel = _tell({"type": "rank-started", **about, "pid": child.pid})
    status = child.wait()
    _tell({"type": "rank-exited", **about, "pid": child.pid, "status": status}, channel)
    if status < 0:
        _die_of(-status)
    return status


def _die_of(number: int) -> None:
    if number in _HANDED_ON:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _tell(
    message: Dict[str, Any], channel: Optional[socket.socket] = None
) -> Optional[socket.socket]:
    """Report to the agent; a trainer runs on even if nobody listens."""
    address = os.environ.get("METTA_EVENTS")
    if not address:
        return None
    try:
        if channel is None:
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            channel.connect(address)
        channel.sendall(encode(message))
    except OSError as error:
        sys.stderr.write(f"rank: no agent at {address}: {error}\n")
        return None
    return channel
