"""The agent: the first process of every node, on every engine.

It registers with the hub when it is ready; starts, signals and reaps process groups for the
harness and for local processes; carries events between them; and ends what it started when the
harness is gone. As a container's first process it also reaps orphans.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from typing import Any, Coroutine, Dict, List, Optional, Set, cast

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.disk_space import room
from metta_sandbox.node.agent.emitters import Channel, Emitters
from metta_sandbox.node.agent.events import AGENTS_OWN, KnownEvent
from metta_sandbox.node.agent.fork_server.client import WARM
from metta_sandbox.node.agent.fork_server.proxy import Proxies
from metta_sandbox.node.agent.forward import Forwarder, Tail
from metta_sandbox.node.agent.hub.connection import Complaints
from metta_sandbox.node.agent.hub.outlet import Outlet
from metta_sandbox.node.agent.injection.registry import Injectors
from metta_sandbox.node.agent.messages import (
    Args,
    Emitted,
    Exit,
    GroupState,
    OfAgent,
    OfProcess,
    RankTold,
    Reply,
    Request,
    ToAgent,
    Verb,
)
from metta_sandbox.node.agent.notice import give_notice
from metta_sandbox.node.agent.oom_kills import oom_kills
from metta_sandbox.node.agent.process_group import Group, findable
from metta_sandbox.node.agent.processes import (
    adopt_orphans,
    carrying,
    children,
    describe,
    dispositions,
    kill_all,
)
from metta_sandbox.node.agent.streams import dial, listen
from metta_sandbox.node.agent.wire import LONGEST_LINE, decode, encode

_POLL = 0.05
#: The group of a command that the agent starts by itself, and ends with.
MAIN = "main"
#: Seconds between SIGTERM and SIGKILL when a group is stopped and nothing else is said.
GRACE = 5.0
#: What a process of this node may ask for; the rest is the harness's.
_LOCAL = frozenset(("start", "signal", "stop", "groups"))
#: Bytes of what it says, but for events and requests; its connections; and the ranks of a group.
_SHORT, _CONNECTIONS, _RANKS = 6144, 512, 128
#: Bytes of a message, to which the hub adds a little.
_LONGEST = LONGEST_LINE - 1024
#: Seconds of silence after which a channel that outlives its process counts as a stranger's.
_PATIENCE = 2.0


class Agent:
    """Runs on a node.

    Args:
        node: The node's host name.
        hub: Where the hub listens.
        local: Path of the socket for emitters and clients on this node.
        address: The node's network address; default: the one from which it reaches the hub.
        standing: Stay when the harness leaves.
        key: Proves to the hub that it is this node's, where addresses don't.

    """

    def __init__(
        self,
        node: str,
        hub: Address,
        local: str,
        *,
        address: str = "",
        standing: bool = False,
        key: str = "",
    ) -> None:
        self._node = node
        self._hub_address = hub
        self._local = local
        self._address = address
        self._standing = standing
        self._key = key
        self._proxies = Proxies(local)
        self._groups: Dict[str, Group] = {}
        self._owners: Dict[str, Outlet] = {}
        # Groups that no process of this node may start again in the harness's name.
        self._harness: Set[str] = set()
        self._connections = 0
        self._complaints = Complaints()
        self._ranks: Dict[Outlet, RankTold] = {}
        self._tasks: Set["asyncio.Future[Any]"] = set()

    async def serve(self, patience: float, first: Optional[List[str]] = None) -> int:
        """Register, and work until told to end. Returns the exit status.

        Args:
            patience: Seconds within which the hub must answer.
            first: A command to start at once, as group ``main``; the agent ends with it.

        """
        loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        #: Seconds that all gets to end, where the node is taken away with notice.
        self._notice: Optional[float] = None
        self._cut = asyncio.Event()
        self._status = 0
        self._reaped = asyncio.Event()
        self._emitters = Emitters()
        self._injectors = Injectors()
        self._oom_kills = oom_kills()
        adopt_orphans()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._end)
        if os.path.exists(self._local):
            os.unlink(self._local)
        server = await listen(Address(f"unix:{self._local}"), self._connected)
        reader = await self._unless_over(self._dial(patience))
        if reader is None:
            return 0 if self._over.is_set() else 1
        listening = asyncio.ensure_future(self._listen(reader))
        following = asyncio.ensure_future(self._follow_files())
        if first:
            self._start({"group": MAIN, "command": first, "env": {}}, None)
        await self._over.wait()
        if self._notice is not None:
            # What ranks are forked from must not end before they do.
            told = [each for name, each in self._groups.items() if not name.startswith(WARM)]
            live = [group for group in told if not group.over.is_set()]
            await give_notice(live, self._notice, self._cut, self._tell)
        await self._stop_all()
        await self._end_strays()
        following.cancel()
        listening.cancel()
        server.close()
        if self._tasks:
            # Whoever asked for an end hears of it.
            await asyncio.wait(self._tasks, timeout=_PATIENCE)
        await self._hub.finish(_PATIENCE)
        return self._status

    async def _unless_over(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what work returns, or None if the agent is told to end before."""
        working = asyncio.ensure_future(work)
        over = asyncio.ensure_future(self._over.wait())
        await asyncio.wait({working, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if working.done():
            return working.result()
        working.cancel()
        return None

    async def _dial(self, patience: float) -> Optional[asyncio.StreamReader]:
        deadline = time.monotonic() + patience
        while True:
            try:
                reader, writer = await dial(self._hub_address)
                break
            except OSError as error:
                # The hub's container may start after this one; its name may not resolve yet.
                if time.monotonic() > deadline:
                    sys.stderr.write(f"agent: no hub within {patience:g} s: {error}\n")
                    return None
                await asyncio.sleep(0.02)
        self._hub = Outlet(writer)
        self._hub.send(
            {
                "type": "registered",
                "node": self._node,
                "key": self._key,
                "address": self._address or _own_address(writer),
                "pid": os.getpid(),
                "python": "%d.%d.%d" % sys.version_info[:3],
                "platform": _platform(),
                "mono": time.monotonic(),
                "wall": time.time(),
            }
        )
        return reader

    # -- from the hub ---------------------------------------------------------------------

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            async for line in reader:
                message: ToAgent = decode(line)
                if message["type"] == "request":
                    self._spawn(self._answer(message, self._hub, None))
                elif message["type"] == "ping":
                    self._hub.send({"type": "pong"})
                elif message["type"] == "refused":
                    sys.stderr.write(f"agent: the hub refuses it: {message['reason']}\n")
                    break
                elif message["type"] == "harness-gone":
                    if not self._standing:
                        break
                    # Let what was asked for before begin, so that it is stopped too.
                    await asyncio.sleep(0)
                    self._emitters.arm([])
                    await self._stop_all(but=MAIN)
                    self._hub.send({"type": "idle"})
        except (ConnectionError, LookupError, ValueError) as error:
            sys.stderr.write(f"agent: hub lost: {error!r}\n")
        finally:
            self._end()

    def _end(self) -> None:
        """End as soon as all is stopped; a notice is over."""
        self._cut.set()
        self._over.set()

    # -- from local processes -------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        outlet = Outlet(writer)
        self._connections += 1
        try:
            async for line in reader:
                await self._take(self._decode(line), outlet)
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - whatever it was, it was none of ours
            if text := self._complaints.take(repr(error)):
                sys.stderr.write(f"agent: a local process speaks nonsense: {text}\n")
        finally:
            self._connections -= 1
            outlet.close()
            self._emitters.leave(outlet)
            self._injectors.leave(outlet)
            self._note_lost_rank(outlet)
            for group in [name for name, owner in self._owners.items() if owner is outlet]:
                del self._owners[group]
                if self._notice is None:
                    self._spawn(self._stop(group, GRACE))

    def _decode(self, line: bytes) -> OfProcess:
        """Read what a local process says.

        Raises:
            ValueError: It is too much.

        """
        message: OfProcess = decode(line)
        if len(line) > _SHORT and message["type"] not in ("event", "request"):
            raise ValueError("it says too much at once")
        if self._connections > _CONNECTIONS:
            raise ValueError("too many connections")
        return message

    async def _take(self, message: OfProcess, outlet: Outlet) -> None:
        if message["type"] == "hello":
            self._emitters.enter(outlet, message)
        elif message["type"] == "event":
            await self._take_event(message, outlet)
        elif message["type"] == "request":
            self._spawn(self._answer(message, outlet, outlet))
        elif message["type"] == "injector":
            self._injectors.enter(outlet, message)
        elif message["type"] == "obeyed":
            self._injectors.take(message)
        elif message["type"] == "stands-for":
            self._groups[message["group"]].stood_for = message["pid"]
        elif message["type"] == "rank-started":
            self._ranks[outlet] = message
            self._note_rank(message)
        elif message["type"] == "rank-exited":
            self._ranks.pop(outlet, None)
            pid = message["pid"]
            # What the trainer emitted comes before its end.
            await self._emitters.end_of(lambda channel: channel.pid == pid, _PATIENCE)
            self._note_rank(message)
            outlet.send({"type": "noted"})

    async def _take_event(self, message: Emitted, outlet: Outlet) -> None:
        record = message["record"]
        if record["event"] in AGENTS_OWN:
            raise ValueError(f"it says {record['event']}")
        self._emitters.note(outlet, record)
        held = self._emitters.holding(record, message.get("held", ()))
        message = {"type": "event", "held": held, "record": record}
        self._report(message)
        owner = self._owners.get(record.get("group", ""))
        if owner is not None:
            owner.send(message)
            await owner.room()
        # A slow harness slows those who emit, not this process's memory.
        await self._hub.room()

    def _note_rank(self, message: RankTold) -> None:
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
        self._report({**message, "wall": time.time(), "mono": time.monotonic()})

    def _note_lost_rank(self, outlet: Outlet) -> None:
        """Note the end of a rank whose wrapper was killed: its trainer is killed with it."""
        rank = self._ranks.pop(outlet, None)
        if rank is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(rank["pid"], signal.SIGKILL)
            self._note_rank({**rank, "type": "rank-exited", "status": -signal.SIGKILL})

    # -- requests -------------------------------------------------------------------------

    async def _answer(self, message: Request, asker: Outlet, owner: Optional[Outlet]) -> None:
        answer: Reply = {"type": "reply", "id": message.get("id", 0), "ok": False}
        try:
            verb, args = message["verb"], message.get("args", {})
            if owner is not None:
                self._require_local(verb, args, owner)
            answer["result"] = await self._do(verb, args, owner)
            answer["ok"] = True
        except asyncio.TimeoutError:
            answer["error"] = f"still there {GRACE:g} s after SIGKILL"
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            answer["error"] = f"{type(error).__name__}: {error}"
        line = encode(answer)
        if len(line) > _LONGEST:
            line = encode({**answer, "ok": False, "result": None, "error": "too long an answer"})
        asker.send_line(line)

    def _require_local(self, verb: Verb, args: Args, asker: Outlet) -> None:
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

    def _report(self, message: OfAgent) -> None:
        """Tell the harness something.

        Raises:
            ValueError: It is longer than a message may be.

        """
        line = encode(message)
        if len(line) > _LONGEST:
            raise ValueError(f"{len(line)} bytes are more than a message may have")
        self._hub.send_line(line)

    async def _do(self, verb: Verb, args: Args, owner: Optional[Outlet]) -> Any:
        if verb == "start":
            return self._start(args, owner)
        if verb == "signal":
            self._groups[args["group"]].signal(args["signal"], args.get("rank"))
            return None
        if verb == "stop":
            return await self._stop(args["group"], args.get("grace", GRACE))
        if verb == "arm":
            self._emitters.arm(args["arms"])
            return None
        if verb == "order":
            return await self._injectors.order(args["rank"], args["order"], args["within"])
        return self._look(verb, args)

    def _look(self, verb: Verb, args: Args) -> Any:
        if verb == "groups":
            return [group.to_wire() for group in self._groups.values()]
        if verb == "processes":
            return describe(carrying(f"METTA_EVENTS={self._local}"))
        if verb == "dispositions":
            return dispositions(args["pid"], args["signal"])
        if verb == "room":
            return room(args["folder"])
        if verb == "signal-process":
            os.kill(args["pid"], args["signal"])
            return None
        if verb == "notice":
            self._notice = float(args["grace"])
            self._over.set()
            return None
        raise ValueError(f"unknown verb {verb!r}")

    def _start(self, args: Args, owner: Optional[Outlet]) -> Dict[str, int]:
        name = args["group"]
        if name in self._groups and not self._groups[name].over.is_set():
            raise ValueError(f"group {name} is running")
        environ = {**os.environ, **args["env"], "METTA_EVENTS": self._local, "METTA_GROUP": name}
        command, template = findable(args["command"], environ), args.get("template")
        if template is not None:
            command = self._proxies.standing_for(command, environ, grow=template == "own")
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
        await self._emitters.end_of(mine, _PATIENCE)
        end = cast(Exit, {"type": "exit", **group.to_wire(), "ending": self._over.is_set()})
        try:
            self._report(end)
        except ValueError:
            short = end.copy()
            short["command"], short["ranks"] = [], []
            self._report(short)
        owner = self._owners.pop(group.id, None)
        if owner is not None:
            owner.send(end)
        group.over.set()
        if group.id == MAIN and not self._over.is_set():
            # By itself; how it ends when it is told to is nobody's business.
            self._status = _shell_status(group.status or 0)
            self._over.set()

    async def _stop(self, name: str, grace: float) -> GroupState:
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

    async def _end_strays(self) -> None:
        """Kill what left its group and its environment's mark behind, and so became our child."""
        deadline = time.monotonic() + _PATIENCE
        while children() and time.monotonic() < deadline:
            self._reaped.clear()
            kill_all(children)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._reaped.wait(), _POLL)

    # -- odds -----------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            sys.stderr.write(f"agent: {task.exception()!r}\n")

    def _tell(self, event: KnownEvent) -> None:
        """Tell of the node itself."""
        about = {**event.record(), "wall": time.time(), "mono": time.monotonic()}
        self._hub.send({"type": "event", "held": [], "record": about})

    def _forwarder(self, source: str, prefix: str) -> Forwarder:
        hub = self._hub
        return Forwarder(source, prefix, hub.send, lambda: hub.full, self._emitters.heard)

    async def _follow_files(self) -> None:
        while True:
            for group in list(self._groups.values()):
                if group.status is None:
                    for tail in list(group.tails.values()):
                        tail.poll()
            await asyncio.sleep(_POLL)

    def _reap(self) -> None:
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


def _platform() -> str:
    """Describe the system; ``platform`` would read the whole interpreter to do so."""
    system = os.uname()
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):  # another system's library
        libc = ""
    return " ".join(filter(None, (system.sysname, system.release, system.machine, libc)))


def _own_address(writer: asyncio.StreamWriter) -> str:
    """Return this end's network address; over a local socket, the host name's."""
    name = writer.get_extra_info("sockname")
    if isinstance(name, tuple):
        return str(name[0])
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def _shell_status(status: int) -> int:
    """Turn a negative exit status into one that a process can end with."""
    return 128 - status if status < 0 else status
