"""Nodes that ask for something outside their stack are told of, and those that don't are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from python_on_whales import DockerClient

if TYPE_CHECKING:
    from tests.integration.play.conftest import Start

ENGINE = ("--engine", "compose")
ASKING = """\
version: 1
name: asking
workload:
  env: {RES_OPTIONS: "timeout:1 attempts:1"}
  run: |
    python - <<'END'
    import os, socket
    socket.getaddrinfo("dummy-api", 8080)
    if os.environ["NODE_INDEX"] == "1":
        try:
            socket.getaddrinfo("example.com", 443)
        except OSError as error:
            print(error)
        outside = socket.socket()
        outside.settimeout(0.2)
        try:
            outside.connect(("192.0.2.1", 80))
        except OSError as error:
            print(error)
    END
expect:
  - nothing_outside: true
"""
SILENT = """\
version: 1
name: silent
workload: {run: getent hosts sweep-master dummy-api}
expect:
  - nothing_outside: true
"""
WAITING = """\
version: 1
name: waiting
workload: {run: echo begun; sleep 300}
expect:
  - nothing_outside: true
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(text)
    return path


def records(folder: Path, host: str) -> list[dict[str, Any]]:
    lines = (folder / "outside" / f"{host}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_what_a_node_asks_for_outside_fails_and_is_named(
    cli: Start, tmp_path: Path, docker: DockerClient
) -> None:
    command = cli("run", written(tmp_path, ASKING), *ENGINE)

    assert command.wait(300) == 1, command.text

    (scenario,) = command.results().scenarios
    check = scenario.checks[0]
    assert check.verdict == "failed"
    assert "sweep-worker looked up example.com" in check.detail
    # Where there is no route outwards, the kernel does not tell where to.
    assert "reach 192.0.2.1:80/tcp 1 time" in check.detail or "without a route" in check.detail
    assert "sweep-master" not in check.detail
    assert all(place.startswith("outside/sweep-worker.jsonl:") for place in check.where)
    kinds = [record["kind"] for record in records(command.folder / "asking", "sweep-master")]
    assert kinds == ["watching", "end"]
    assert command.left(docker) == []


def test_nodes_that_ask_for_nothing_outside_pass(
    cli: Start, tmp_path: Path, docker: DockerClient
) -> None:
    command = cli("run", written(tmp_path, SILENT), *ENGINE)

    assert command.wait(300) == 0, command.text

    (scenario,) = command.results().scenarios
    assert scenario.checks[0].detail == "2 nodes watched throughout: nothing"
    assert command.left(docker) == []


def test_what_was_seen_until_ctrl_c_is_kept(
    cli: Start, tmp_path: Path, docker: DockerClient
) -> None:
    command = cli("run", written(tmp_path, WAITING), *ENGINE)
    command.says("ready: sweep-master, sweep-worker", 300)
    command.interrupt()

    assert command.wait() == 130, command.text

    for host in ("sweep-master", "sweep-worker"):
        seen = records(command.folder / "waiting", host)
        assert [record["kind"] for record in seen] == ["watching", "end"]
    assert command.left(docker) == []
