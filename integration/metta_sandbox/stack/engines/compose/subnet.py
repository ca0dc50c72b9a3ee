"""A small network of its own for each stack, so that many fit on one host. Pure but for reading.

Left to itself, an engine takes one of about thirty large networks for each stack, and then none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import IPv4Network
from pathlib import Path

#: Where stacks' networks lie: seldom used by offices, clusters or engines.
POOL = IPv4Network("10.213.0.0/16")
#: Has ``docker network inspect`` tell what ``read_subnets`` reads.
SUBNETS = ("--format", "{{json .IPAM.Config}}")
#: Beside the nodes: hub, control plane, gateway, and the network's own two addresses.
_OTHERS = 5


def prefix_length(nodes: int) -> int:
    """Return the prefix length of the smallest network that holds so many nodes."""
    return 32 - (nodes + _OTHERS - 1).bit_length()


def free_subnets(key: str, nodes: int, taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Propose networks that nothing overlaps, in an order that differs from key to key.

    Two stacks that start at the same moment see the same networks taken, so they had better not
    begin with the same one; whoever comes second is refused by the engine and takes the next.

    Args:
        key: Tells this stack from others.
        nodes: How many nodes there will be.
        taken: Networks in use.

    """
    taken = list(taken)
    length = prefix_length(nodes)
    count = 2 ** (length - POOL.prefixlen)
    size = 2 ** (32 - length)
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % count
    for step in range(count):
        number = (start + step) % count
        candidate = IPv4Network((int(POOL.network_address) + number * size, length))
        if not any(candidate.overlaps(other) for other in taken):
            yield candidate


def offer_subnets(
    key: str,
    nodes: int,
    routes: Collection[IPv4Network],
    ask: Callable[[], Iterable[IPv4Network]],
) -> Iterator[IPv4Network]:
    """Propose networks as ``free_subnets`` does; ask what an engine has once one was refused.

    Of so many networks the first one is seldom another stack's, so that it is not worth the
    question: to networks on which it has no address, this host does not route.

    Args:
        key: Tells this stack from others.
        nodes: How many nodes there will be.
        routes: What this host routes to.
        ask: Lists the engine's networks.

    """
    first = next(free_subnets(key, nodes, routes), None)
    if first is None:
        return
    yield first
    yield from free_subnets(key, nodes, [*routes, *ask(), first])


def read_subnets(said: str) -> list[IPv4Network]:
    """Read the IPv4 networks that an engine tells, each of its own on a line."""
    configs = [config for line in said.splitlines() for config in json.loads(line) or []]
    subnets = [config.get("Subnet", "") for config in configs]
    return [IPv4Network(subnet) for subnet in subnets if subnet and ":" not in subnet]


def host_routes(table: Path = Path("/proc/net/route")) -> list[IPv4Network]:
    """Read the networks that this host routes to; the default route is none. Linux only."""
    if not table.exists():
        return []
    found = []
    for line in table.read_text().splitlines()[1:]:
        words = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(words[at]), "little") for at in (1, 7))
        if mask:
            found.append(IPv4Network((address, mask.bit_count())))
    return found
