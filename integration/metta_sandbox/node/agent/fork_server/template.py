"""A process that has imported torch once, and forks what needs it on a node.

Each node of each scenario has a warm server of its own, which is forked from here (see ``server``),
and so is its rollout (see ``proxy``). Nothing of a scenario ever runs here: a request brings
environment, folder and output, and all that follows happens in the fork. So what a scenario does to
its processes, the next can't see.

A server that is forked must be what one that is started would be. What modules remember of the
folder in which they were imported is put right in the fork; if that can't be done, or something
else is in the way, nobody is served, and servers are started.
"""

import gc
import os
import resource
import select
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Set

from metta_sandbox.node.agent.fork_server.environ_block import write as let_others_see
from metta_sandbox.node.agent.fork_server.environ_block import write_command as let_others_read
from metta_sandbox.node.agent.fork_server.import_paths import Place, places
from metta_sandbox.node.agent.fork_server.rank import become_rank
from metta_sandbox.node.agent.fork_server.server import (
    STREAMS,
    import_all,
    listen,
    receive,
    serve_when_imported,
    step_aside,
    unforkable,
)
from metta_sandbox.node.agent.fork_server.spawn import bundled_of, misfit, programs_of
from metta_sandbox.node.agent.processes import adopt_orphans, children, dying_with_this, kill_all
from metta_sandbox.node.agent.wire import encode, native

#: What a program waits for, of what a template imports; trainers need more.
BEFORE_PROGRAMS = frozenset({"torch", "torch.distributed"})
#: By these a process is found as its stack's, its node's and its group's.
MARKS = ("METTA_STACK", "METTA_GROUP", "METTA_EVENTS", "METTA_NODE")


def serve(
    address: str, wanted: List[str], programs: List[str], bundled: List[str], own: bool
) -> NoReturn:
    """Import, then fork a warm server or a program for each request, until killed.

    Args:
        address: Path of the socket to listen on.
        wanted: Modules that are imported if they are there. Programs are forked once those of
            ``BEFORE_PROGRAMS`` are, where this is one node's own.
        programs: Modules of programs alone, which no trainer may find imported: a fork imports
            them, and serves programs at ``programs_of(address)``. None: there is no such fork.
        bundled: The same for the trainer that comes with the sandbox, at ``bundled_of(address)``.
        own: Whether it is a node's own, and what it forks has its folders. Else it stands in a
            home of its own, unless it stands where its forks do.

    """
    adopt_orphans()
    about: Dict[str, Any] = {
        "fixed": "",
        "interpreter": sys.executable,
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
    }
    template = _Template(listen(address), about, step_aside())
    forks = [
        _Fork(listen(place(address)), modules)
        for place, modules in ((programs_of, programs), (bundled_of, bundled))
        if modules
    ]
    _import(template, wanted, forks, own)
    refusal = unforkable()
    gc.collect()
    if about["cwd"] == about["environ"]["HOME"] and not own:
        found, fixed = places(about["cwd"])
        template.put_right(found, fixed)
    gc.freeze()
    template.run(refusal)


class _Fork(NamedTuple):
    """A template that is forked from another: where it listens, and what it imports."""

    listener: socket.socket
    modules: List[str]


def _import(template: "_Template", wanted: List[str], forks: List[_Fork], own: bool) -> None:
    """Import what is wanted, or, as a fork, what that imports.

    The first fork is made as soon as a program can start, and any other once all is imported.
    """
    early = forks[:1]
    for name in wanted:
        import_all([], [name])
        if not sys.modules.keys() >= BEFORE_PROGRAMS or unforkable():
            continue
        if early:
            if _go_on(template, early.pop(), forks, own):
                return
        elif own:
            template.fork_programs()
    for fork in forks[1:]:
        if not unforkable() and _go_on(template, fork, forks, own):
            return
    for fork in forks:
        fork.listener.close()


def _go_on(template: "_Template", fork: _Fork, forks: List[_Fork], own: bool) -> bool:
    """Fork; tells whether this is the fork, which has imported what it needs."""
    if not template.fork_template(fork.listener):
        return False
    for other in forks:
        if other is not fork:
            other.listener.close()
    for name in fork.modules:
        import_all([], [name])
        if own:
            template.fork_programs()
    return True


class _Request(NamedTuple):
    """A request: its connection, its message, and the output and error streams sent with it."""

    caller: socket.socket
    message: Dict[str, Any]
    streams: List[int]


class _Template:
    """Forks servers and programs, and ends what they leave behind."""

    def __init__(self, listener: socket.socket, about: Dict[str, Any], kept: List[Any]) -> None:
        self._about = {**about, "refusal": ""}
        self._places: List[Place] = []
        # Our own modules, in which this runs, though nobody may find them.
        self._kept = kept
        self._servers: Set[int] = set()
        # Who waits for a program's end; a program ends with whoever waits for it.
        self._programs: Dict[int, Optional[socket.socket]] = {}
        self._later: List[_Request] = []
        self._begin(listener)

    def _begin(self, listener: socket.socket) -> None:
        self._listener = listener
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def put_right(self, found: List[Place], fixed: List[str]) -> None:
        """Keep the texts that a fork with another home must replace, and tell of those it can't."""
        self._places = found
        self._about["fixed"] = ", ".join(sorted(set(fixed)))

    def fork_programs(self) -> None:
        """Fork the programs that were asked for so far; other requests wait until ``run``."""
        while select.select([self._listener], [], [], 0)[0]:
            asked = self._hear()
            if asked is not None and asked.message["type"] == "run":
                self._take(asked)
            elif asked is not None:
                self._later.append(asked)

    def fork_template(self, listener: socket.socket) -> bool:
        """Fork another template, which listens elsewhere; tells whether this is the fork."""
        with_this = dying_with_this()
        pid = os.fork()
        if pid:
            self._servers.add(pid)
            listener.close()
            return False
        with_this()
        adopt_orphans()
        for asked in self._later:
            for stream in asked.streams:
                os.close(stream)
        others = [one for one in self._programs.values() if one is not None]
        others += [asked.caller for asked in self._later]
        for one in (self._listener, self._wake, self._woken, *others):
            one.close()
        self._servers.clear()
        self._programs.clear()
        self._later.clear()
        self._selector.close()
        self._begin(listener)
        return True

    def run(self, refusal: str) -> NoReturn:
        """Answer, for ever.

        Args:
            refusal: Why nobody is served, or an empty string.

        """
        self._about.update(refusal=refusal, pid=os.getpid())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for request in self._later:
            self._take(request)
        self._later.clear()
        # Of those that were forked before, some may have ended.
        self._reap()
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake:
                    with suppress(BlockingIOError):
                        self._wake.recv(4096)
                    self._reap()
                elif key.fileobj is self._listener:
                    asked = self._hear()
                    if asked is not None:
                        self._take(asked)
                else:
                    self._end_of(key.fileobj)

    def _reap(self) -> None:
        """Take note of who has ended, and kill what a server that was killed left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            self._servers.discard(pid)
            caller = self._programs.pop(pid, None)
            if caller is not None:
                end = os.waitstatus_to_exitcode(status)
                with suppress(OSError):
                    caller.sendall(encode({"status": end}))
                self._leave(caller)
        ours = self._servers.union(self._programs)
        kill_all(lambda: [pid for pid in children() if pid not in ours])

    def _leave(self, caller: socket.socket) -> None:
        self._selector.unregister(caller)
        caller.close()

    def _end_of(self, caller: object) -> None:
        """Kill a program whose end nobody awaits any more."""
        for pid, waiting in self._programs.items():
            if waiting is not None and waiting is caller:
                self._leave(waiting)
                self._programs[pid] = None
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                return

    def _hear(self) -> Optional[_Request]:
        caller, _ = self._listener.accept()
        try:
            message, streams = receive(caller)
        except (OSError, ValueError) as error:
            sys.stderr.write(f"template: {type(error).__name__}: {error}\n")
            message, streams = None, []
        if message is None:
            caller.close()
            return None
        return _Request(caller, message, streams)

    def _take(self, asked: _Request) -> None:
        try:
            self._do(asked)
        except (OSError, LookupError, ValueError) as error:
            sys.stderr.write(f"template: {type(error).__name__}: {error}\n")
        finally:
            for stream in asked.streams:
                os.close(stream)
            if asked.caller not in self._programs.values():
                asked.caller.close()

    def _do(self, asked: _Request) -> None:
        kind = asked.message["type"]
        if kind == "ready":
            asked.caller.sendall(encode(self._about))
        elif len(asked.streams) != STREAMS:
            raise ValueError(f"a request {kind!r} comes with {STREAMS} streams")
        elif kind == "run":
            start, environ = asked.message["interpreter"], asked.message["env"]
            # What runs so is ours, and remembers no folder.
            if reason := misfit(self._about, start, environ, None):
                asked.caller.sendall(encode({"refusal": reason}))
                return
            pid = self._fork(asked, self._become_program)
            self._programs[pid] = asked.caller
            self._selector.register(asked.caller, selectors.EVENT_READ)
            asked.caller.sendall(encode({"refusal": "", "pid": pid}))
        else:
            self._servers.add(self._fork(asked, self._become_server))

    def _fork(
        self, asked: _Request, become: Callable[[socket.socket, Dict[str, Any]], NoReturn]
    ) -> int:
        """Fork; returns the process that goes on, with what a request brings, as something else."""
        with_this = dying_with_this()
        pid = os.fork()
        if pid:
            return pid
        try:
            with_this()
            signal.set_wakeup_fd(-1)
            self._selector.close()
            others = [one for one in self._programs.values() if one is not None]
            for one in (self._listener, self._wake, self._woken, *others):
                one.close()
            os.setsid()
            resource.setrlimit(resource.RLIMIT_NOFILE, asked.message["files"])
            for number, stream in enumerate(asked.streams, 1):
                os.dup2(stream, number)
                os.close(stream)
            told = asked.message["env"].items()
            environ = {native(name): native(value) for name, value in told}
            os.environ.clear()
            os.environ.update(environ)
            let_others_see(environ, MARKS)
            sys.executable = asked.message["interpreter"]
            os.chdir(asked.message["cwd"])
            # What this template tells of itself is put right, too.
            home = self._about["environ"]["HOME"]
            for text, put in self._places:
                put(text.replace(home, environ["HOME"]))
            self._places.clear()
            become(asked.caller, asked.message)
        except BaseException as error:  # noqa: BLE001 - it must never return into the template
            os.write(2, f"warm: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)

    def _become_program(self, caller: socket.socket, request: Dict[str, Any]) -> NoReturn:
        """Go on, in a fork, as a node's rollout."""
        caller.close()
        let_others_read([native(word) for word in request["program"]["command"]])
        become_rank(request["program"])

    def _become_server(self, caller: socket.socket, request: Dict[str, Any]) -> NoReturn:
        """Go on, in a fork, as the warm server of one node."""
        # What its ranks leave behind becomes its child, and ends with it.
        adopt_orphans()
        listener = listen(request["listen"])
        caller.sendall(encode({"type": "listening"}))
        serve_when_imported(listener, request["preload"], [], self._kept, caller)
