"""A node's warm server, forked from a template where that gives the same, else started.

The process that the agent starts, signals and waits for; the server ends with it.
"""

import os
import re
import sys
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Sequence, Tuple

from metta_sandbox.node.agent.fork_server.client import about, send_with_output
from metta_sandbox.node.agent.own_environment import path_without
from metta_sandbox.node.agent.wire import dial, own_bounds, own_environ, receive_one

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
#: The same, of what remembers the folder in which it was imported; the last two as the first run
#: begins and as the first one is scored.
_LEADS_THERE = ("wandb", "wandb.apis.public", "metta_sandbox.node.arena.evaluate")
#: What the trainer that comes with the sandbox imports.
BUNDLED = ("metta_sandbox.node.arena.train", "metta_sandbox.node.arena.world")
#: Variables that are read when an interpreter starts or a library is loaded.
_AT_START = re.compile(
    r"(PYTHON|LD_|MALLOC_|GLIBC_|OMP_|GOMP_|KMP_|MKL_|OPENBLAS_|TORCH|NCCL_|GLOO_|CUDA_).*"
    r"|PATH|LANG|LC_.*|TZ"
)
#: Seconds that a template gets to import.
_PATIENCE = 120.0


def template_beside(events: str) -> str:
    """Name the socket of a template that a container has by itself, from its agent's socket."""
    return f"{os.path.splitext(events)[0]}-template.sock"


def templates_of(events: str, index: str) -> Tuple[str, str]:
    """Name the sockets of the templates that a node may have: its own, and its run's.

    Args:
        events: Path of its agent's socket.
        index: Its index in its stack. Two nodes share no template, as two interpreters never share
            what is drawn when they start, such as the order of sets.

    """
    shared = os.path.dirname(os.path.dirname(events))
    return template_beside(events), os.path.join(shared, f"template-{index}", "socket")


def rollout_of(index: int, *, there: bool) -> Tuple[str, ...]:
    """List the modules that the rollout of a node imports beyond the usual.

    Args:
        index: The node's index.
        there: Whether it runs in the folders in which they are imported.

    """
    if index:
        return _ROLLOUT
    return (*_ROLLOUT, *_LEADS, *(_LEADS_THERE if there else ()))


def programs_of(template: str) -> str:
    """Name the socket of the template of programs that is forked from a template."""
    return f"{template}-programs"


def bundled_of(template: str) -> str:
    """Name the socket of the template of bundled trainers that is forked from a template."""
    return f"{template}-bundled"


def forked_for(preload: Sequence[str], template: str) -> str:
    """Choose the template from which trainers are forked that import this beyond the usual."""
    bundled = bundled_of(template)
    return bundled if tuple(preload) == BUNDLED and os.path.exists(bundled) else template


def template_command(
    interpreter: str,
    app: str,
    address: str,
    *,
    programs: Sequence[str] = (),
    bundled: Sequence[str] = (),
    own: bool = False,
) -> List[str]:
    """Build the command that starts a template; see ``template.serve``."""
    return [
        *(interpreter, app, "template", f"--listen={address}"),
        *(f"--preload-if-there={module}" for module in USUAL),
        *(f"--for-programs={module}" for module in programs),
        *(f"--for-bundled={module}" for module in bundled),
        *(["--own"] if own else []),
    ]


def at_start(environ: Mapping[str, str]) -> Dict[str, str]:
    """Pick the variables that a process can't take over later."""
    found = {name: value for name, value in sorted(environ.items()) if _AT_START.fullmatch(name)}
    if "PATH" in found:
        # Each node has a folder of its own there, before those that all have.
        found["PATH"] = path_without(environ)
    return found


def misfit(
    template: Mapping[str, Any], interpreter: str, environ: Mapping[str, str], cwd: Optional[str]
) -> str:
    """Say why what a template forks would not be what one that is started is, or nothing.

    Args:
        template: What it says of itself: ``refusal``, ``fixed``, ``interpreter``,
            ``environ``, ``cwd``.
        interpreter: What would be started.
        environ: Its environment.
        cwd: The folder in which it would start; None if it does not matter to what it imports.

    """
    if template["refusal"]:
        return str(template["refusal"])
    if _place(interpreter) != _place(template["interpreter"]):
        return f"{interpreter} is another interpreter"
    here, there = at_start(environ), at_start(template["environ"])
    if other := sorted(name for name in {*here, *there} if here.get(name) != there.get(name)):
        return f"{', '.join(other)} counts at its start"
    return _misplaced(template, environ, cwd)


def _misplaced(template: Mapping[str, Any], environ: Mapping[str, str], cwd: Optional[str]) -> str:
    """Say which folder is in the way, if what the template has imported remembers another."""
    home, theirs = environ.get("HOME", ""), template["environ"].get("HOME", "")
    temp = environ.get("TMPDIR")
    if cwd in (None, template["cwd"]) and (home, temp) == (
        theirs,
        template["environ"].get("TMPDIR"),
    ):
        # It stands where its forks do.
        return ""
    if template["fixed"]:
        return f"imports remember where they ran: {template['fixed']}"
    if template["cwd"] != theirs:
        return "its folders are none of the template's"
    if not home or cwd not in (None, home) or temp != os.path.join(home, "tmp"):
        return "its home or its folder for temporary files is none of the stack's"
    # An interpreter looks there for packages when it starts.
    return "there are packages in its home" if os.path.isdir(os.path.join(home, ".local")) else ""


def _place(interpreter: str) -> Tuple[str, str]:
    return os.path.dirname(os.path.abspath(interpreter)), os.path.realpath(interpreter)


def spawn(template: str, listen: str, preload: List[str], start: List[str]) -> int:
    """Have a template fork a warm server and wait for its end, or else become the server.

    Args:
        template: Path of the template's socket.
        listen: Path of the socket that the server listens on.
        preload: Modules that it imports beyond the template's.
        start: The command that starts a server.

    """
    if not os.path.exists(template):
        start_by_itself(start)
    try:
        reason = misfit(about(template, _PATIENCE), start[0], os.environ, os.getcwd())
        if not reason:
            return _have_forked(template, listen, preload, start[0])
    except OSError as error:
        reason = f"{type(error).__name__}: {error}"
    return start_by_itself(start, reason)


def start_by_itself(command: List[str], reason: str = "") -> NoReturn:
    """Replace this process by the command that a template would have forked.

    Args:
        command: Its program and arguments.
        reason: Why no template has forked it, if there is one that might have.

    """
    if reason:
        sys.stderr.write(f"warm: started by itself, as {reason}\n")
        sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - the words are a list


def _have_forked(template: str, listen: str, preload: List[str], interpreter: str) -> int:
    """Have a server forked that listens, and wait for its end; returns the exit status."""
    channel = dial(template)
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
