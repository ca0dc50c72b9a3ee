"""The launcher for many short trials: ranks are forked from a process that has imported torch.

What a rank sees is what it sees under ``torchrun``, and where that can't be had, ``torchrun``
takes the trial and a line says why. See ``metta_sandbox.node.agent.fork_server`` for the process.

Some variables count when an interpreter starts or when a library is loaded, such as
``PYTHONHASHSEED``, ``OMP_NUM_THREADS`` and ``LD_PRELOAD``: a warm process serves the trials that
have the same ones as itself, and for others there is another.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from metta_sandbox.node.agent.client import AgentClient, AgentError
from metta_sandbox.node.agent.fork_server.client import WARM, ask
from metta_sandbox.node.agent.fork_server.spawn import USUAL, at_start, forked_for, templates_of
from metta_sandbox.node.agent.own_environment import path_of_use
from metta_sandbox.node.launchers.base import GroupSpec, Launcher, WorkerGroup

_PYTHON = re.compile(r"python(3(\.\d+)?)?")
#: Seconds that a warm process gets to import.
_PATIENCE = 120.0
#: Bytes of a word that are sure to be taken by the kernel, which takes 128 KiB.
_LONGEST = 96 * 1024


@dataclass(frozen=True)
class Program:
    """A Python program as it would be started: ``python SCRIPT …`` or ``python -m MODULE …``.

    Args:
        interpreter: Path of the interpreter.
        kind: Whether ``target`` is a script's path or a module's name.
        target: What runs.
        arguments: What it gets as ``sys.argv[1:]``.
        command: The whole command as it was given.
        unbuffered: Whether ``-u`` was.

    """

    interpreter: str
    kind: Literal["script", "module"]
    target: str
    arguments: tuple[str, ...]
    command: tuple[str, ...]
    unbuffered: bool


def read_program(command: Sequence[str], environ: Mapping[str, str]) -> Program | str:
    """Find the Python program in a command, or say why it can't be forked.

    Args:
        command: As a rank would run it.
        environ: Where its interpreter is looked up.

    """
    if not _PYTHON.fullmatch(Path(command[0]).name):
        return f"{command[0]} is no Python interpreter"
    interpreter = shutil.which(command[0], path=path_of_use(environ))
    if interpreter is None:
        return f"{command[0]} is not there"
    words, unbuffered = list(command[1:]), False
    while words and words[0] == "-u":
        unbuffered, words = True, words[1:]
    if words[:1] == ["-m"] and len(words) > 1:
        kind: Literal["script", "module"] = "module"
        words = words[1:]
    elif words and not words[0].startswith("-"):
        kind = "script"
    else:
        given = words[0] if words else "nothing"
        return f"only SCRIPT and -m MODULE can be forked, not {given}"
    if kind == "script" and Path(words[0]).is_dir():
        return f"{words[0]} is a folder"
    return Program(interpreter, kind, words[0], tuple(words[1:]), tuple(command), unbuffered)


class WarmLauncher:
    """Starts trainers as forks of a process that is warm.

    Args:
        client: This process's connection to the agent.
        agent: Path of the agent's zipapp.
        cold: Takes the trials that can't be warm.
        preload: Modules that trainers import, beside ``USUAL``.
        tell: Gets a line when a trial is not warm, and why.

    """

    def __init__(
        self,
        client: AgentClient,
        agent: str,
        *,
        cold: Launcher,
        preload: Sequence[str],
        tell: Callable[[str], None],
    ) -> None:
        self._client = client
        self._agent = agent
        self._cold = cold
        self._preload = tuple(preload)
        self._tell = tell
        self._told: set[str] = set()
        self._servers: dict[tuple[str, str], str] = {}
        self._refusals: dict[str, str] = {}
        self._served: set[str] = set()
        self._started = 0
        # As the node was given it: libraries that are imported later add to a process's own, and
        # the agent, which starts the trainers, knows nothing of that.
        self._environ = dict(os.environ)

    def prepare(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Begin to import what a trial's trainers need, before there is one."""
        environ = {**self._environ, **env}
        program = read_program(command, environ)
        if isinstance(program, Program):
            self._server(program.interpreter, environ)

    def launch(self, spec: GroupSpec) -> WorkerGroup:
        """Start the trainers of one trial on this node."""
        environ = {**self._environ, **spec.env}
        program = read_program(spec.command, environ)
        if isinstance(program, str):
            return self._launch_cold(spec, program)
        server = self._server(program.interpreter, environ)
        refusal = self._refusal(server)
        if refusal and server in self._served:
            # Something has killed it since. Torchrun on this node alone would not do: it does not
            # meet ranks that other nodes have forked.
            self._forget(server)
            server = self._server(program.interpreter, environ)
            refusal = self._refusal(server)
        if refusal:
            return self._launch_cold(spec, refusal)
        self._served.add(server)
        self._client.start(
            spec.group,
            list(ranks_command(spec, program, self._agent, self._socket(server))),
            spec.env,
            None if spec.cwd is None else str(spec.cwd),
            str(spec.launcher_log),
        )
        return WorkerGroup(self._client, spec)

    def _launch_cold(self, spec: GroupSpec, reason: str) -> WorkerGroup:
        if reason not in self._told:
            self._told.add(reason)
            self._tell(f"not warm, so torchrun starts it: {reason}")
        return self._cold.launch(spec)

    def _server(self, interpreter: str, environ: Mapping[str, str]) -> str:
        """Return the group of the warm process for an interpreter and what counts at its start."""
        key = (interpreter, json.dumps(at_start(environ)))
        if key not in self._servers:
            self._started += 1
            name = f"{WARM}{self._started}"
            command = [interpreter, self._agent, "warm", f"--listen={self._socket(name)}"]
            command += [f"--preload-if-there={module}" for module in USUAL]
            command += [f"--preload={module}" for module in self._preload]
            self._servers[key] = name
            self._client.start(name, self._spawning(name, command), dict(environ))
        return self._servers[key]

    def _forget(self, server: str) -> None:
        self._tell("the warm process is gone, so there is another")
        self._servers = {key: name for key, name in self._servers.items() if name != server}

    def _spawning(self, server: str, start: list[str]) -> list[str]:
        """Build what has a server forked from a template, if there is one that suits."""
        own, shared = templates_of(os.environ["METTA_EVENTS"], os.environ.get("NODE_INDEX", ""))
        template = own if Path(own).exists() else shared
        return [
            *(sys.executable, "-I", "-S", self._agent, "spawn"),
            f"--template={forked_for(self._preload, template)}",
            f"--listen={self._socket(server)}",
            *(f"--preload={module}" for module in self._preload),
            "--",
            *start,
        ]

    def _socket(self, server: str) -> str:
        # Beside the node's own, and named after it: local nodes have theirs in one folder.
        own = Path(os.environ["METTA_EVENTS"])
        return str(own.with_name(f"{own.stem}-{server}.sock"))

    def _refusal(self, server: str) -> str:
        """Wait until a process is warm; say why it is not, or nothing."""
        # What has ended says so once.
        if server not in self._refusals and (refusal := self._asked(server)):
            self._refusals[server] = refusal
        return self._refusals.get(server, "")

    def _asked(self, server: str) -> str:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return ask(self._socket(server), max(0.1, deadline - time.monotonic()))
            except OSError as error:
                try:
                    end = self._client.next(server, time.monotonic() + 0.05)
                except AgentError as gone:
                    return str(gone)
                if end is not None and end["type"] == "exit":
                    return f"the warm process ended with status {end['status']}"
                if time.monotonic() > deadline:
                    return f"the warm process does not answer: {error}"


def ranks_command(
    spec: GroupSpec, program: Program, agent: str, address: str, python: str = sys.executable
) -> tuple[str, ...]:
    """Build the command line that has one node's trainers forked.

    Args:
        spec: What to start.
        program: Its command, as read.
        agent: Path of the agent's zipapp.
        address: Path of the warm process's socket.
        python: The interpreter for the process that waits.

    """
    group = {
        "num_nodes": spec.num_nodes,
        "node_rank": spec.node_rank,
        "ranks_per_node": spec.ranks_per_node,
        "master_addr": spec.master_addr,
        "master_port": spec.master_port,
    }
    return (
        *(python, "-I", "-S", agent, "ranks"),
        f"--warm={address}",
        f"--log-folder={spec.log_folder}",
        f"--group={json.dumps(group)}",
        f"--run={_written(json.dumps(asdict(program)), spec)}",
    )


def _written(text: str, spec: GroupSpec) -> str:
    """Give a text, or ``@`` and the path of a file that holds it, where it is long for a word.

    A trainer's words are many, and may be long together though each is short.
    """
    if len(text) < _LONGEST:
        return text
    file = spec.log_folder / f"program-{spec.node_rank}.json"
    file.write_text(text)
    return f"@{file}"
