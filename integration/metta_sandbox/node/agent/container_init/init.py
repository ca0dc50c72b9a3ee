"""The first process of a container in which several scenarios work, one after the other.

It runs nothing of a scenario itself. For each turn it starts what else would be a container's first
process: an agent, or the hub. At the turn's end it ends every process but itself and its template
(see ``fork_server``), removes what was left where the node's user can write, and says what is not
as it was. Whoever asked puts such a container away.

It is asked through ``docker exec`` alone: a process that comes in so has no parent here, and
nothing that a scenario starts is without one.
"""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from metta_sandbox.node.agent.container_init.residue import (
    clear,
    different,
    facts,
    manners,
    open_ports,
    places,
    shared_objects,
    touch,
)
from metta_sandbox.node.agent.fork_server.client import about
from metta_sandbox.node.agent.fork_server.environ_block import with_room
from metta_sandbox.node.agent.fork_server.spawn import (
    BUNDLED,
    bundled_of,
    programs_of,
    rollout_of,
    template_beside,
    template_command,
)
from metta_sandbox.node.agent.processes import (
    describe,
    keep_to_itself,
    kill_all,
    living,
    parent_of,
)
from metta_sandbox.node.agent.wire import decode, dial, encode, receive_one

#: Not in the file system, from which a scenario may remove all that it can.
_ADDRESS = "\0metta-container-init"
#: Seconds without a turn after which it ends: whoever had it must be gone; and seconds after a
#: turn's program has ended, and nobody has ended the turn.
_IDLE, _LEFT = 300.0, 60.0
#: Seconds that a turn's program gets to end by itself; that what is killed gets to be gone, and a
#: port to be free; and that a template gets to import.
_END, _KILLED, _FREED, _IMPORTED = 60.0, 30.0, 1.0, 120.0
#: Seconds that it gets itself to start.
_STARTED = 20.0
_LOOK = 0.02
#: How many of what was left are told.
_TOLD = 3

Message = Dict[str, Any]


class ContainerInit:
    """Starts each turn's program, and afterwards ends and removes what the turn has left.

    Args:
        command: The words of a turn's program: the agent's or the hub's, in this same zipapp.
        template: The interpreter of which there is to be a template; none if empty.

    """

    def __init__(self, command: List[str], template: str) -> None:
        self._command = command
        self._interpreter = template
        self._turn: Optional["subprocess.Popen[bytes]"] = None
        self._template: Optional["subprocess.Popen[bytes]"] = None
        self._spared: Set[str] = set()
        if template:
            own = template_beside(os.environ["METTA_EVENTS"])
            self._spared |= {own, programs_of(own), bundled_of(own)}
        self._told_to_end = False
        self._mark = ""
        self._open = False

    def run(self) -> int:
        """Give turns until told to end, or a turn's program breaks; returns the exit status."""
        keep_to_itself()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(_ADDRESS)
        listener.listen()
        self._wake, woken = socket.socketpair()
        for end in (self._wake, woken):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        self._places = places(os.environ)
        touch(self._places)
        self._facts = facts(self._places)
        self._ports = open_ports()
        self._manners = manners(os.getpid())
        if self._interpreter:
            self._template = self._start_template()
        while True:
            ready, _, _ = select.select(
                [listener, self._wake], [], [], _LEFT if self._open else _IDLE
            )
            status = self._reap()
            if status is not None:
                return status
            if listener in ready:
                caller, _ = listener.accept()
                with caller, suppress(OSError):
                    caller.sendall(encode(self._answer(caller)))
            elif not ready and self._turn is None:
                return 0

    def _hear(self, _number: int, _frame: object) -> None:
        """Hand the order to end on to the turn's program, with which this ends."""
        self._told_to_end = True
        if self._turn is not None:
            self._turn.terminate()

    def _reap(self) -> Optional[int]:
        """Reap children; returns an exit status if this process is to end with one of them."""
        with suppress(BlockingIOError):
            self._wake.recv(4096)
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                for child in (self._turn, self._template):
                    if child is not None and child.pid == pid:
                        child.returncode = _exit_status(status)
        ended = 0
        if self._turn is not None:
            if self._turn.returncode is None:
                return None
            ended, self._turn = self._turn.returncode, None
        # As a container does whose first process it is.
        return ended if ended or self._told_to_end else None

    def _answer(self, caller: socket.socket) -> Message:
        pid, _, _ = struct.unpack(
            "3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        )
        try:
            caller.settimeout(_KILLED)
            request = receive_one(caller)
            if parent_of(pid) != 0:
                return {"problem": "it does not come from outside"}
            if request["type"] == "begin":
                return self._begin(request)
            return self._end(pid, set(request["ports"]))
        except (OSError, LookupError, ValueError) as error:
            return {"problem": f"{type(error).__name__}: {error}"}

    def _begin(self, request: Message) -> Message:
        if self._turn is not None:
            return {"problem": "somebody else has a turn"}
        self._mark, self._open = request["mark"], True
        _say(f"[{self._mark} begins]")
        self._turn = subprocess.Popen(
            [sys.executable, "-S", sys.argv[0], *self._command],
            env={**os.environ, **request["env"]},
            stdin=subprocess.DEVNULL,
            # One stream, so that what it says has an order.
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return {"pid": self._turn.pid}

    def _start_template(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            template_command(
                self._interpreter,
                sys.argv[0],
                template_beside(os.environ["METTA_EVENTS"]),
                programs=rollout_of(int(os.environ["NODE_INDEX"]), there=True),
                bundled=BUNDLED,
            ),
            env=with_room(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    # -- the end of a turn ----------------------------------------------------------------

    def _end(self, caller: int, shareable: Set[int]) -> Message:
        """End a turn's processes and remove its files; say in words what could not be put right.

        Args:
            caller: The process that asks.
            shareable: Ports that are the same to the next turn while the kernel still keeps one.

        """
        left: List[str] = []
        if not self._until(lambda: self._turn is None, _END):
            left.append("its agent did not end")
        # While its socket is there, and before anything is looked at that it may still make.
        templates, trouble = self._ask_templates()
        left += trouble
        ours = {os.getpid(), caller, *templates}

        def strangers() -> List[int]:
            return [pid for pid in living() if pid not in ours]

        def killed() -> bool:
            kill_all(strangers)
            return not strangers()

        if not self._until(killed, _KILLED):
            left += [f"{each['command']} does not end" for each in describe(strangers())]
        clear(self._places, self._facts, self._spared)
        left += different(self._facts, facts(self._places), self._spared)
        left += [f"System V's {kind} has objects" for kind in shared_objects()]

        def taken() -> List[Tuple[str, int]]:
            return [each for each in sorted(open_ports() - self._ports) if each[1] not in shareable]

        if not self._until(lambda: not taken(), _FREED):
            left += [f"{protocol} port {port} is not free yet" for protocol, port in taken()]
        if any(manners(pid) != self._manners for pid in ours - {caller}):
            left.append("limits, cores or niceness of what is kept are not what they were")
        self._open = False
        _say(f"[{self._mark} is over]")
        return {"left": left[:_TOLD]}

    def _ask_templates(self) -> Tuple[Set[int], List[str]]:
        """Find the processes that are kept warm; say what is wrong with them, in words."""
        if self._template is None:
            return set(), []
        own, found = template_beside(os.environ["METTA_EVENTS"]), {self._template.pid}
        try:
            for each in (own, programs_of(own), bundled_of(own)):
                found.add(int(about(each, _IMPORTED)["pid"]))
        except OSError as error:
            return found, [f"what has torch imported does not answer ({error})"]
        return found, []

    def _until(self, holds: Callable[[], bool], patience: float) -> bool:
        """Look, whenever a process has ended and now and then, until something is so."""
        deadline = time.monotonic() + patience
        while not holds():
            if time.monotonic() > deadline:
                return False
            select.select([self._wake], [], [], _LOOK)
            self._reap()
        return True


def ask(request: bytes) -> Message:
    """Ask the container's init of this container, from outside, for what a line of JSON says."""
    deadline = time.monotonic() + _STARTED
    while True:
        try:
            channel = dial(_ADDRESS)
            break
        except ConnectionRefusedError:  # it has just been started
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK)
    with channel:
        channel.sendall(encode(decode(request)))
        answer: Message = receive_one(channel)
        return answer


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _exit_status(status: int) -> int:
    """Turn a wait status into what a shell would end with."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
