"""The agent: the first process of every node, on every engine.

It registers with the hub when it is ready; starts, signals and reaps process groups for the
harness and for local processes; carries events between them; and ends what it started when the
harness is gone. As a container's first process it also reaps orphans.
"""

import asyncio
import os
import platform
import signal
import socket
import sys
import time
from typing import Any, Coroutine, Dict, List, Optional, Set

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.forward import Forwarder, Tail
from metta_sandbox.node.agent.group import Group
from metta_sandbox.node.agent.wire import LONGEST_LINE, Arm, decode, encode

_POLL = 0.05
#: The group of a command that the agent starts by itself, and ends with.
MAIN = "main"
#: Seconds between SIGTERM and SIGKILL when a group is stopped and nothing else is said.
GRACE = 5.0


class Agent:
    """Runs on a node.

    Args:
        node: The node's host name.
        hub: Where the hub listens.
        local: Path of the socket for emitters and clients on this node.
        address: The node's network address; found from its host name if not given.
        standing: Stay when the harness leaves.

    """

    def __init__(
        self, node: str, hub: Address, local: str, *, address: str = "", standing: bool = False
    ) -> None:
        self._node = node
        self._hub_address = hub
        self._local = local
        self._address = address
        self._standing = standing
        self._groups: Dict[str, Group] = {}
        self._owners: Dict[str, asyncio.StreamWriter] = {}
        self._emitters: Dict[asyncio.StreamWriter, int] = {}
        self._heard: Set[int] = set()
        self._arms: List[Dict[str, Any]] = []
        self._tasks: Set["asyncio.Future[Any]"] = set()
        self._hub: Optional[asyncio.StreamWriter] = None

    async def serve(self, patience: float, first: Optional[List[str]] = None) -> int:
        """Register, and work until told to end. Returns the exit status.

        Args:
            patience: Seconds within which the hub must answer.
            first: A command to start at once, as group ``main``; the agent ends with it.

        """
        loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._over.set)
        if os.path.exists(self._local):
            os.unlink(self._local)
        server = await asyncio.start_unix_server(self._connected, self._local, limit=LONGEST_LINE)
        reader = await self._dial(patience)
        if reader is None:
            return 1
        following = asyncio.ensure_future(self._follow_files())
        listening = asyncio.ensure_future(self._listen(reader))
        if first:
            self._start({"group": MAIN, "command": first, "env": {}}, None)
        await self._over.wait()
        await self._stop_all()
        following.cancel()
        listening.cancel()
        server.close()
        main = self._groups.get(MAIN)
        return (main.status or 0) if main else 0

    async def _dial(self, patience: float) -> Optional[asyncio.StreamReader]:
        deadline = time.monotonic() + patience
        while True:
            try:
                reader, self._hub = await self._hub_address.open(LONGEST_LINE)
                break
            except OSError as error:
                # The hub's container may start after this one; its name may not resolve yet.
                if time.monotonic() > deadline:
                    sys.stderr.write(f"agent: no hub within {patience:g} s: {error}\n")
                    return None
                await asyncio.sleep(0.02)
        self._send(
            {
                "type": "registered",
                "node": self._node,
                "address": self._address or socket.gethostbyname(socket.gethostname()),
                "pid": os.getpid(),
                "python": platform.python_version(),
                "platform": platform.platform(),
                "mono": time.monotonic(),
                "wall": time.time(),
            }
        )
        return reader

    # -- from the hub ---------------------------------------------------------------------

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            async for line in reader:
                message = decode(line)
                if message["type"] == "request":
                    self._spawn(self._answer(message, None))
                elif message["type"] == "harness-gone":
                    if not self._standing:
                        break
                    await self._stop_all(but=MAIN)
        except (ConnectionError, ValueError) as error:
            sys.stderr.write(f"agent: hub lost: {error}\n")
        self._over.set()

    # -- from local processes -------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                self._take(decode(line), writer)
        except (ConnectionError, ValueError, asyncio.CancelledError):
            pass
        finally:
            self._emitters.pop(writer, None)
            writer.close()
            for group in [name for name, owner in self._owners.items() if owner is writer]:
                del self._owners[group]
                self._spawn(self._stop(group, GRACE))

    def _take(self, message: Dict[str, Any], writer: asyncio.StreamWriter) -> None:
        kind = message["type"]
        if kind == "hello":
            self._emitters[writer] = message["pid"]
            self._heard.add(message["pid"])
            writer.write(encode({"type": "arms", "arms": self._arms}))
        elif kind == "event":
            self._send(message)
            owner = self._owners.get(message["record"].get("group", ""))
            if owner is not None:
                owner.write(encode(message))
        elif kind == "request":
            self._spawn(self._answer(message, writer))
        elif kind in ("rank-started", "rank-exited"):
            self._note_rank(message)

    def _note_rank(self, message: Dict[str, Any]) -> None:
        group = self._groups.get(message["group"])
        if group is None:
            return
        group.ranks[message["local_rank"]] = {
            key: message.get(key) for key in ("rank", "local_rank", "pid", "status", "log")
        }
        if message["type"] == "rank-started":
            source = f"rank-{message['rank']}"
            forwarder = self._forwarder(source, f"[rank {message['rank']}] ")
            group.tails.append(Tail(message["log"], forwarder))
        self._send({**message, "wall": time.time(), "mono": time.monotonic()})

    # -- requests -------------------------------------------------------------------------

    async def _answer(
        self, message: Dict[str, Any], client: Optional[asyncio.StreamWriter]
    ) -> None:
        answer: Dict[str, Any] = {"type": "reply", "id": message["id"]}
        try:
            result = await self._do(message["verb"], message.get("args", {}), client)
            answer.update(ok=True, result=result)
        except (KeyError, OSError, ValueError) as error:
            answer.update(ok=False, error=f"{type(error).__name__}: {error}")
        if client is None:
            self._send(answer)
        else:
            client.write(encode(answer))

    async def _do(
        self, verb: str, args: Dict[str, Any], client: Optional[asyncio.StreamWriter]
    ) -> Any:
        if verb == "start":
            return self._start(args, client)
        if verb == "signal":
            self._groups[args["group"]].signal(args["signal"], args.get("rank"))
            return None
        if verb == "stop":
            return await self._stop(args["group"], args.get("grace", GRACE))
        if verb == "arm":
            self._arms = [Arm.from_wire(arm).to_wire() for arm in args["arms"]]
            for emitter in self._emitters:
                emitter.write(encode({"type": "arms", "arms": self._arms}))
            return None
        if verb == "groups":
            return [group.to_wire() for group in self._groups.values()]
        raise ValueError(f"unknown verb {verb!r}")

    def _start(self, args: Dict[str, Any], client: Optional[asyncio.StreamWriter]) -> Any:
        name = args["group"]
        if name in self._groups and self._groups[name].status is None:
            raise ValueError(f"group {name} is running")
        environ = {**os.environ, **args["env"], "METTA_EVENTS": self._local, "METTA_GROUP": name}
        group = Group(
            name,
            command=args["command"],
            environ=environ,
            cwd=args.get("cwd"),
            log=args.get("log"),
            forwarder=self._forwarder(name, ""),
        )
        self._groups[name] = group
        if client is not None:
            self._owners[name] = client
        self._spawn(self._pump(group))
        return {"pid": group.pid}

    async def _pump(self, group: Group) -> None:
        """Carry a group's output until it has ended, then tell of its end."""
        await group.pump()
        end = {"type": "exit", **group.to_wire()}
        self._send(end)
        owner = self._owners.pop(group.id, None)
        if owner is not None:
            owner.write(encode(end))
        group.over.set()
        if group.id == MAIN:
            self._over.set()

    async def _stop(self, name: str, grace: float) -> Any:
        group = self._groups[name]
        if not group.over.is_set():
            try:
                group.signal(signal.SIGTERM)
                await asyncio.wait_for(group.over.wait(), grace)
            except (asyncio.TimeoutError, ProcessLookupError):
                group.kill()
                await asyncio.wait_for(group.over.wait(), GRACE)
        return group.to_wire()

    async def _stop_all(self, but: str = "") -> None:
        groups = self._groups.items()
        live = [name for name, group in groups if name != but and not group.over.is_set()]
        await asyncio.gather(*(self._stop(name, 1.0) for name in live), return_exceptions=True)

    # -- odds -----------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            sys.stderr.write(f"agent: {task.exception()!r}\n")

    def _forwarder(self, source: str, prefix: str) -> Forwarder:
        return Forwarder(source, prefix, self._send, self._heard.__contains__)

    async def _follow_files(self) -> None:
        while True:
            for group in list(self._groups.values()):
                if group.status is None:
                    for tail in group.tails:
                        tail.poll()
            await asyncio.sleep(_POLL)

    def _reap(self) -> None:
        by_pid = {group.pid: group for group in self._groups.values() if group.status is None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                by_pid[pid].ended(_exit_status(status))

    def _send(self, message: Dict[str, Any]) -> None:
        if self._hub is not None and not self._hub.is_closing():
            self._hub.write(encode(message))


def _exit_status(status: int) -> int:
    """Turn a wait status into an exit status, negative for a signal."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
