"""Containers beside nodes, for what a node itself can't or must not do."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Timer


@dataclass(frozen=True)
class SidecarService:
    """A container beside each node, in that node's network, with a program of the agent's file.

    It is of our image, whatever nodes are made of, and nothing in it can be written. It finds the
    node's host name in ``METTA_NODE``, and all names of the stack in ``METTA_NAMES``. What it
    prints are lines of JSON; the first one says whether it does what it is for.

    Args:
        name: Ends its service's name.
        command: The program and its words.
        output: The folder of the scenario's artifacts in which ``<host>.jsonl`` is what it prints.
        capabilities: What root needs there; it has no others.

    """

    name: str
    command: tuple[str, ...]
    output: str
    capabilities: tuple[str, ...] = ()

    def service(self, host: str) -> str:
        """Name the service of this sidecar beside a node."""
        return f"{host}-{self.name}"


#: Sees what a node looks up and tries to reach outside the stack.
WATCHER = SidecarService("watcher", ("watch",), "outside", ("NET_ADMIN", "NET_RAW"))


def first_line(command: Sequence[str], patience: float) -> str:
    """Wait for the first line that a program prints, and end it.

    Args:
        command: The program.
        patience: Seconds until it is ended without.

    Returns:
        The line; empty if it printed none.

    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as program:
        assert program.stdout is not None
        timer = Timer(patience, program.kill)
        timer.start()
        try:
            return program.stdout.readline()
        finally:
            timer.cancel()
            program.kill()
