"""The process groups of a node: its agent starts, follows, signals and stops them."""

import asyncio
import contextlib
import os
import signal
import time
from typing import Any, Callable, Coroutine, Dict, List, Optional, Set, cast

from metta_sandbox.node.agent.emitters import Channel, Emitters
from metta_sandbox.node.agent.events import Record
from metta_sandbox.node.agent.fork_server.client import WARM
from metta_sandbox.node.agent.fork_server.proxy import Proxies
from metta_sandbox.node.agent.forward import Forwarder, Tail
from metta_sandbox.node.agent.hub.outlet import Outlet
from metta_sandbox.node.agent.messages import Args, Exit, GroupState, RankTold, Started, Verb
from metta_sandbox.node.agent.oom_kills import oom_kills
from metta_sandbox.node.agent.process_group import Group, findable
from metta_sandbox.node.agent.processes import children, kill_all

_POLL = 0.05
#: The group of a command that the agent starts by itself, and ends with.
MAIN = "main"
#: Seconds between SIGTERM and SIGKILL when a group is stopped and nothing else is said.
GRACE = 5.0
#: What a process of this node may ask for; the rest is the harness's.
_LOCAL = frozenset(("start", "signal", "stop", "groups"))
#: The most ranks that are noted of a group.
_RANKS = 128
#: Seconds of silence after which a channel that outlives its process counts as a stranger's.
PATIENCE = 2.0


class Groups:
    """All groups that were started on a node.

    Args:
        local: Path of the agent's socket.
        hub: Leads to the harness, which hears of ranks and of groups' ends.
        emitters: The node's processes that tell events.
        over: Set when the agent is to end, which the end of ``MAIN`` does, too.
        spawn: Runs something beside whoever asks for it.

    """

    def __init__(
        self,
        local: str,
        hub: Outlet,
        emitters: Emitters,
        over: asyncio.Event,
        spawn: Callable[[Coroutine[Any, Any, Any]], None],
    ) -> None:
        self._local = local
        self._hub = hub
        self._emitters = emitters
        self._over = over
        self._spawn = spawn
        self._proxies = Proxies(local)
        self._groups: Dict[str, Group] = {}
        self._owners: Dict[str, Outlet] = {}
        # Groups that no process of this node may start again in the harness's name.
        self._harness: Set[str] = set()
        self._ranks: Dict[Outlet, RankTold] = {}
        self._reaped = asyncio.Event()
        self._oom_kills = oom_kills()
        #: What the agent exits with, as ``MAIN`` has ended.
        self.status = 0

    def __getitem__(self, name: str) -> Group:
        return self._groups[name]

    def states(self) -> List[GroupState]:
        """Describe all of them for the wire."""
        return [group.to_wire() for group in self._groups.values()]

    def owner(self, record: Record) -> Optional[Outlet]:
        """Find the local process that has started the group which an event comes from."""
        return self._owners.get(record.get("group", ""))

    def require_local(self, verb: Verb, args: Args, asker: Outlet) -> None:
        """Refuse what a process of this node may not ask for.

        Raises:
            PermissionError: It may not.

        """
        name = str(args.get("group", ""))
        if verb not in _LOCAL:
            raise PermissionError(f"{verb} is the harness's to ask for")
        if verb == "start" and name in self._harness:
            raise PermissionError(f"{name} is the harness's")
        group = self._groups.get(name) if verb in ("signal", "stop") else None
        if group is not None and not group.over.is_set() and self._owners.get(name) is not asker:
            raise PermissionError(f"{name} is somebody else's")

    # -- their beginning and end ----------------------------------------------------------

    def start(self, args: Args, owner: Optional[Outlet]) -> Started:
        """Start a group.

        Args:
            args: What is asked for.
            owner: The local process that asks, with which the group ends; None for the harness.

        Raises:
            ValueError: A group of that name is running.
            OSError: The command cannot be started.

        """
        name = args["group"]
        if name in self._groups and not self._groups[name].over.is_set():
            raise ValueError(f"group {name} is running")
        environ = {**os.environ, **args["env"], "METTA_EVENTS": self._local, "METTA_GROUP": name}
        command, template = findable(args["command"], environ), args.get("template")
        if template is not None:
            command = self._proxies.standing_for(command, environ, template)
        group = Group(
            name,
            command=command,
            environ=environ,
            cwd=args.get("cwd"),
            log=args.get("log"),
            forwarder=self._forwarder(name, ""),
        )
        self._groups[name] = group
        if owner is not None:
            self._owners[name] = owner
        else:
            self._harness.add(name)
        self._spawn(self._pump(group))
        return {"pid": group.pid}

    async def _pump(self, group: Group) -> None:
        """Carry a group's output until it has ended, then tell of its end."""
        await group.pump()

        def mine(channel: Channel) -> bool:
            return channel.group == group.id

        # What its processes emitted comes before its end, however slow the harness is.
        await self._hub.room()
        await self._emitters.end_of(mine, PATIENCE)
        end = cast(Exit, {"type": "exit", **group.to_wire(), "ending": self._over.is_set()})
        try:
            self._hub.report(end)
        except ValueError:
            self._hub.report({**end, "command": [], "ranks": []})
        owner = self._owners.pop(group.id, None)
        if owner is not None:
            owner.send(end)
        group.over.set()
        if group.id == MAIN and not self._over.is_set():
            # By itself; how it ends when it is told to is nobody's business.
            status = group.status or 0
            self.status = 128 - status if status < 0 else status
            self._over.set()

    async def stop(self, name: str, grace: float) -> GroupState:
        """Have a group end, and kill what is left of it.

        Args:
            name: The group's.
            grace: Seconds between SIGTERM and SIGKILL.

        Raises:
            asyncio.TimeoutError: It is there even after ``GRACE`` seconds more.

        """
        group = self._groups[name]
        if not group.over.is_set():
            try:
                group.signal(signal.SIGTERM)
                await asyncio.wait_for(group.over.wait(), grace)
            except (asyncio.TimeoutError, ProcessLookupError):
                group.kill()
                await asyncio.wait_for(group.over.wait(), GRACE)
        return group.to_wire()

    async def stop_all(self, but: str = "") -> None:
        """Stop all groups that live, but for one."""
        groups = self._groups.items()
        live = [name for name, group in groups if name != but and not group.over.is_set()]
        await asyncio.gather(*(self.stop(name, 1.0) for name in live), return_exceptions=True)

    def that_get_notice(self) -> List[Group]:
        """List the live groups that end on notice: not what ranks are forked from."""
        told = [group for name, group in self._groups.items() if not name.startswith(WARM)]
        return [group for group in told if not group.over.is_set()]

    async def end_strays(self) -> None:
        """Kill what left its group and its environment's mark behind, and so became our child."""
        deadline = time.monotonic() + PATIENCE
        while children() and time.monotonic() < deadline:
            self._reaped.clear()
            kill_all(children)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._reaped.wait(), _POLL)

    def reap(self) -> None:
        """Take note of children that have ended."""
        by_pid = {group.leader: group for group in self._groups.values() if group.status is None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in by_pid:
                by_pid[pid].ended(os.waitstatus_to_exitcode(status))
        self._reaped.set()

    def leave(self, outlet: Outlet) -> List[str]:
        """Forget a local process that has gone, and kill its rank; list the groups it started."""
        rank = self._ranks.pop(outlet, None)
        if rank is not None:
            # Its wrapper was killed, and so is what that wrapped.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(rank["pid"], signal.SIGKILL)
            self._note(cast(RankTold, {**rank, "type": "rank-exited", "status": -signal.SIGKILL}))
        left = [name for name, owner in self._owners.items() if owner is outlet]
        for name in left:
            del self._owners[name]
        return left

    # -- their ranks and output -----------------------------------------------------------

    def note_start(self, message: RankTold, outlet: Outlet) -> None:
        """Take in that a rank was started."""
        self._ranks[outlet] = message
        self._note(message)

    async def note_end(self, message: RankTold, outlet: Outlet) -> None:
        """Take in that a rank has ended, once all is heard that it told."""
        self._ranks.pop(outlet, None)
        pid = message["pid"]
        await self._emitters.end_of(lambda channel: channel.pid == pid, PATIENCE)
        self._note(message)
        outlet.send({"type": "noted"})

    def _note(self, message: RankTold) -> None:
        group = self._groups.get(message["group"])
        place = message["local_rank"]
        if group is None or (len(group.ranks) >= _RANKS and place not in group.ranks):
            return
        group.ranks[place] = {
            "rank": message["rank"],
            "local_rank": place,
            "pid": message["pid"],
            "status": message.get("status"),
            "log": message["log"],
        }
        if message.get("status") == -signal.SIGKILL:
            killed, self._oom_kills = self._oom_kills, oom_kills()
            message["out_of_memory"] = (self._oom_kills or 0) > (killed or 0)
        start = message.pop("start", 0)
        log = message["log"]
        if log not in group.tails:
            prefix = f"[rank {message['rank']}] "
            forwarder = self._forwarder(f"rank-{message['rank']}", prefix)
            group.tails[log] = Tail(log, forwarder, start)
        self._hub.report({**message, "wall": time.time(), "mono": time.monotonic()})

    def _forwarder(self, source: str, prefix: str) -> Forwarder:
        hub = self._hub
        return Forwarder(source, prefix, hub.send, lambda: hub.full, self._emitters.take_printed)

    async def follow_files(self) -> None:
        """Forward what is written to the logs of ranks, for ever."""
        while True:
            for group in list(self._groups.values()):
                if group.status is None:
                    for tail in list(group.tails.values()):
                        tail.poll()
            await asyncio.sleep(_POLL)
