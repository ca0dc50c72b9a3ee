"""A line of the doctor's report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

VERSION = 1
NEEDS_AN_ENGINE = "needs an engine"


class Status(str, Enum):
    """How bad it is.

    ``WARNING``: some scenarios are skipped, or play slower. ``MISSING``: nothing can be played on
    Docker. ``UNKNOWN``: it could not be told.
    """

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Unknown:
    """Takes the place of what could not be read: why."""

    reason: str


@dataclass(frozen=True)
class Item:
    """One thing that was looked at.

    Args:
        name: What it is.
        status: How bad it is.
        found: What is there.
        needed: What should be there.
        mend: The command that mends it, or an empty string.

    """

    name: str
    status: Status
    found: str
    needed: str
    mend: str = ""

    @classmethod
    def unknown(cls, name: str, why: Unknown, needed: str) -> Item:
        """Say that something could not be told."""
        return cls(name, Status.UNKNOWN, why.reason, needed)


@dataclass(frozen=True)
class Report:
    """All that was looked at.

    Args:
        items: The lines, in the order in which one mends them.
        process: Whether scenarios can be played on local processes.

    """

    items: tuple[Item, ...]
    process: bool

    @property
    def ok(self) -> bool:
        """Whether scenarios can be played on Docker."""
        return not any(item.status is Status.MISSING for item in self.items)

    def as_json(self) -> dict[str, Any]:
        """Return the published form."""
        items = [{**asdict(item), "status": item.status.value} for item in self.items]
        return {"version": VERSION, "ok": self.ok, "items": items}
