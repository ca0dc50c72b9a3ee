"""A node's warm server, forked from its run's seed where that gives the same, else started.

The process that the agent starts, signals and waits for; the server ends with it.
"""

import os
import re
import socket
import sys
from typing import Any, Dict, List, Mapping, NoReturn, Tuple

from metta_sandbox.node.agent.warm_client import send_with_output
from metta_sandbox.node.agent.wire import encode, receive_one

#: What trainers mostly import, and what torch imports on the first step of an optimizer.
USUAL = (
    "torch",
    "torch.distributed",
    "torch.nn.parallel",
    "torch.optim",
    "torch._dynamo",
    "torch.utils.data",
)
#: Variables that are read when an interpreter starts or a library is loaded.
_AT_START = re.compile(
    r"(PYTHON|LD_|MALLOC_|GLIBC_|OMP_|GOMP_|KMP_|MKL_|OPENBLAS_|TORCH|NCCL_|GLOO_|CUDA_).*"
    r"|PATH|LANG|LC_.*|TZ"
)
#: Seconds that a seed gets to import.
_PATIENCE = 120.0


def seed_beside(events: str) -> str:
    """Name the socket of a seed that a container has by itself, from its agent's socket."""
    return f"{os.path.splitext(events)[0]}-seed.sock"


def at_start(environ: Mapping[str, str]) -> Dict[str, str]:
    """Pick the variables that a process can't take over later."""
    return {name: value for name, value in sorted(environ.items()) if _AT_START.fullmatch(name)}


def misfit(seed: Mapping[str, Any], interpreter: str, environ: Mapping[str, str], cwd: str) -> str:
    """Say why a server forked from a seed would not be what one that is started is, or nothing.

    Args:
        seed: What the seed says of itself: ``refusal``, ``interpreter``, ``environ``, ``cwd``.
        interpreter: What would be started.
        environ: Its environment.
        cwd: The folder in which it would start.

    """
    if seed["refusal"]:
        return str(seed["refusal"])
    if _place(interpreter) != _place(seed["interpreter"]):
        return f"{interpreter} is another interpreter"
    here, there = at_start(environ), at_start(seed["environ"])
    if other := sorted(name for name in {*here, *there} if here.get(name) != there.get(name)):
        return f"{', '.join(other)} counts at its start"
    home, theirs = environ.get("HOME", ""), seed["environ"].get("HOME", "")
    if seed["cwd"] != theirs:
        # It stands where its forks do, and remembers nothing that would have to be put right.
        same = cwd == seed["cwd"] and all(
            environ.get(name) == seed["environ"].get(name) for name in ("HOME", "TMPDIR")
        )
        if not same:
            return "its folders are none of the container's"
    elif not home or cwd != home or environ.get("TMPDIR") != os.path.join(home, "tmp"):
        return "its home or its folder for temporary files is none of the stack's"
    # An interpreter looks there for packages when it starts.
    return "there are packages in its home" if os.path.isdir(os.path.join(home, ".local")) else ""


def _place(interpreter: str) -> Tuple[str, str]:
    return os.path.dirname(os.path.abspath(interpreter)), os.path.realpath(interpreter)


def sprout(seed: str, listen: str, preload: List[str], start: List[str]) -> int:
    """Have a server forked, and wait for its end; or become one.

    Args:
        seed: Path of the seed's socket.
        listen: Path of the socket that the server listens on.
        preload: Modules that it imports beyond the seed's.
        start: The command that starts a server.

    """
    if not os.path.exists(seed):
        return _start(start)
    try:
        with _dial(seed) as channel:
            channel.settimeout(_PATIENCE)
            channel.sendall(encode({"type": "ready"}))
            reason = misfit(receive_one(channel), start[0], os.environ, os.getcwd())
        if not reason:
            return _have_forked(seed, listen, preload, start[0])
    except OSError as error:
        reason = f"{type(error).__name__}: {error}"
    sys.stderr.write(f"warm: started by itself, as {reason}\n")
    sys.stderr.flush()
    return _start(start)


def _start(command: List[str]) -> NoReturn:
    os.execv(command[0], command)  # noqa: S606 - the words are a list


def _have_forked(seed: str, listen: str, preload: List[str], interpreter: str) -> int:
    """Have a server forked that listens, and wait for its end; returns the exit status."""
    channel = _dial(seed)
    request = {
        "type": "serve",
        "env": dict(os.environ),
        "cwd": os.getcwd(),
        "listen": listen,
        "preload": preload,
        "interpreter": interpreter,
    }
    send_with_output(channel, request)
    channel.settimeout(_PATIENCE)
    receive_one(channel)
    channel.settimeout(None)
    while channel.recv(4096):
        pass
    return 1


def _dial(path: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(path)
    return channel
