"""Small networks for stacks: large enough, never overlapping, different from run to run."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from metta_sandbox.stack.engines.compose.subnet import (
    POOL,
    free_subnets,
    host_routes,
    offer_subnets,
    prefix_length,
)


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 8, 11, 12, 16, 27, 28, 32, 64])
def test_each_network_holds_nodes_hub_api_gateway_and_its_own_two(nodes: int) -> None:
    length = prefix_length(nodes)
    assert 2 ** (32 - length) >= nodes + 5
    assert 2 ** (32 - length - 1) < nodes + 5, "half of it would do"


def test_proposals_lie_in_the_pool_and_overlap_nothing() -> None:
    taken = [IPv4Network("10.213.0.0/17"), IPv4Network("10.213.128.0/18")]
    found = list(free_subnets("run", 2, taken))
    assert len(found) == 2**14 // 8
    assert all(each.subnet_of(POOL) for each in found)
    assert not any(each.overlaps(other) for each in found for other in taken)
    assert len(set(found)) == len(found)


def test_nothing_is_proposed_where_all_is_taken() -> None:
    assert not list(free_subnets("run", 2, [POOL]))


def test_an_engine_is_asked_only_once_it_has_refused_a_network() -> None:
    asked = []

    def ask() -> list[IPv4Network]:
        asked.append(1)
        return [IPv4Network("10.213.0.0/17")]

    routes = [IPv4Network("10.213.128.0/18")]
    offered = offer_subnets("run", 2, routes, ask)
    first = next(offered)
    assert not asked
    rest = list(offered)
    assert asked == [1]
    assert first not in rest
    assert not any(each.overlaps(other) for each in rest for other in (*routes, *ask()))
    assert list(offer_subnets("run", 2, [POOL], ask)) == []


def test_two_runs_hardly_begin_with_the_same() -> None:
    first = {next(free_subnets(f"run-{number}", 2, [])) for number in range(100)}
    assert len(first) > 95


def test_routes_of_the_host_are_read(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    assert host_routes(table) == [IPv4Network("172.17.0.0/16")]
    assert host_routes(tmp_path / "none") == []
