"""Many runs and networks on one host at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from python_on_whales import DockerClient

from metta_sandbox.stack.engines.compose.stack import _engine_subnets
from metta_sandbox.stack.engines.compose.subnet import POOL, free_subnets, host_routes

if TYPE_CHECKING:
    from tests.integration.leftovers.conftest import Ground

_PATIENCE = 560.0


#: A scenario whose command needs no torch: what eight of them may get into is each other's way.
_COMMAND = {"sweep": {}, "workload": {"run": 'echo "node $SKYPILOT_NODE_RANK"'}}
_KINDS = [
    pytest.param(_COMMAND, id="of-a-command"),
    pytest.param({}, id="that-train", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("keys", _KINDS)
def test_eight_runs_of_local_processes_at_once_all_pass(
    ground: Ground, keys: dict[str, Any]
) -> None:
    _play_eight(ground, keys)


@pytest.mark.slow
@pytest.mark.parametrize("keys", _KINDS)
def test_eight_runs_of_containers_at_once_all_pass(
    docker_ground: Ground, keys: dict[str, Any]
) -> None:
    _play_eight(docker_ground, keys)


def _play_eight(ground: Ground, keys: dict[str, Any]) -> None:
    scenario = ground.scenario(**keys)
    shared = ground.folder / "artifacts"
    began = time.monotonic()
    commands = [ground.run(scenario, artifacts=shared) for _ in range(8)]
    for command in commands:
        assert command.wait(_PATIENCE) == 0, command.text
    ground.figures(f"{ground.engine}: eight runs in {time.monotonic() - began:.0f} s")

    runs = [each.name for each in shared.glob("2*")]
    assert len(runs) == 8
    assert (shared / "latest").resolve().name in runs
    assert not [command.text for command in commands if "Pool overlaps" in command.text]
    assert ground.left(*runs) == []
    assert list(ground.leases.glob("*.json")) == []
    assert [each.name for each in shared.glob(".*")] == []


def test_forty_networks_of_stacks_fit_where_an_engines_own_pools_hold_about_thirty(
    docker: DockerClient,
) -> None:
    with ExitStack() as undo:
        made = [undo.enter_context(_network(docker, f"metta-test-fit-{n}")) for n in range(40)]
    assert all(subnet.subnet_of(POOL) for subnet in made)
    assert not [pair for pair in combinations(made, 2) if pair[0].overlaps(pair[1])]


@contextmanager
def _network(docker: DockerClient, name: str) -> Iterator[IPv4Network]:
    subnet = next(free_subnets(name, 2, [*_engine_subnets(), *host_routes()]))
    network = docker.network.create(name, subnet=str(subnet))
    try:
        yield subnet
    finally:
        network.remove()
