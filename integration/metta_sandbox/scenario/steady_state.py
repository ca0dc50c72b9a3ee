"""What must hold before a sweep starts, and again when it is over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator

from metta_sandbox.scenario.base import NamedHosts
from metta_sandbox.scenario.expect import ExpectationItem, kind_of
from metta_sandbox.scenario.expect.kind import CheckKind
from metta_sandbox.scenario.hosts import NodeName
from metta_sandbox.scenario.units import Duration, Pattern, Size
from metta_sandbox.words import size, time


class NodesState(CheckKind):
    """All nodes answer, and know the others by name."""

    names: bool = Field(
        default=True,
        description="Every node resolves every node's name. Local processes share the machine's "
        "names, so it is left out there.",
    )
    disk: Size | None = Field(
        default=None, description="Free at least in the working folder of every node."
    )
    memory: Size | None = Field(default=None, description="Available at least on every node.")
    no_way_out: bool = Field(
        default=False,
        description="No node reaches the machine that it is on, or anything else outside the "
        "stack. Local processes do, so it needs containers.",
    )

    @property
    def wanted(self) -> str:
        """What the nodes must do."""
        words = ["ready"] + ["resolving each other's names"] * self.names
        if self.disk is not None:
            words.append(f"with {size(self.disk)} of disk free")
        if self.memory is not None:
            words.append(f"with {size(self.memory)} of memory available")
        words += ["without a way out"] * self.no_way_out
        return ", ".join(words)

    def __str__(self) -> str:
        return f"all nodes are {self.wanted}"


class ApiState(CheckKind):
    """A route of the control plane answers."""

    route: str = Field(default="GET /health", description="`GET` and a path.")
    status: int = Field(default=200, ge=100, le=599, description="The answer's status.")
    within: Duration = Field(default=5.0, description="The longest the answer may take.")

    @field_validator("route")
    @classmethod
    def _is_asked_for(cls, value: str) -> str:
        if not re.fullmatch(r"GET /[!-~]*", value) or "{" in value:
            raise ValueError(
                "expected GET and a path to be called, without {…}, such as GET /sweeps/mine"
            )
        return value

    @property
    def wanted(self) -> str:
        """Which answer the control plane must give."""
        return f"{self.status} within {time(self.within)}"

    def __str__(self) -> str:
        return f"{self.route} answers {self.wanted}"


class CommandState(CheckKind):
    """Shell commands on nodes, and how they must end."""

    run: str = Field(min_length=1, description="Shell commands.")
    on: NodeName | None = Field(default=None, description="The node. Default: every one.")
    status: int = Field(default=0, ge=0, le=255, description="Its exit status.")
    prints: Pattern | None = Field(
        default=None, description="Some line it prints matches this regular expression."
    )
    within: Duration = Field(default=30.0, description="The longest it may take.")

    @property
    def hosts(self) -> NamedHosts:
        """The node, if one is named."""
        return () if self.on is None else ((("on",), self.on),)

    @property
    def wanted(self) -> str:
        """How the command must end."""
        more = "" if self.prints is None else f" and prints '{self.prints}'"
        return f"exits with {self.status}{more} within {time(self.within)}"

    def __str__(self) -> str:
        first, *rest = self.run.strip().splitlines() or [""]
        return f"`{first}{' …' if rest else ''}` on {self.on or 'every node'} {self.wanted}"


class NodesItem(ExpectationItem):
    """``nodes: …``."""

    nodes: NodesState = Field(description="The nodes are ready and know each other.")


class ApiItem(ExpectationItem):
    """``api: …``."""

    api: ApiState = Field(description="The control plane answers.")


class CommandItem(ExpectationItem):
    """``command: …``."""

    command: CommandState = Field(description="A shell command ends well on nodes.")


#: Each kind under the one key that names it.
STATES: Mapping[str, type[ExpectationItem]] = {
    next(iter(kind.model_fields)): kind for kind in (NodesItem, ApiItem, CommandItem)
}


State: TypeAlias = Annotated[
    Annotated[NodesItem, Tag("nodes")]
    | Annotated[ApiItem, Tag("api")]
    | Annotated[CommandItem, Tag("command")],
    Discriminator(kind_of),
]
"""What must hold before a sweep starts."""
