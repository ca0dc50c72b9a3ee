"""Containers that join a node's network to strike it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metta_sandbox.errors import StackError
from metta_sandbox.stack.engines.compose.sidecars import Sidecar, Sidecars, SidecarSpec

NETWORK = SidecarSpec("network", "network", ("NET_ADMIN", "NET_RAW"), "netfault")


def address_of(container: Mapping[str, Any]) -> str:
    """Read a container's address from what the engine says of it.

    Raises:
        StackError: It is on no network.

    """
    networks = container["NetworkSettings"]["Networks"].values()
    found = next((str(each["IPAddress"]) for each in networks if each["IPAddress"]), "")
    if not found:
        raise StackError(f"{container['Name'].lstrip('/')} has no address")
    return found


class NetworkSidecar(Sidecar):
    """One such container.

    Args:
        command: What starts it.
        host: Beside whom it is.
        address: That host's.

    """

    def __init__(self, command: Sequence[str], host: str, address: str) -> None:
        super().__init__(command, host)
        self.address = address

    def datagrams(self) -> tuple[str, int]:
        """Give where datagrams to it go."""
        return self.address, self.greeting["datagrams"]

    def connections(self) -> tuple[str, int]:
        """Give where connections to it go."""
        return self.address, self.greeting["connections"]


class NetworkSidecars(Sidecars[NetworkSidecar]):
    """Those beside the hosts of one stack."""

    spec = NETWORK

    def make(
        self, command: Sequence[str], host: str, container: Mapping[str, Any]
    ) -> NetworkSidecar:
        """Make one."""
        return NetworkSidecar(command, host, address_of(container))
