"""One process group that an agent started: its processes, its output, its end."""

import asyncio
import os
import subprocess
import sys
from typing import Dict, List, Mapping, Optional

from metta_sandbox.node.agent.forward import Forwarder, Tail
from metta_sandbox.node.agent.messages import GroupState, RankState
from metta_sandbox.node.agent.processes import carrying, dying_with_this, kill_all
from metta_sandbox.node.agent.safe_open import plain

#: Seconds that a group's pipe may stay open, held by a stranger, once its leader has ended.
_PATIENCE = 2.0


def findable(command: List[str], environ: Mapping[str, str]) -> List[str]:
    """Name a program by its path that the node's own PATH has, and that of its environment hasn't.

    A scenario may set a PATH for its commands alone; what starts them is still found.
    """
    if os.sep in command[0] or environ.get("PATH") == os.environ.get("PATH"):
        return command
    import shutil  # noqa: PLC0415 - rarely needed, and an agent is to start soon

    if shutil.which(command[0], path=environ.get("PATH")):
        return command
    return [shutil.which(command[0]) or command[0], *command[1:]]


class Group:
    """A command running in a session of its own, with all that it starts.

    Args:
        id: Its name among the groups of this agent.
        command: The program and its arguments.
        environ: Its whole environment.
        cwd: Its working folder.
        log: A file that gets all it prints, beside the agent's output; None for none.
        forwarder: Takes what it prints.

    Raises:
        OSError: The command cannot be started.

    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the wire's word
        *,
        command: List[str],
        environ: Mapping[str, str],
        cwd: Optional[str],
        log: Optional[str],
        forwarder: Forwarder,
    ) -> None:
        self.id = id
        self.command = command
        self.ranks: Dict[int, RankState] = {}
        self.tails: Dict[str, Tail] = {}
        self.status: Optional[int] = None
        #: Whether it was told to end and gets its time: what its leader leaves behind, too.
        self.has_notice = False
        #: The process that the leader stands for; see ``fork_server.proxy``.
        self.stood_for: Optional[int] = None
        #: Set when the leader has ended and all output was forwarded.
        self.over = asyncio.Event()
        self._dead = asyncio.Event()
        self._transport: Optional[asyncio.ReadTransport] = None
        self._forwarder = forwarder
        self._log = open(log, "ab", buffering=0, opener=plain) if log else None  # noqa: SIM115 - closed by pump
        try:
            self.process = subprocess.Popen(
                command,
                env=dict(environ),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dying_with_this(),
            )
        except BaseException:
            self._close_log()
            raise

    @property
    def leader(self) -> int:
        """The process id of what was started, which is the group's and the session's too."""
        return self.process.pid

    @property
    def pid(self) -> int:
        """The process id of what runs: of what was started, or of what that stands for."""
        return self.leader if self.stood_for is None else self.stood_for

    async def pump(self) -> None:
        """Carry what the leader and its children print, until all have ended."""
        assert self.process.stdout is not None
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: protocol, self.process.stdout
        )
        while True:
            data = await reader.read(65536)
            if not data:
                break
            self._keep(data)
            self._forwarder.feed(data)
        self._transport.close()
        await self._dead.wait()
        for tail in self.tails.values():
            await tail.finish()
        self._forwarder.close()
        self._close_log()

    def ended(self, status: int) -> None:
        """Note that the leader has ended, and end what it left behind."""
        self.status = status
        self.process.returncode = status
        self._dead.set()
        if self.has_notice:
            return
        self.kill()
        # A daemon that escaped may hold the pipe open for ever.
        asyncio.get_running_loop().call_later(_PATIENCE, self._stop_reading)

    def signal(self, number: int, rank: Optional[int] = None) -> None:
        """Send a signal to the whole group, or to the trainer of one rank.

        Raises:
            ProcessLookupError: It has ended, or there is no such rank.

        """
        if rank is None:
            if self.status is not None:
                raise ProcessLookupError(f"group {self.id} has ended")
            os.killpg(self.pid, number)
            return
        for state in self.ranks.values():
            if state["rank"] == rank and state["status"] is None:
                os.kill(state["pid"], number)
                return
        raise ProcessLookupError(f"no live rank {rank} in group {self.id}")

    def kill(self) -> None:
        """Kill every process of the group, also those that left its session."""
        kill_all(self._processes)

    def to_wire(self) -> GroupState:
        """Describe the group as a message has it."""
        return {
            "group": self.id,
            "pid": self.pid,
            "command": self.command,
            "status": self.status,
            "ranks": list(self.ranks.values()),
        }

    def _processes(self) -> List[int]:
        """Find its processes.

        A launcher may put its ranks into sessions of their own, so the session alone does not
        tell. A mark in the environment does, except for ranks that were forked from a process of
        another group.
        """
        marks = (f"METTA_GROUP={self.id}", f"METTA_EVENTS={os.environ['METTA_EVENTS']}")
        ranks = [state["pid"] for state in self.ranks.values() if state["status"] is None]
        return [*carrying(*marks), *ranks, -self.leader]

    def _keep(self, data: bytes) -> None:
        """Write to the log. A full disk ends the log, not the group."""
        try:
            while self._log is not None and data:
                data = data[self._log.write(data) or 0 :]
        except OSError as error:
            sys.stderr.write(f"agent: the log of {self.id} ends here: {error}\n")
            self._close_log()

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
        self._log = None

    def _stop_reading(self) -> None:
        if self._transport is not None:
            self._transport.close()
