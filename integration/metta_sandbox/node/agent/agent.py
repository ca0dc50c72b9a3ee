"""The agent: the first process of every node, on every engine.

It registers with the hub when it is ready; answers requests of the harness and of local processes,
most of which are about process groups (``groups``); carries events between them; and ends what it
started when the harness is gone. As a container's first process it also reaps orphans.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from typing import Any, Coroutine, List, Optional, Set

from metta_sandbox.node.agent.address import Address
from metta_sandbox.node.agent.disk_space import room
from metta_sandbox.node.agent.emitters import Emitters
from metta_sandbox.node.agent.events import AGENTS_OWN, KnownEvent
from metta_sandbox.node.agent.groups import GRACE, MAIN, PATIENCE, Groups
from metta_sandbox.node.agent.hub.connection import Complaints
from metta_sandbox.node.agent.hub.outlet import LONGEST, Outlet
from metta_sandbox.node.agent.injection.registry import Injectors
from metta_sandbox.node.agent.messages import (
    Args,
    Emitted,
    OfProcess,
    Reply,
    Request,
    ToAgent,
    Verb,
)
from metta_sandbox.node.agent.notice import give_notice
from metta_sandbox.node.agent.processes import (
    adopt_orphans,
    carrying,
    describe,
    dispositions,
)
from metta_sandbox.node.agent.streams import Streams, dial, listen
from metta_sandbox.node.agent.wire import decode, encode

#: Bytes of what a local process says, but for events and requests; and how many are connected.
_SHORT, _CONNECTIONS = 6144, 512


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
        self._connections = 0
        self._complaints = Complaints()
        self._tasks: Set["asyncio.Future[Any]"] = set()

    async def serve(self, patience: float, first: Optional[List[str]] = None) -> int:
        """Register, and work until told to end. Returns the exit status.

        Args:
            patience: Seconds within which the hub must answer.
            first: A command to start at once, as group ``main``; the agent ends with it.

        """
        loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._registered = asyncio.Event()
        #: Seconds that all gets to end, where the node is taken away with notice.
        self._notice: Optional[float] = None
        self._cut = asyncio.Event()
        self._emitters = Emitters()
        self._injectors = Injectors()
        adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._end)
        if os.path.exists(self._local):
            os.unlink(self._local)
        server = await listen(Address(f"unix:{self._local}"), self._connected)
        streams = await self._unless_over(self._dial(patience))
        if streams is None:
            return 0 if self._over.is_set() else 1
        reader, writer = streams
        self._hub = Outlet(writer)
        self._groups = Groups(self._local, self._hub, self._emitters, self._over, self._spawn)
        loop.add_signal_handler(signal.SIGCHLD, self._groups.reap)
        self._register(writer)
        self._registered.set()
        listening = asyncio.ensure_future(self._listen(reader))
        following = asyncio.ensure_future(self._groups.follow_files())
        if first:
            self._groups.start({"group": MAIN, "command": first, "env": {}}, None)
        await self._over.wait()
        if self._notice is not None:
            live = self._groups.that_get_notice()
            await give_notice(live, self._notice, self._cut, self._tell)
        await self._groups.stop_all()
        await self._groups.end_strays()
        following.cancel()
        listening.cancel()
        server.close()
        if self._tasks:
            # Whoever asked for an end hears of it.
            await asyncio.wait(self._tasks, timeout=PATIENCE)
        await self._hub.finish(PATIENCE)
        return self._groups.status

    async def _unless_over(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await some work; returns None if the agent is told to end before that is done."""
        working = asyncio.ensure_future(work)
        over = asyncio.ensure_future(self._over.wait())
        await asyncio.wait({working, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if working.done():
            return working.result()
        working.cancel()
        return None

    async def _dial(self, patience: float) -> Optional[Streams]:
        deadline = time.monotonic() + patience
        while True:
            try:
                return await dial(self._hub_address)
            except OSError as error:
                # The hub's container may start after this one; its name may not resolve yet.
                if time.monotonic() > deadline:
                    sys.stderr.write(f"agent: no hub within {patience:g} s: {error}\n")
                    return None
                await asyncio.sleep(0.02)

    def _register(self, writer: asyncio.StreamWriter) -> None:
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
                    await self._groups.stop_all(but=MAIN)
                    self._hub.send({"type": "idle"})
        except (ConnectionError, LookupError, ValueError) as error:
            sys.stderr.write(f"agent: hub lost: {error!r}\n")
        finally:
            self._end()

    def _end(self) -> None:
        """Have the agent end once its groups are stopped, and cut short a notice to them."""
        self._cut.set()
        self._over.set()

    # -- from local processes -------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._registered.wait()
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
            for group in self._groups.leave(outlet):
                if self._notice is None:
                    self._spawn(self._groups.stop(group, GRACE))

    def _decode(self, line: bytes) -> OfProcess:
        """Read a message of a local process.

        Raises:
            ValueError: The message is too long, or too many processes are connected.

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
            self._groups.note_start(message, outlet)
        elif message["type"] == "rank-exited":
            await self._groups.note_end(message, outlet)

    async def _take_event(self, message: Emitted, outlet: Outlet) -> None:
        record = message["record"]
        if record["event"] in AGENTS_OWN:
            raise ValueError(f"it says {record['event']}")
        self._emitters.note(outlet, record)
        held = self._emitters.holding(record, message.get("held", ()))
        message = {"type": "event", "held": held, "record": record}
        self._hub.report(message)
        owner = self._groups.owner(record)
        if owner is not None:
            owner.send(message)
            await owner.room()
        # A slow harness slows those who emit, not this process's memory.
        await self._hub.room()

    # -- requests -------------------------------------------------------------------------

    async def _answer(self, message: Request, asker: Outlet, owner: Optional[Outlet]) -> None:
        answer: Reply = {"type": "reply", "id": message.get("id", 0), "ok": False}
        try:
            verb, args = message["verb"], message.get("args", {})
            if owner is not None:
                self._groups.require_local(verb, args, owner)
            answer["result"] = await self._do(verb, args, owner)
            answer["ok"] = True
        except asyncio.TimeoutError:
            answer["error"] = f"still there {GRACE:g} s after SIGKILL"
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            answer["error"] = f"{type(error).__name__}: {error}"
        line = encode(answer)
        if len(line) > LONGEST:
            line = encode({**answer, "ok": False, "result": None, "error": "too long an answer"})
        asker.send_line(line)

    async def _do(self, verb: Verb, args: Args, owner: Optional[Outlet]) -> Any:
        if verb == "start":
            return self._groups.start(args, owner)
        if verb == "signal":
            self._groups[args["group"]].signal(args["signal"], args.get("rank"))
            return None
        if verb == "stop":
            return await self._groups.stop(args["group"], args.get("grace", GRACE))
        if verb == "arm":
            self._emitters.arm(args["arms"])
            return None
        if verb == "order":
            return await self._injectors.order(args["rank"], args["order"], args["within"])
        return self._look(verb, args)

    def _look(self, verb: Verb, args: Args) -> Any:
        if verb == "groups":
            return self._groups.states()
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
        """Send an event of the agent's own, about its node, to the harness."""
        about = {**event.record(), "wall": time.time(), "mono": time.monotonic()}
        self._hub.send({"type": "event", "held": [], "record": about})


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
