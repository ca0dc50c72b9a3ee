"""The doctor's report: a line for each check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

VERSION = 1
NEEDS_AN_ENGINE = "needs an engine"


class Status(str, Enum):
    """How bad it is.

    ``WARNING``: some scenarios are skipped, fail, or play slower. ``MISSING``: nothing can be
    played on Docker. ``UNKNOWN``: it could not be told.
    """

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class MachineFinding:
    """What a check found.

    Args:
        status: How bad it is.
        found: What is there.
        mend: The command that mends it, or an empty string.

    """

    status: Status
    found: str
    mend: str = ""


@dataclass(frozen=True)
class DoctorItem:
    """A line of the report.

    Args:
        name: What was looked at.
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


@dataclass(frozen=True)
class DoctorReport:
    """All that was looked at.

    Args:
        items: The lines, in the order in which one mends them.
        process: Whether scenarios can be played on local processes.

    """

    items: tuple[DoctorItem, ...]
    process: bool

    @property
    def ok(self) -> bool:
        """Whether scenarios can be played on Docker."""
        return not any(item.status is Status.MISSING for item in self.items)

    def as_json(self) -> dict[str, Any]:
        """Return the published form."""
        items = [{**asdict(item), "status": item.status.value} for item in self.items]
        return {"version": VERSION, "ok": self.ok, "items": items}
