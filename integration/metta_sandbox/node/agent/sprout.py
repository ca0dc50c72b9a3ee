"""A node's warm server, forked from a seed where that gives the same, else started.

The process that the agent starts, signals and waits for; the server ends with it.
"""

import os
import re
import socket
import sys
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Sequence, Tuple

from metta_sandbox.node.agent.warm_client import about, send_with_output
from metta_sandbox.node.agent.wire import own_bounds, own_environ, receive_one

#: What trainers mostly import, and what torch imports on the first step of an optimizer.
USUAL = (
    "torch",
    "torch.distributed",
    "torch.nn.parallel",
    "torch.optim",
    "torch._dynamo",
    "torch.utils.data",
)
#: What a rollout imports beyond that; the first node's leads, suggests and tracks.
_ROLLOUT = ("metta_sandbox.node.rollout",)
_LEADS = ("metta_sandbox.sweep.protein", "metta_sandbox.sweep.model")
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


def seeds_of(events: str, index: str) -> Tuple[str, str]:
    """Name the sockets of the seeds that a node may have: its own, and its run's.

    Args:
        events: Path of its agent's socket.
        index: Its index in its stack. Two nodes share no seed, as two interpreters never share
            what is drawn when they start, such as the order of sets.

    """
    shared = os.path.dirname(os.path.dirname(events))
    return seed_beside(events), os.path.join(shared, f"seed-{index}", "socket")


def rollout_of(index: int) -> Tuple[str, ...]:
    """List the modules that the rollout of a node imports beyond the usual, by the node's index."""
    return (*_ROLLOUT, *_LEADS) if index == 0 else _ROLLOUT


def programs_of(seed: str) -> str:
    """Name the socket of the seed of programs that is forked from a seed."""
    return f"{seed}-programs"


def seed_command(
    interpreter: str, app: str, address: str, *, programs: Sequence[str] = (), own: bool = False
) -> List[str]:
    """Build the command that starts a seed; see ``seed.serve``."""
    return [
        *(interpreter, app, "seed", f"--listen={address}"),
        *(f"--preload-if-there={module}" for module in USUAL),
        *(f"--for-programs={module}" for module in programs),
        *(["--own"] if own else []),
    ]


def at_start(environ: Mapping[str, str]) -> Dict[str, str]:
    """Pick the variables that a process can't take over later."""
    return {name: value for name, value in sorted(environ.items()) if _AT_START.fullmatch(name)}


def misfit(
    seed: Mapping[str, Any], interpreter: str, environ: Mapping[str, str], cwd: Optional[str]
) -> str:
    """Say why what a seed forks would not be what one that is started is, or nothing.

    Args:
        seed: What the seed says of itself: ``refusal``, ``interpreter``, ``environ``, ``cwd``.
        interpreter: What would be started.
        environ: Its environment.
        cwd: The folder in which it would start; None if it does not matter to what it imports.

    """
    if seed["refusal"]:
        return str(seed["refusal"])
    if _place(interpreter) != _place(seed["interpreter"]):
        return f"{interpreter} is another interpreter"
    here, there = at_start(environ), at_start(seed["environ"])
    if other := sorted(name for name in {*here, *there} if here.get(name) != there.get(name)):
        return f"{', '.join(other)} counts at its start"
    return _misplaced(seed, environ, cwd)


def _misplaced(seed: Mapping[str, Any], environ: Mapping[str, str], cwd: Optional[str]) -> str:
    """Say which folder is in the way, if what the seed has imported remembers another."""
    home, theirs = environ.get("HOME", ""), seed["environ"].get("HOME", "")
    temp = environ.get("TMPDIR")
    if cwd in (None, seed["cwd"]) and (home, temp) == (theirs, seed["environ"].get("TMPDIR")):
        # It stands where its forks do.
        return ""
    if seed["cwd"] != theirs:
        return "its folders are none of the seed's"
    if not home or cwd not in (None, home) or temp != os.path.join(home, "tmp"):
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
        start_by_itself(start)
    try:
        reason = misfit(about(seed, _PATIENCE), start[0], os.environ, os.getcwd())
        if not reason:
            return _have_forked(seed, listen, preload, start[0])
    except OSError as error:
        reason = f"{type(error).__name__}: {error}"
    return start_by_itself(start, reason)


def start_by_itself(command: List[str], reason: str = "") -> NoReturn:
    """Become what would have been forked.

    Args:
        command: Its program and arguments.
        reason: Why no seed has forked it, if there is one that might have.

    """
    if reason:
        sys.stderr.write(f"warm: started by itself, as {reason}\n")
        sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - the words are a list


def _have_forked(seed: str, listen: str, preload: List[str], interpreter: str) -> int:
    """Have a server forked that listens, and wait for its end; returns the exit status."""
    channel = dial(seed)
    request = {
        "type": "serve",
        "env": own_environ(),
        "files": own_bounds(),
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


def dial(path: str) -> socket.socket:
    """Connect to a local socket, such as a seed's.

    Raises:
        OSError: Nobody listens there.

    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(path)
    return channel
