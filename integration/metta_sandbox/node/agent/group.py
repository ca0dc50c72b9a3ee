"""One process group that an agent started: its processes, its output, its end."""

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any, Dict, List, Mapping, Optional

from metta_sandbox.node.agent.forward import Forwarder, Tail
from metta_sandbox.node.agent.rank import die_with_parent

_PATIENCE = 2.0


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
        self.ranks: Dict[int, Dict[str, Any]] = {}
        self.tails: List[Tail] = []
        self.status: Optional[int] = None
        #: Set when the leader has ended and all output was forwarded.
        self.over = asyncio.Event()
        self._dead = asyncio.Event()
        self._reader = asyncio.StreamReader()
        self._forwarder = forwarder
        self._log = open(log, "ab") if log else None  # noqa: SIM115 - closed by pump
        self.process = subprocess.Popen(
            command,
            env=dict(environ),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    @property
    def pid(self) -> int:
        """The leader's process id, which is the group's and the session's too."""
        return self.process.pid

    async def pump(self) -> None:
        """Carry what the leader and its children print, until all have ended."""
        assert self.process.stdout is not None
        protocol = asyncio.StreamReaderProtocol(self._reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: protocol, self.process.stdout
        )
        while True:
            data = await self._reader.read(65536)
            if not data:
                break
            if self._log is not None:
                self._log.write(data)
                self._log.flush()
            self._forwarder.feed(data)
        transport.close()
        await self._dead.wait()
        for tail in self.tails:
            tail.close()
        self._forwarder.close()
        if self._log is not None:
            self._log.close()

    def ended(self, status: int) -> None:
        """Note that the leader has ended, and end what it left behind."""
        self.status = status
        self.process.returncode = status
        self.kill()
        self._dead.set()
        # A daemon that escaped may hold the pipe open for ever.
        asyncio.get_running_loop().call_later(_PATIENCE, self._reader.feed_eof)

    def signal(self, number: int, rank: Optional[int] = None) -> None:
        """Send a signal to the whole group, or to the trainer of one rank.

        Raises:
            ProcessLookupError: It has ended, or there is no such rank.

        """
        if rank is None:
            os.killpg(self.pid, number)
            return
        for state in self.ranks.values():
            if state["rank"] == rank and state.get("status") is None:
                os.kill(state["pid"], number)
                return
        raise ProcessLookupError(f"no live rank {rank} in group {self.id}")

    def kill(self) -> None:
        """Kill every process of the group, also those that left its session."""
        for pid in [*members(self.id), -self.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def to_wire(self) -> Dict[str, Any]:
        """Describe it for the wire."""
        return {
            "group": self.id,
            "pid": self.pid,
            "command": self.command,
            "status": self.status,
            "ranks": list(self.ranks.values()),
        }


def members(group: str) -> List[int]:
    """Find the processes below this agent that carry the group's mark in their environment.

    A launcher may put its ranks into sessions of their own, so the session alone does not tell.
    Needs ``/proc``; elsewhere nothing is found.
    """
    if sys.platform != "linux":
        return []
    marks = {f"METTA_GROUP={group}".encode(), f"METTA_EVENTS={os.environ['METTA_EVENTS']}".encode()}
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                variables = set(file.read().split(b"\0"))
        except OSError:
            continue
        if marks <= variables:
            found.append(int(name))
    return found
