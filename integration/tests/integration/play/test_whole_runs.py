"""A scenario that passes, on each engine: what it leaves, and that it comes out the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from python_on_whales import Container, DockerClient
from python_on_whales.components.container.models import ContainerHostConfig

from metta_sandbox.scenario.loading import load
from metta_sandbox.timeline.recording import render

if TYPE_CHECKING:
    from tests.integration.play.conftest import Command, Start, Write

HOSTS = ("sweep-master", "sweep-worker", "dummy-api")
TRIALS = 2

#: Run on a node: who it runs as, what it may do, and whether it gets out to an address and port.
PROBE = """\
import json, os, re, socket, sys
status = open("/proc/self/status").read()
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)
    reached = True
except OSError:
    reached = False
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "capabilities": re.search(r"CapBnd:\\s*(\\w+)", status)[1],
    "no_new_privileges": re.search(r"NoNewPrivs:\\s*(\\w+)", status)[1],
    "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    "reached": reached,
}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def start(folder: Path, starting: Any) -> Iterator[Start]:
    yield from starting(folder)


@pytest.fixture(scope="module")
def scenario(folder: Path, write_tiny: Write) -> Path:
    return write_tiny(folder / "tiny.yaml", trials=TRIALS)


@pytest.fixture(scope="module")
def two_at_once(start: Start, scenario: Path) -> tuple[Command, Command]:
    """Play the same scenario twice at the same time, on local processes."""
    pair = (
        start("run", scenario, "--engine", "process"),
        start("run", scenario, "--engine", "process"),
    )
    for command in pair:
        assert command.wait(300) == 0, command.text
    return pair


@dataclass
class Observed:
    """A run on containers, and what was seen of them while it lasted."""

    command: Command
    settings: dict[str, ContainerHostConfig]
    ports: dict[str, Any]
    internal: bool
    probes: dict[str, Any]
    logs: dict[str, Path]


@pytest.fixture(scope="module")
def on_containers(docker: DockerClient, start: Start, scenario: Path, folder: Path) -> Observed:
    command = start("run", scenario, "--engine", "compose")
    command.says("ready: sweep-master", patience=300)
    label: list[tuple[Literal["label"], str]] = [("label", f"dev.metta-sandbox.run={command.run}")]
    found: dict[str, Container] = {}
    for each in docker.container.list(filters=label):
        assert each.config.hostname is not None
        found[each.config.hostname] = each
    (network,) = docker.network.list(filters=label)
    settings = {host: container.host_config for host, container in found.items()}
    ports = {host: container.network_settings.ports for host, container in found.items()}
    internal = network.internal
    logs = {host: folder / f"{host}.txt" for host in found}
    with ExitStack() as following:
        for host, container in found.items():
            output = following.enter_context(logs[host].open("wb"))
            words = ["docker", "logs", "--follow", container.name]
            process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
            following.enter_context(process)
        nodes = {host: found[host] for host in ("sweep-master", "sweep-worker")}
        image = nodes["sweep-master"].config.image
        assert image is not None
        with outside(docker, command, image) as address:
            probe = ["python3", "-c", PROBE, address[0], str(address[1])]
            probes = {host: json.loads(str(node.execute(probe))) for host, node in nodes.items()}
        assert command.wait(300) == 0, command.text
    return Observed(command, settings, ports, internal, probes, logs)


@contextmanager
def outside(docker: DockerClient, command: Command, image: str) -> Iterator[tuple[str, int]]:
    """Run a server in a container that does not belong to the stack; this host reaches it."""
    name = f"metta-test-outside-{os.getpid()}"
    serve = ["python3", "-m", "http.server", "8000"]
    # Small, as the engine's own pools are soon used up.
    with (
        docker.network.create(name, subnet="10.212.211.0/29") as network,
        docker.run(image, serve, detach=True, networks=[network]) as container,
    ):
        address = (container.network_settings.networks[name].ip_address, 8000)
        command.eventually(lambda: reaches(address), "a container outside of the stack")
        yield address
        container.kill()


def reaches(address: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(address, timeout=2):
        return True
    return False


def test_artifacts_of_local_processes_are_those_of_the_contract(
    two_at_once: tuple[Command, Command], scenario: Path
) -> None:
    for command in two_at_once:
        assert_artifacts(command, scenario, "process")
        assert command.left() == []


def test_artifacts_of_containers_are_those_of_the_contract(
    on_containers: Observed, scenario: Path, docker: DockerClient
) -> None:
    command = on_containers.command
    assert_artifacts(command, scenario, "compose")
    assert (command.folder / "tiny" / "compose.yaml").exists()
    environment = json.loads((command.folder / "environment.json").read_text())
    server = docker.version().server
    assert server is not None
    assert environment["engine_versions"]["docker"] == server.version
    assert set(environment["images"]) == {"tiny"}
    assert command.left(docker) == []


def assert_artifacts(command: Command, scenario: Path, engine: str) -> None:
    result = command.results()
    (played,) = result.scenarios
    assert (result.verdict, result.engine, played.engine) == ("passed", engine, engine)
    assert (result.run, result.reason, played.reason) == (command.folder.name, "", "")
    assert [trial.run for trial in played.trials] == [f"tiny.r.{n + 1}" for n in range(TRIALS)]
    assert all(check.verdict == "passed" for check in played.checks)
    assert played.timings.up is not None
    assert (command.artifacts / "latest").resolve() == command.folder

    folder = command.folder / "tiny"
    assert load(folder / "scenario.yaml") == load(scenario)
    entries = command.entries()
    assert [render(each) for each in entries] == (folder / "timeline.log").read_text().splitlines()
    for host in HOSTS:
        assert (folder / "logs" / f"{host}.log").stat().st_size > 0
    for trial in played.trials:
        kept = folder / "trials" / trial.run
        assert json.loads((kept / "overrides.json").read_text()) == trial.overrides
        assert json.loads((kept / "trial.json").read_text())["score"] == trial.score
        assert (kept / "checkpoint.pt").stat().st_size > 0
        digests = {(kept / f"rank-{rank}.digest").read_text() for rank in (0, 1)}
        assert len(digests) == 1
        for rank in (0, 1):
            assert f"rank {rank}: finished" in (kept / f"rank-{rank}.log").read_text()
        assert len(list((folder / "wandb").glob(f"offline-run-*-{trial.run}"))) == 1
    requests = (folder / "api" / "requests.jsonl").read_text().splitlines()
    assert sum("/runs/next" in line for line in requests) == TRIALS
    # Ready is when the last of them has said so.
    last = max(
        each["received"]
        for each in entries
        if each.get("event") == "api.ready" or " is ready at " in str(each.get("step"))
    )
    ready = next(each["received"] for each in entries if "ready: " in str(each.get("step")))
    assert ready >= last


def test_the_same_seed_comes_out_the_same_twice_at_once(
    two_at_once: tuple[Command, Command],
) -> None:
    first, second = two_at_once

    assert outcome(first) == outcome(second)


def test_the_same_seed_comes_out_the_same_on_both_engines(
    two_at_once: tuple[Command, Command], on_containers: Observed
) -> None:
    assert outcome(on_containers.command) == outcome(two_at_once[0])


def outcome(command: Command) -> list[tuple[Any, ...]]:
    entries = command.entries()
    told = {
        name: [entry for entry in entries if entry.get("event") == name]
        for name in ("suggestion.made", "train.finished")
    }
    digests = sorted(
        (entry["trial"], entry["rank"], entry["digest"]) for entry in told["train.finished"]
    )
    assert len(digests) == 2 * TRIALS
    assert len({digest for _, _, digest in digests}) == TRIALS
    trials = command.results().scenarios[0].trials
    return [
        ("suggestions", [entry["suggestion"] for entry in told["suggestion.made"]]),
        ("overrides", [trial.overrides for trial in trials]),
        ("scores", [(trial.score, trial.cost) for trial in trials]),
        ("digests", digests),
    ]


def test_logs_are_whole(on_containers: Observed) -> None:
    for host, seen in on_containers.logs.items():
        kept = on_containers.command.folder / "tiny" / "logs" / f"{host}.log"
        assert sorted(kept.read_text().splitlines()) == sorted(seen.read_text().splitlines()), host


def test_nodes_are_the_callers_user_and_may_do_nothing_else(on_containers: Observed) -> None:
    mine = [os.getuid(), os.getgid()] if os.getuid() else [1000, 1000]
    for probe in on_containers.probes.values():
        assert probe["ids"] == mine
        assert int(probe["capabilities"], 16) == 0
        assert probe["no_new_privileges"] == "1"
        assert probe["shm"] == 2 * 1024**3


def test_nodes_have_no_way_out_and_no_way_in(on_containers: Observed) -> None:
    for probe in on_containers.probes.values():
        assert not probe["reached"]
    assert on_containers.internal
    assert set(on_containers.settings) == {*HOSTS, "hub"}
    for host, settings in on_containers.settings.items():
        assert not any(on_containers.ports[host].values())
        assert not settings.port_bindings
        assert not settings.privileged
