"""An engine that is none of ours: plain subprocesses, added without a change anywhere else."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.node.agent.hub.admission import HARNESS
from metta_sandbox.play.options import Options
from metta_sandbox.play.run import run
from metta_sandbox.play.standing import up
from metta_sandbox.ports import HeldPort
from metta_sandbox.progress import Progress
from metta_sandbox.report import results
from metta_sandbox.report.console import Reporter
from metta_sandbox.scenario.faults.nodes import RUNS
from metta_sandbox.scenario.names import API
from metta_sandbox.stack.agent_app import install, place
from metta_sandbox.stack.ends import describe_end
from metta_sandbox.stack.engines import ENGINES
from metta_sandbox.stack.engines.base import HUB, Engine, NodePower, Stack, StackPlan
from metta_sandbox.stack.link import HubLink
from metta_sandbox.stack.marks import RUN_MARK
from metta_sandbox.stack.node_environment import NodeSpec, node_environment

BASIC = Path(__file__).parents[4] / "scenarios" / "basic.yaml"
HERE = "127.0.0.1"


class PlainPower(NodePower):
    """What signals do: all on a node is not known, so only its first process is struck."""

    def __init__(self, stack: PlainStack) -> None:
        super().__init__(stack)
        self.nodes = stack.processes

    def signal(self, host: str, number: int) -> None:
        self.nodes[host].send_signal(number)

    def freeze(self, host: str) -> None:
        self.signal(host, signal.SIGSTOP)

    def thaw(self, host: str) -> None:
        self.signal(host, signal.SIGCONT)

    def state(self, host: str) -> str:
        status = self.nodes[host].poll()
        return RUNS if status is None else describe_end(status)


class PlainStack(Stack):
    """Nodes as subprocesses, all at one address."""

    def __init__(self, plan: StackPlan) -> None:
        super().__init__(plan)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="plain-", dir="/tmp"))
        self.port = 0
        self.keys = {each: secrets.token_hex(16) for each in (HARNESS, API, *plan.hosts)}

    @property
    def python(self) -> str:
        return sys.executable

    def preview(self) -> dict[str, Any]:
        folder = self.working_folder()
        nodes = {
            host: {"folder": folder, "environment": self.environment(host), "mounts": {}}
            for host in self._plan.hosts
        }
        return {"nodes": nodes}

    def environment(self, host: str) -> dict[str, str]:
        plan = self._plan
        bins = os.pathsep.join([str(Path(self.python).parent), os.environ["PATH"]])
        own = {
            "PATH": bins,
            "HOME": str(self.folder),
            "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
            RUN_MARK: f"{plan.run}/{plan.scenario}",
            "METTA_NODE": host,
        }
        if host not in plan.hosts:
            return own
        node = NodeSpec(
            host=host,
            rank=plan.hosts.index(host),
            num_nodes=len(plan.hosts),
            master_addr=HERE,
            master_port=self.port,
            task=f"{plan.run}-{plan.scenario}",
            run_folder=str(plan.run_folder),
            agent=str(place(self.folder)),
            events=self.socket(host),
            scenario=str(plan.scenario_file),
        )
        return {**own, **node_environment(node), **plan.env}

    def socket(self, host: str) -> str:
        return str(self.folder / f"{host}.sock")

    def up(self, progress: Progress) -> None:
        progress("starting plain processes")
        for name in ("logs", "api"):
            (self._plan.folder / name).mkdir(parents=True, exist_ok=True)
        install(self.folder)
        with HeldPort() as port:
            self.port = port.number
            names = [f"--node={host}" for host in self.keys if host != HARNESS]
            words = ["hub", f"--listen=unix:{self.socket(HUB)}", *names]
            self.start(HUB, words, json.dumps(self.keys), port.descriptors)
        api = [self.python, "-m", "metta_sandbox.api", f"--host={HERE}", "--observatory-port=0"]
        self.start_agent(API, "--", *api, "--cogweb-port=0", f"--data={self._plan.folder / 'api'}")
        for host in self._plan.hosts:
            self.start_agent(host)

    def start_agent(self, host: str, *command: str) -> None:
        hub, local = f"--hub=unix:{self.socket(HUB)}", f"--local={self.socket(host)}"
        words = ["agent", f"--node={host}", hub, local, f"--address={HERE}", *command]
        self.start(host, words, self.keys[host])

    def start(self, host: str, words: list[str], told: str, kept: Iterable[int] = ()) -> None:
        with (self._plan.folder / "logs" / f"{host}.log").open("ab") as log:
            self.processes[host] = process = subprocess.Popen(
                [self.python, str(place(self.folder)), *words],
                cwd=self.folder,
                env=self.environment(host),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(kept),
            )
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(f"{told}\n".encode())

    def start_again(self, host: str) -> None:
        self.start_agent(host)

    def connect(self) -> HubLink:
        relay = [self.python, str(place(self.folder)), "relay", f"--hub=unix:{self.socket(HUB)}"]
        return HubLink(relay, self.keys[HARNESS])

    def service_environment(self, ready: Mapping[str, Any]) -> dict[str, str]:
        return {
            "OBSERVATORY_URL": f"http://{HERE}:{ready['observatory_port']}",
            "COGWEB_URL": f"http://{HERE}:{ready['cogweb_port']}",
        }

    def working_folder(self) -> str:
        return str(self._plan.source or self._plan.run_folder)

    def fallen(self) -> dict[str, str]:
        ends = {host: process.poll() for host, process in self.processes.items()}
        return {host: describe_end(end) for host, end in ends.items() if end is not None}

    def power(self) -> NodePower:
        return PlainPower(self)

    def down(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def describe(self) -> dict[str, Any]:
        return {"python": self.python}


class PlainEngine(Engine):
    name = "plain"
    nodes = "plain processes"

    def lease(self, plan: StackPlan, *_: object) -> Stack:
        LEASED.append(PlainStack(plan))
        return LEASED[-1]


LEASED: list[PlainStack] = []


@pytest.fixture(autouse=True)
def _added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add it, as one line of ours would."""
    monkeypatch.setitem(ENGINES, "plain", PlainEngine)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    LEASED.clear()


def test_it_plays_a_scenario_from_start_to_end(tmp_path: Path) -> None:
    options = Options(paths=(BASIC,), artifacts=tmp_path / "artifacts", engine="plain")

    status = run(options, Reporter(quiet=True))

    result = results.read(tmp_path / "artifacts" / "latest")
    assert (status, result.verdict, result.engine) == (0, "passed", "plain"), result
    (scenario,) = result.scenarios
    assert {check.verdict for check in scenario.checks} == {"passed"}
    assert [trial.status for trial in scenario.trials] == ["completed", "completed"]
    (stack,) = LEASED
    assert set(stack.fallen()) == {HUB, API, "sweep-master", "sweep-worker"}
    assert not stack.folder.exists()


def test_what_it_can_not_do_is_told_by_what_it_has(tmp_path: Path) -> None:
    scenario = tmp_path / "x.yaml"
    scenario.write_text("version: 1\nname: x\nworkload: {image: mine}\n")
    options = Options(paths=(scenario,), artifacts=tmp_path / "artifacts", engine="plain")

    run(options, Reporter(quiet=True))

    (skipped,) = results.read(tmp_path / "artifacts" / "latest").scenarios
    assert skipped.reason == "the engine plain lacks containers (workload.image)"
    with pytest.raises(InputError, match="the engine plain has no standing stacks"):
        up(Options(engine="plain"), print, print)
    assert LEASED == []
