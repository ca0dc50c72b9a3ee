"""A process that has already imported what trainers need, and forks each trial's launcher.

``import torch`` is most of what a short trial costs. A warm server pays it once: it imports, waits
on a socket, and forks a launcher for every trial (see ``launcher``), which forks the ranks as
``torchrun`` would start them. The server itself stays without threads, since a fork carries only
the thread that forks, and whatever lock another one holds then stays locked for ever.

It runs in the trainer's interpreter, so it takes nothing of ours into the trainers' modules.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, Dict, List, NoReturn, Optional, Tuple

from metta_sandbox.node.agent.fork_server.launcher import launch_ranks
from metta_sandbox.node.agent.processes import children, dying_with_this, kill_all
from metta_sandbox.node.agent.wire import LineReader, decode, encode

#: More than a request ever has; each line of the protocol comes in one piece or in several.
_CHUNK = 1 << 16
#: Standard output and standard error of whoever asks.
STREAMS = 2


def serve(address: str, preload: List[str], wanted: List[str]) -> NoReturn:
    """Import, then fork a launcher for each request, until killed.

    Args:
        address: Path of the socket to listen on.
        preload: Modules that must be there; one that can't be imported makes every trial cold.
        wanted: Modules that are imported only if they are there.

    """
    listener = listen(address)
    serve_when_imported(listener, preload, wanted, step_aside(), None)


def listen(address: str) -> socket.socket:
    """Listen on a local socket, at a path that may have been used before."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Under its name only once it listens: whoever finds it there is answered.
    early = f"{address}.{os.getpid()}"
    listener.bind(early)
    listener.listen()
    os.rename(early, address)
    return listener


def serve_when_imported(
    listener: socket.socket,
    preload: List[str],
    wanted: List[str],
    kept: List[Any],
    owner: Optional[socket.socket],
) -> NoReturn:
    """Import, then fork a launcher for each request.

    Args:
        listener: Where requests come in.
        preload: See ``serve``.
        wanted: See ``serve``.
        kept: Our own modules, which nobody may find, and which must not be torn down.
        owner: Whoever this process ends with; None if it is somebody's child and ends with that.

    """
    refusal = import_all(preload, wanted) or unforkable()
    gc.collect()
    # What is there now is never looked at again, so that forks share its pages.
    gc.freeze()
    _run(listener, refusal, kept, owner)


def step_aside() -> List[Any]:
    """Leave the interpreter as a trainer finds it: without our modules, and without our path."""
    own = os.path.realpath(sys.argv[0])
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != own]
    names = [name for name in sys.modules if name.split(".")[0] == "metta_sandbox"]
    return [sys.modules.pop(name) for name in names]


def import_all(preload: List[str], wanted: List[str]) -> str:
    """Import; returns why trials can't be warm, or an empty string."""
    for name in (*wanted, *preload):
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - whatever a module does when imported
            if name in preload:
                return f"{name} can't be imported: {type(error).__name__}: {error}"
    return ""


def unforkable() -> str:
    """Say why this process must not be forked, or an empty string."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA was initialised by an import, and does not survive a fork"
    names = []
    for task in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else []:
        if int(task) != os.getpid():
            with open(f"/proc/self/task/{task}/comm") as comm:
                names.append(comm.read().strip())
    if names:
        return f"an import left {len(names)} threads running ({', '.join(sorted(set(names)))})"
    return ""


def _run(
    listener: socket.socket, refusal: str, _kept: List[Any], owner: Optional[socket.socket]
) -> NoReturn:
    """Serve requests for ever: say whether this process is warm, or fork a launcher.

    Our modules are kept, as what runs here is in them.
    """
    # Nobody here waits for a launcher; whoever asked for it hears of its end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if owner is not None:
            _await(listener, owner)
        caller, _ = listener.accept()
        with caller:
            try:
                _answer(
                    caller,
                    [listener, *([] if owner is None else [owner])],
                    refusal,
                )
            except (OSError, LookupError, ValueError) as error:
                sys.stderr.write(f"warm: {type(error).__name__}: {error}\n")


def _await(listener: socket.socket, owner: socket.socket) -> None:
    """Wait for a request; if whoever keeps this process is gone, end with all it has started."""
    ready, _, _ = select.select([listener, owner], [], [])
    if owner in ready:
        kill_all(children)
        os._exit(0)


def _answer(caller: socket.socket, ours: List[socket.socket], refusal: str) -> None:
    """Serve one request, which its sender writes at once and which is short."""
    request, streams = receive(caller)
    try:
        if request is None:
            return
        if request["type"] == "ready":
            caller.sendall(encode({"refusal": refusal}))
        elif len(streams) == STREAMS:
            with_this = dying_with_this()
            if os.fork() == 0:
                for one in ours:
                    one.close()
                with_this()
                _become_launcher(caller, request, streams)
    finally:
        for stream in streams:
            os.close(stream)


def receive(caller: socket.socket) -> Tuple[Optional[Dict[str, Any]], List[int]]:
    """Read one request, None if the caller left before it was whole, and what came with it."""
    reader, streams = LineReader(), []
    while True:
        data, received, _, _ = socket.recv_fds(caller, _CHUNK, STREAMS)
        streams += received
        if not data:
            return None, streams
        for line in reader.feed(data):
            return decode(line), streams


def _become_launcher(
    caller: socket.socket, request: Dict[str, Any], streams: List[int]
) -> NoReturn:
    """Go on, in a fork, as the launcher of one trial."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, stream in enumerate(streams, 1):
            os.dup2(stream, number)
            os.close(stream)
        status = launch_ranks(caller, request)
    except BaseException as error:  # noqa: BLE001 - it must never return into the server
        os.write(2, f"warm: {type(error).__name__}: {error}\n".encode())
    finally:
        with suppress(OSError):
            caller.sendall(encode({"status": status}))
        os._exit(status)
