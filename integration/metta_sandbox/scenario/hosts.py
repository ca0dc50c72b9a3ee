"""Hosts of a stack, as a scenario names them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from metta_sandbox.scenario.names import API, suggest_host


def _a_host(value: str) -> str:
    if message := suggest_host(value):
        raise ValueError(message)
    return value


def _a_node(value: str) -> str:
    if value == API:
        raise ValueError(f"expected a node; {API} is none")
    return _a_host(value)


#: A node, or the control plane.
HostName = Annotated[str, AfterValidator(_a_host)]
#: A node.
NodeName = Annotated[str, AfterValidator(_a_node)]
