"""A stack of local processes: every node and the control plane as processes on this machine.

Each has a home, a temporary folder, a log and a loopback address of its own. What needs a
container (faults on the network, limits) can't be had here.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from metta_sandbox import beneath
from metta_sandbox.interrupt import uninterrupted
from metta_sandbox.last_words import last_words
from metta_sandbox.node.agent import own_environment
from metta_sandbox.node.agent.fork_server.spawn import at_start
from metta_sandbox.node.agent.hub.admission import HARNESS
from metta_sandbox.ports import HeldPort
from metta_sandbox.progress import Progress
from metta_sandbox.scenario.names import API
from metta_sandbox.stack.agent_app import install, place
from metta_sandbox.stack.credentials import (
    Credential,
    memory_folder,
    remove_copies,
    stage_credentials,
    tokens_of,
    watch_copies,
)
from metta_sandbox.stack.ends import describe_end
from metta_sandbox.stack.engines.base import HUB, Stack, StackPlan
from metta_sandbox.stack.engines.process.own_environment import ensure_model, model_of
from metta_sandbox.stack.engines.process.power import ProcessPower
from metta_sandbox.stack.engines.process.templates import Templates
from metta_sandbox.stack.engines.process.trainer_python import (
    ensure_trainer_bin,
    make_user_environment,
)
from metta_sandbox.stack.link import HubLink
from metta_sandbox.stack.marks import RUN_MARK, remove_processes, run_folder
from metta_sandbox.stack.node_environment import NodeSpec, control_plane, node_environment
from metta_sandbox.stack.package_index import (
    answers_folder,
    index_environment,
    make_answers_folder,
    remove_answers,
)
from metta_sandbox.words import many

#: Variables of the caller's that a node keeps; everything else stays outside.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_MARKS = (RUN_MARK, "METTA_NODE", "HOME")
#: Where the harness's own secret of a stack that stands waits for the next command.
_KEY = "harness.key"
#: Bytes of a log in which last words are looked for.
_LAST = 1 << 20
#: A node's variables that count when an interpreter starts are the same for all nodes.
_ANY_NODE = NodeSpec(API, 0, 1, "", 0, "", "", "", "", "")


class ProcessStack(Stack):
    """Nodes as local processes.

    Args:
        plan: What is wanted.
        python: The nodes' interpreter.

    """

    def __init__(self, plan: StackPlan, python: str = sys.executable) -> None:
        super().__init__(plan)
        self._python = python
        self._bins = [str(Path(python).parent)]
        self.folder = run_folder(plan.run) / _short(plan.scenario)
        self._mark = f"{plan.run}/{plan.scenario}"
        self._keys: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, tuple[list[str], Mapping[str, str]]] = {}
        hosts = [*plan.hosts, API]
        found = loopback_addresses(plan.run + plan.scenario, len(hosts))
        self.addresses = dict(zip(hosts, found, strict=True))

    @property
    def python(self) -> str:
        """The nodes' interpreter."""
        return self._python

    def up(self, progress: Progress) -> None:
        """Start hub, control plane and nodes."""
        plan, python = self._plan, self._python
        if plan.provision.requirements:
            required, gpu = plan.provision.requirements, plan.hardware == "gpu"
            if bin_folder := ensure_trainer_bin(self._python, required, progress, gpu=gpu):
                self._bins[:0] = [str(bin_folder)]
                python = str(bin_folder / "python")
        model = ensure_model(python)
        self._bins[:0] = [str(model.commands)]
        (plan.folder / "logs").mkdir(parents=True, exist_ok=True)
        (plan.folder / "api").mkdir(exist_ok=True)
        agent = install(self.folder)
        self._make_keys()
        make_answers_folder(self.answers)
        addresses = self.addresses
        standing = ["--standing"] if plan.standing else []
        names = [f"--node={host}" for host in addresses]
        progress(f"starting {many(len(plan.hosts), 'node')} as local processes")
        with HeldPort() as port:
            # As long as the stack is there, so is its hub, which holds the port where nodes meet.
            hub = [str(agent), "hub", *standing, f"--listen={self.hub}", *names]
            self._start(HUB, hub, {}, port.descriptors)
        credentials = self._credentials()
        tokens = tokens_of(credentials)
        serve = [
            "--",
            self._python,
            "-m",
            "metta_sandbox.services",
            f"--host={addresses[API]}",
            "--observatory-port=0",
            "--cogweb-port=0",
            f"--data={plan.folder / 'api'}",
            "--packages-port=0",
            f"--packages={self.answers}",
            *([f"--tokens={tokens}"] if tokens else []),
            *(["--wandb-port=0"] if plan.wandb else []),
        ]
        self._start_agent(agent, API, addresses[API], {}, serve)
        for rank, host in enumerate(plan.hosts):
            self._give(credentials, host)
            model.make(self.folder / host / own_environment.FOLDER)
            environment = self._node_environment(rank, port.number, agent)
            self._start_agent(agent, host, addresses[host], environment, [])

    def preview(self) -> dict[str, Any]:
        """Say what every node will see, before anything is started."""
        nodes = {}
        commands = str(model_of(self._python).commands)
        bins = self._bins if commands in self._bins else [commands, *self._bins]
        for rank, host in enumerate(self._plan.hosts):
            environment = self._environment(
                host, self._node_environment(rank, 0, place(self.folder)), bins
            )
            nodes[host] = {
                "folder": self.working_folder(),
                "environment": {**environment, "METTA_NODE": host},
                "mounts": {f"~/{each.name}": "a copy" for each in self._plan.credentials},
            }
        return {"nodes": nodes}

    def _node_environment(self, rank: int, port: int, agent: Path) -> dict[str, str]:
        plan = self._plan
        node = NodeSpec(
            host=plan.hosts[rank],
            rank=rank,
            num_nodes=len(plan.hosts),
            master_addr=self.addresses[plan.hosts[0]],
            master_port=port,
            task=plan.task,
            run_folder=str(plan.run_folder),
            agent=str(agent),
            events=self.socket(plan.hosts[rank]),
            scenario=str(plan.scenario_file),
            num_gpus=plan.num_gpus,
            served_wandb=plan.wandb,
            variables=plan.variables,
        )
        return {**node_environment(node), **plan.env}

    def connect(self) -> HubLink:
        """Connect to the hub."""
        agent = install(self.folder)
        relay = [sys.executable, str(agent), "relay", f"--hub={self.hub}"]
        return HubLink(relay, self._keys.get(HARNESS) or self._kept_key())

    def service_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where the control plane is."""
        return control_plane(self.addresses[API], ready)

    @property
    def answers(self) -> Path:
        """Where the harness answers the stack's package index."""
        return answers_folder(self._plan.run, self._plan.scenario)

    def index_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        """Tell the nodes where that is."""
        return index_environment(self.addresses[API], ready.get("packages_port"))

    def working_folder(self) -> str:
        """Return the folder in which commands start on a node."""
        return str(self._plan.source or self._plan.run_folder)

    def fallen(self) -> dict[str, str]:
        """Say of each node and service that has ended how it did, and its last words."""
        ends = {host: process.poll() for host, process in self._processes.items()}
        return {
            host: describe_end(status, last_words(self._end_of(host)))
            for host, status in ends.items()
            if status is not None
        }

    def start_again(self, host: str) -> None:
        """Start a node's agent again; what its home and temporary folder hold is as it was."""
        self._start(host, *self._started[host])

    def power(self) -> ProcessPower:
        """Return what ends, freezes and continues its processes."""
        return ProcessPower(self, self._mark)

    def down(self) -> None:
        """End every process of the stack and remove its folder."""
        for process in self._processes.values():
            process.terminate()
            # One that stands still hears nothing.
            process.send_signal(signal.SIGCONT)
        for process in self._processes.values():
            try:
                process.wait(timeout=8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        remove_processes(self._plan.run, self._plan.scenario)
        shutil.rmtree(self.folder, ignore_errors=True)
        remove_answers(self._plan.run, self._plan.scenario)
        with suppress(OSError):  # another scenario of the run is still there
            self.folder.parent.rmdir()
        if self._plan.credentials:
            remove_copies(self._plan.run, self._plan.scenario)

    def describe(self) -> dict[str, Any]:
        """Return the nodes' interpreter."""
        return {"python": self._python}

    def environment(self, host: str) -> dict[str, str]:
        """Return the environment that a node was started with."""
        environment: dict[str, str] = json.loads((self.folder / f"{host}.json").read_text())
        return environment

    def _make_keys(self) -> None:
        """Give the harness and each host a secret, by which the hub knows them."""
        self._keys = {name: secrets.token_hex(16) for name in (HARNESS, *self.addresses)}
        if self._plan.standing:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / _KEY
            path.touch(0o600)
            path.write_text(self._keys[HARNESS])

    def _kept_key(self) -> str:
        with suppress(OSError):
            return (self.folder / _KEY).read_text()
        return ""

    def _credentials(self) -> tuple[Credential, ...]:
        """Copy credentials, since a link to the caller's own could be written through."""
        plan = self._plan
        if not plan.credentials:
            return ()
        if not plan.standing:
            watch_copies(plan.run)
        return stage_credentials(plan.credentials, memory_folder(plan.run, plan.scenario), None)

    def _give(self, credentials: tuple[Credential, ...], host: str) -> None:
        home = self.folder / host
        home.mkdir(parents=True)
        for each in credentials:
            (home / each.name).symlink_to(each.source)
        for mount in self._plan.provision.own.get(host, ()):
            place = home / mount.target.removeprefix("~/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir():
                place.rmdir()
            place.symlink_to(mount.source)
        if self._plan.provision.writable_python:
            make_user_environment(self._python, home)

    def _log(self, host: str) -> Path:
        return self._plan.folder / "logs" / f"{host}.log"

    def _end_of(self, host: str) -> list[str]:
        """Read the last lines of a log, where a node may have put something else."""
        try:
            said = beneath.read_end(self._plan.folder, self._log(host), _LAST)
        except OSError:
            return []
        return said.decode(errors="replace").splitlines()

    @property
    def hub(self) -> str:
        """The hub's address."""
        return f"unix:{self.folder / 'hub.sock'}"

    def socket(self, host: str) -> str:
        """Return the path of a node's agent's socket."""
        return str(self.folder / f"{host}.sock")

    def _start_agent(
        self, agent: Path, host: str, address: str, env: dict[str, str], command: list[str]
    ) -> None:
        files = self._plan.provision.limits.files
        socket_option = f"--local={self.socket(host)}"
        words = [
            str(agent),
            "agent",
            *(["--standing"] if self._plan.standing else []),
            *([f"--files={files}"] if host in self._plan.hosts else []),
            f"--node={host}",
            f"--hub={self.hub}",
            socket_option,
            f"--address={address}",
            *command,
        ]
        self._start(host, words, {"METTA_NODE": host, **env})

    def _start(
        self,
        host: str,
        words: list[str],
        env: Mapping[str, str],
        descriptors: tuple[int, ...] = (),
    ) -> None:
        (self.folder / host / "tmp").mkdir(parents=True, exist_ok=True)
        environment = self._environment(host, env, self._bins)
        (self.folder / f"{host}.json").write_text(json.dumps(environment))
        self._started[host] = words, env
        app, program, *options = words
        # What it is known by, as nobody else may read its environment.
        marks = [f"--mark={name}={environment[name]}" for name in _MARKS if name in environment]
        with self._log(host).open("ab") as output:
            self._processes[host] = subprocess.Popen(
                [self._python, app, program, *marks, *options],
                cwd=environment["HOME"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=descriptors,
            )
        told = json.dumps(self._keys) if host == HUB else self._keys[host]
        stdin = self._processes[host].stdin
        assert stdin is not None
        with suppress(BrokenPipeError), stdin:  # one that has ended is missed elsewhere
            stdin.write(f"{told}\n".encode())

    def _environment(
        self, host: str, env: Mapping[str, str], bins: Sequence[str]
    ) -> dict[str, str]:
        home, own = self.folder / host, {}
        if host in self._plan.hosts:
            bins = [own_environment.bin_folder(str(home)), *bins]
            own = {"VIRTUAL_ENV": str(home / own_environment.FOLDER)}
        return {
            **local_environment(bins, home),
            **own,
            RUN_MARK: self._mark,
            **env,
        }


def local_environment(bins: Sequence[str], home: Path) -> dict[str, str]:
    """Build what every process of a node sees, whichever node it is.

    Args:
        bins: Folders of programs that come before the caller's.
        home: The node's home.

    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        # As in a container, `python` is the nodes', or the trainer's own.
        "PATH": os.pathsep.join([*bins, kept.get("PATH", os.defpath)]),
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def with_templates(run: str, python: str, nodes: int) -> Iterator[None]:
    """Let the warm servers of a run's nodes be forked from processes that the run has but once.

    Args:
        run: The run's id.
        python: The nodes' interpreter.
        nodes: Of how many nodes of each stack.

    """
    environment = {
        **local_environment(
            [str(ensure_model(python).commands), str(Path(python).parent)], run_folder(run)
        ),
        **at_start(node_environment(_ANY_NODE)),
        RUN_MARK: f"{run}/templates",
    }
    templates = Templates(run_folder(run), python, environment)
    try:
        templates.start(nodes)
        yield
    finally:
        with uninterrupted():
            templates.stop()


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def loopback_addresses(key: str, count: int) -> list[str]:
    """Choose a loopback address for each of ``count`` hosts, by a key that tells stacks apart.

    Where the machine has only 127.0.0.1 (macOS), every host gets that one.
    """
    digest = hashlib.sha256(key.encode()).digest()
    network = f"127.{1 + digest[0] % 254}.{digest[1]}"
    addresses = [f"{network}.{number}" for number in range(2, count + 2)]
    try:
        with socket.socket() as probe:
            probe.bind((addresses[0], 0))
    except OSError:
        return ["127.0.0.1"] * count
    return addresses
