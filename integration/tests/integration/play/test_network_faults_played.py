"""Faults of the network between real containers: each strikes, is proven, and is gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from python_on_whales import DockerClient

from metta_sandbox.report.results import RunResult
from metta_sandbox.scenario.faults import CATALOGUE
from metta_sandbox.verdict import Verdict

if TYPE_CHECKING:
    from tests.integration.play.conftest import Start

#: Two nodes with one connection, on which each byte is waited for; what becomes of it is printed.
TALK = """\
version: 1
name: talk
longest_silence: 5m
workload:
  run: |
    python -u - <<'END'
    import os, socket, time
    if os.environ["NODE_INDEX"] == "0":
        server = socket.create_server(("", 4000))
        ended = False
        while not ended:
            connection, _ = server.accept()
            try:
                while (data := connection.recv(1)) and not ended:
                    connection.sendall(data)
                    ended = data == b"e"
            except ConnectionResetError:
                print("the master's end was reset")
        raise SystemExit
    peer = socket.gethostbyname("sweep-master")
    def connect():
        while True:
            try:
                return socket.create_connection((peer, 4000))
            except OSError:
                time.sleep(0.05)
    connection, ticks, known, ended = connect(), 0, True, False
    while not ended:
        try:
            socket.gethostbyname("dummy-api")
            ended, known = not known, True
        except OSError:
            print("the name is unknown")
            known = False
        try:
            connection.sendall(b"e" if ended else b"t")
            connection.recv(1)
        except ConnectionResetError:
            print("the worker's end was reset")
            connection = connect()
        ticks += 1
        print("tick", ticks)
        time.sleep(0.05)
    END
"""
STRUCK = """\
faults:
  - {partition: {between: [sweep-master, sweep-worker]},
     when: {log: tick 3, on: sweep-worker}, until: {after: 500ms}}
  - {name: one-way, partition: {between: [sweep-worker, dummy-api], one_way: true},
     when: {healed: partition}, until: {after: 100ms}}
  - {packet_loss: {between: [sweep-master, sweep-worker], percent: 5},
     when: {healed: one-way}, until: {after: 100ms}}
  - {delay: {between: [sweep-master, sweep-worker], by: 50ms, jitter: 10ms},
     when: {healed: packet-loss}, until: {after: 100ms}}
  - {bandwidth: {between: [sweep-master, sweep-worker], mbit: 1},
     when: {healed: delay}, until: {after: 100ms}}
  - {port_taken: {node: sweep-master, port: 4711},
     when: {healed: bandwidth}, until: {after: 100ms}}
  - {reset: {between: [sweep-master, sweep-worker]},
     when: {healed: port-taken}, until: {log: end was reset, on: sweep-worker}}
  - {no_name: {name: dummy-api, on: sweep-worker},
     when: {healed: reset}, until: {log: name is unknown, on: sweep-worker}}
expect:
  - ends: finished
  - log: {contains: "the master's end was reset", on: sweep-master}
"""
CUT = """\
faults:
  - {partition: {between: [sweep-master, sweep-worker]}, when: {log: tick 3, on: sweep-worker}}
"""


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory,
    starting: Callable[[Path], Iterator[Start]],
    docker: DockerClient,
) -> Iterator[RunResult]:
    folder = tmp_path_factory.mktemp("network-faults")
    (folder / "talk.yaml").write_text(TALK + STRUCK)
    starts = starting(folder)
    command = next(starts)("run", folder / "talk.yaml", "--engine", "compose")
    command.wait(600)
    assert not command.left(docker)
    yield command.results()
    starts.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "kind", [key for key, kind in CATALOGUE.items() if kind.family == "network"]
)
def test_a_fault_of_the_network_is_proven(played: RunResult, kind: str) -> None:
    (scenario,) = played.scenarios
    found = [one for one in scenario.faults if one.kind == kind]

    assert found
    for struck in found:
        assert struck.proven, struck
        assert "; after: " in struck.proof


def test_what_is_connected_goes_on_once_its_network_is_whole_again(
    played: RunResult,
) -> None:
    (scenario,) = played.scenarios

    assert scenario.verdict is Verdict.PASSED, scenario.reason


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_fault_ends_with_the_harness(
    cli: Start, tmp_path: Path, docker: DockerClient, number: int
) -> None:
    (tmp_path / "cut.yaml").write_text(TALK + CUT)
    command = cli("run", tmp_path / "cut.yaml", "--engine", "compose")
    command.says("fault partition: ", 300)

    def beside() -> list[str]:
        # Asked for by name alone: one may vanish while it is looked at.
        look = [*docker.docker_cmd, "ps", "--all", "--format={{.Names}}"]
        ours = f"--filter=label=dev.metta-sandbox.run={command.run}"
        names = subprocess.run([*look, ours], capture_output=True, text=True, check=True).stdout
        return [name for name in names.split() if name.endswith("-network")]

    assert len(beside()) == 2
    command.interrupt(number)
    # Nobody starts or cleans anything: what strikes ends with whoever ordered it.
    command.eventually(lambda: not beside(), "nobody beside the nodes")
    command.wait()
    # What it struck is left to whoever comes next, if it could not remove that itself.
    clean = [sys.executable, "-m", "metta_sandbox", "clean"]
    subprocess.run(clean, env=command.env, check=True, capture_output=True, timeout=120)
    assert command.left(docker) == []
