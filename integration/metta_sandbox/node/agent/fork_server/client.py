"""A trial's process on its node while the ranks are a warm process's forks.

It is what the agent starts, signals and waits for, and ends as the launcher of the ranks does.
"""

import os
import signal
import socket
from contextlib import suppress
from typing import Any, Dict

from metta_sandbox.node.agent.rank import HANDED_ON
from metta_sandbox.node.agent.wire import dial, encode, own_environ, receive_one

#: What the groups of warm processes are called, with a number after it.
WARM = "warm-"
#: When the launcher was killed, and so could not say how the trial ended.
_LOST = 128 + signal.SIGKILL


def run_ranks(address: str, group: Dict[str, Any], log_folder: str, program: Dict[str, Any]) -> int:
    """Have a trial's ranks forked with this process's environment, folder and output, and wait.

    Args:
        address: Path of the warm server's socket.
        group: See ``launcher.rank_environment``.
        log_folder: Where ``rank-<RANK>.log`` is written.
        program: See ``rank.become_rank``.

    """
    channel = dial(address)
    # One that comes before the ranks are asked for waits until they are.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    request = {
        "type": "launch",
        "group": group,
        "log_folder": log_folder,
        "program": program,
        "env": own_environ(),
        "cwd": os.getcwd(),
    }
    send_with_output(channel, request)

    def hand_on(number: int, _frame: object) -> None:
        with suppress(OSError):
            channel.sendall(encode({"signal": number}))

    for number in HANDED_ON:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
    try:
        return int(receive_one(channel)["status"])
    except ConnectionError:
        return _LOST


def send_with_output(channel: socket.socket, request: Dict[str, Any]) -> None:
    """Send a request, and this process's standard output and standard error with it."""
    message = encode(request)
    sent = socket.send_fds(channel, [message], [1, 2])
    # Not even nothing can be sent to one that has answered and left.
    if sent < len(message):
        channel.sendall(message[sent:])


def ask(address: str, timeout: float) -> str:
    """Ask a warm server, once it has imported, why it can't fork; an empty string if it can.

    Raises:
        OSError: Nobody listens there, or there was no answer in time.

    """
    return str(about(address, timeout)["refusal"])


def about(address: str, timeout: float) -> Dict[str, Any]:
    """Ask a warm server or a template, once it has imported, what it says of itself.

    Raises:
        OSError: Nobody listens there, or there was no answer in time.

    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(timeout)
        channel.connect(address)
        channel.sendall(encode({"type": "ready"}))
        answer: Dict[str, Any] = receive_one(channel)
        return answer
