"""Nodes reach their own stack, and neither the machine that they are on nor its other guests."""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from python_on_whales import DockerClient

if TYPE_CHECKING:
    from tests.integration.play.conftest import Start

ENGINE = ("--engine", "compose")
PORT = 7000
CLOSED = f"""\
version: 1
name: closed
on_node_failure: rejoin
longest_silence: 10m
deadline: 20m
steady_state:
  - nodes: {{no_way_out: true}}
workload: {{run: python -m http.server {PORT}}}
"""
#: Says of each ``host:port`` whether somebody there takes a connection, or what comes instead.
REACH = """\
import concurrent.futures, json, socket, sys
def reach(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError as error:
        return type(error).__name__
    return "answers"
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(reach, sys.argv[1:])))))
"""
#: What comes of somebody who is there, and does not listen.
THERE = {"answers", "ConnectionRefusedError"}


def reach(container: str, *targets: str) -> dict[str, str]:
    command = ["docker", "exec", container, "python3", "-c", REACH, *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


@contextmanager
def guest(docker: DockerClient, image: str, name: str) -> Iterator[str]:
    """Have another stack's node on this engine; give its address."""
    network = docker.network.create(name, subnet="10.213.255.224/28")
    try:
        command = ["python3", "-m", "http.server", str(PORT)]
        node = docker.run(image, command, networks=[network], detach=True)
        try:
            networks: Any = node.network_settings.networks
            yield networks[name].ip_address
        finally:
            docker.container.remove(node, force=True)
    finally:
        docker.network.remove(network)


def test_nodes_reach_their_stack_and_nothing_else(
    cli: Start, tmp_path: Path, docker: DockerClient
) -> None:
    (tmp_path / "scenario.yaml").write_text(CLOSED)
    command = cli("run", tmp_path / "scenario.yaml", *ENGINE)
    command.says("ready: sweep-master, sweep-worker", 600)
    project = f"metta-{command.run.lower()}-closed"
    hub = docker.container.inspect(f"{project}-hub")
    own = [f"{host}:{PORT}" for host in ("sweep-master", "sweep-worker")]
    own += ["dummy-api:8080", "hub:7077"]

    def all_answer() -> bool:
        return reach(f"{project}-sweep-worker", *own) == dict.fromkeys(own, "answers")

    (config,) = docker.network.inspect(f"{project}_stack").ipam.config or []
    first = next(IPv4Network(config["Subnet"]).hosts())
    # All addresses of this machine (fib_trie), and the one that an engine gives its bridge.
    machine = re.findall(r"(\S+)\n +/32 host LOCAL", Path("/proc/net/fib_trie").read_text())
    machine = [each for each in machine if not each.startswith("127.")]
    assert machine
    with (
        socket.create_server(("0.0.0.0", 0)) as listening,
        guest(docker, hub.image, f"{project}-guest") as other,
    ):
        port = listening.getsockname()[1]
        outside = [f"{address}:{port}" for address in {*machine, str(first)}] + [f"{other}:{PORT}"]
        command.eventually(all_answer, "the stack's own answer")
        for service in ("sweep-master", "sweep-worker", "dummy-api", "hub"):
            reached = reach(f"{project}-{service}", *outside)
            assert reached.keys() == set(outside), service
            assert not THERE.intersection(reached.values()), (service, reached)
        docker.container.restart(f"{project}-sweep-worker", time=0)
        command.eventually(all_answer, "the stack's own answer a node that was started again")
        reached = reach(f"{project}-sweep-worker", *outside)
        assert reached.keys() == set(outside)
        assert not THERE.intersection(reached.values()), reached
        assert not select.select([listening], [], [], 0)[0], "nobody has come to this machine"
    command.interrupt()
    assert command.wait(300) == 130, command.text
    (check,) = command.results().scenarios[0].checks[:1]
    assert check.seen.startswith("before: 2 ready, all names resolve, nobody answers at 10.213.")
    assert command.left(docker) == []
